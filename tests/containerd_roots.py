"""The samples with a containerd store: unpacked once, copied to be damaged, and what their engines answered."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "containerd"
META = "io.containerd.metadata.v1.bolt/meta.db"
SNAPSHOTTER = "io.containerd.snapshotter.v1.overlayfs"
BLOBS = "io.containerd.content.v1.content/blobs/sha256"

RUN1 = "c78625eda26049c4420a9b5e893628f0da057f6bf98d29b49f696b9ba1eac258"
"""The container of `root` that changed most."""


def unpack_all(folder: Path) -> Path:
    """``root/{docker,containerd}``, ``root-managed/docker`` and ``root-k8s/containerd`` in ``folder``."""
    for name in ("root", "root-managed", "root-k8s"):
        target = folder / name
        target.mkdir(parents=True)
        command = ["tar", "-xf", str(DATA / f"{name}.tar.gz"), "-C", str(target)]
        if os.geteuid() == 0:
            subprocess.run([*command, "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"], check=True)
        else:
            # Device nodes and owners are lost without privilege; the records are what counts then. Nobody but root
            # may look into overlay's scratch directories, so they couldn't be copied.
            words = ["--no-same-owner", "--exclude=*/work"]
            subprocess.run([*command, *words], check=False, stderr=subprocess.DEVNULL)
    return folder


def copy(source: Path, target: Path) -> Path:
    """A copy to change at will, with everything that the kernel can copy."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


@cache
def truth(folder: str, name: str) -> Any:
    """What the engine answered: ``name`` of ``truth``, ``truth-managed`` or ``truth-k8s``, without ``.json``."""
    return json.loads((DATA / folder / f"{name}.json").read_text())


def tear_newest(database: Path, both: bool = False) -> None:
    """Damage the newest state of a bolt file (``both``: the one before it, too): as if its writing had been cut."""
    data = bytearray(database.read_bytes())
    page_size = struct.unpack_from("<I", data, 16 + 8)[0]
    txids = [struct.unpack_from("<Q", data, page * page_size + 16 + 48)[0] for page in (0, 1)]
    for page in (0, 1):
        if both or txids[page] == max(txids):
            start = page * page_size + 16
            data[start : start + 64] = bytes(64)
    database.write_bytes(data)


def remove(path: Path) -> None:
    """Remove a file or a tree."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
