"""An engine whose data root is a btrfs of its own: an image file, mounted by a loop device."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from engine import Engine

IMAGE_BYTES = 1 << 30


def no_btrfs() -> str | None:
    """Why no btrfs can be mounted here, or None."""
    if shutil.which("mkfs.btrfs") is None:
        return "mkfs.btrfs is not installed (apt-get install btrfs-progs)"
    if "btrfs" not in Path("/proc/filesystems").read_text().split():
        return "this kernel has no btrfs"
    return None


def mount_btrfs(engine: Engine) -> None:
    """Put a btrfs in the place of the data root; ``Engine.remove`` takes it away again."""
    image = engine.home / "btrfs.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    engine.root.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(engine.root)], check=True)


def trees_of(engine: Engine) -> list[Path]:
    """The data root, and what below it is a file system of its own for du although it is no mount."""
    return [engine.root, *sorted(engine.root.glob("btrfs/subvolumes/*"))]


def data_used(engine: Engine) -> int:
    """The bytes of extents that hold data, each once, however many files share it."""
    subprocess.run(["btrfs", "filesystem", "sync", str(engine.root)], check=True, capture_output=True)
    told = subprocess.run(
        ["btrfs", "filesystem", "df", "--raw", str(engine.root)], check=True, capture_output=True, text=True
    )
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("Data")]
    return int(line.rpartition("used=")[2])
