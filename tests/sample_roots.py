"""The sample roots below ``tests/data``: where they are, how to unpack them, what their engines answered."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


def unpack(archive: Path, target: Path) -> Path:
    """``archive`` unpacked by GNU tar into ``target``: all of it as root, else without owners and xattrs."""
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "-xf", str(archive), "-C", str(target)]
    if os.geteuid() == 0:
        subprocess.run([*command, "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"], check=True)
    else:
        # Device nodes other than whiteouts are refused without privilege; the records are what counts then.
        subprocess.run([*command, "--no-same-owner"], check=False, stderr=subprocess.DEVNULL)
        assert (target / "image").is_dir(), f"{archive} could not be unpacked"
    return target


def truth(sample: str, name: str, folder: str = "truth") -> Any:
    """What the engine itself answered about a sample: ``name`` without ``.json``."""
    return json.loads((DATA / sample / folder / f"{name}.json").read_text())
