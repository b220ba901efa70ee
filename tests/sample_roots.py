"""The sample roots below ``tests/data``: where they are, how to unpack them, what their engines answered."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


def unpack(archive: Path, target: Path) -> Path:
    """``archive`` unpacked by GNU tar into ``target``: all of it as root, else without owners and xattrs."""
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "-xf", str(archive), "-C", str(target)]
    if os.geteuid() == 0:
        subprocess.run([*command, "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"], check=True)
        # What a sparse file takes on disk may still change until it is written there (delayed allocation).
        subprocess.run(["sync", "-f", str(target)], check=True)
    else:
        # Device nodes other than whiteouts are refused without privilege; the records are what counts then.
        subprocess.run([*command, "--no-same-owner"], check=False, stderr=subprocess.DEVNULL)
        assert (target / "image").is_dir(), f"{archive} could not be unpacked"
    return target


def copied(root: Path, target: Path) -> Path:
    """A copy to change at will, with everything that the kernel can copy."""
    subprocess.run(["cp", "-a", str(root), str(target)], check=True)
    return target


@contextmanager
def deepened(folder: Path, levels: int) -> Iterator[None]:
    """Directories below ``folder``, each in the one before; they are taken away again."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("directory", dir_fd=fd)
        below = os.open("directory", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        yield
    finally:  # deeper than the interpreter's own removal can go
        subprocess.run(["rm", "-rf", str(folder / "directory")], check=True)


def truth(sample: str, name: str, folder: str = "truth") -> Any:
    """What the engine itself answered about a sample: ``name`` without ``.json``."""
    return json.loads((DATA / sample / folder / f"{name}.json").read_text())
