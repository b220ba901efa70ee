"""The samples of containers/storage: unpacked once, copied to be damaged, and what podman answered about them."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "podman"
PLACES = {"overlay": "containers/storage", "vfs": "storage"}
"""Where the root lies in the archive of each driver's sample."""


def unpack_all(folder: Path) -> dict[str, Path]:
    """The root of each driver's sample, unpacked below ``folder``."""
    roots = {}
    for driver, place in PLACES.items():
        target = folder / driver
        target.mkdir(parents=True)
        command = ["tar", "-xf", str(DATA / driver / "root.tar.gz"), "-C", str(target)]
        if os.geteuid() == 0:
            subprocess.run([*command, "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"], check=True)
        else:
            # Device nodes and owners are lost without privilege; the records are what counts then. Nobody but root
            # may look into overlay's scratch directories, so they couldn't be copied.
            words = ["--no-same-owner", "--exclude=*/work"]
            subprocess.run([*command, *words], check=False, stderr=subprocess.DEVNULL)
        roots[driver] = target / place
    return roots


def copy(source: Path, target: Path) -> Path:
    """A copy to change at will, with everything that the kernel can copy."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


@cache
def truth(driver: str, name: str) -> Any:
    """What podman answered about a sample: ``name`` without ``.json``."""
    return json.loads((DATA / driver / "truth" / f"{name}.json").read_text())


@cache
def truth_lines(driver: str, name: str) -> tuple[str, ...]:
    """The lines of a table that podman printed."""
    return tuple((DATA / driver / "truth" / f"{name}.txt").read_text().splitlines())
