"""Writable layers that are measured while the program which reads the records is still being loaded.

What ``ps`` takes is mostly the kernel's time, which tells of one file after the other, and Python's, which loads a
hundred modules: each on a processor of its own. So this needs next to no module, and guesses: that the root is docker's
and its driver overlay2. Where that is wrong nothing is found here; whatever is damaged is told by those who read it.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

from layerscope.analysis.measuring.ahead import Ahead
from layerscope.errors import LayerscopeError
from layerscope.hostfs import Directory
from layerscope.hostfs.processes import processors
from layerscope.hostfs.tally import COMPILED

__all__ = ["Ahead", "measured_ahead"]
_USUAL = "/var/lib/docker"
_MOUNTS = "image/overlay2/layerdb/mounts"
_LAYER = "overlay2/{}/diff"
_ID = re.compile(r"[a-f0-9]{64}")
_ID_BYTES = 128
_MOST = 64
"""Layers: of more than these finding them would take as long as is gained."""


def measured_ahead(place: str | None) -> AbstractContextManager[Ahead | None]:
    """Begin to measure the writable layers of the root at ``place`` (None: docker's usual one), if it has any.

    None where that would gain nothing, or the root isn't of that kind. Raises nothing.
    """
    if not COMPILED or processors() < 2:
        return nullcontext()
    try:
        root = Directory.open_root(_USUAL if place is None else place)
    except (OSError, ValueError):
        return nullcontext()
    paths = _layers(root)
    if not paths:
        root.close()
        return nullcontext()
    ahead = Ahead(root, 1)
    for path in paths:
        try:
            ahead.begin(path)
        except OSError:
            continue
    return ahead


def _layers(root: Directory) -> list[str]:
    mounts = root.descend(_MOUNTS)
    paths = []
    try:
        for name, kind in mounts.scan()[:_MOST]:
            mount_id = mounts.enter(name).read("mount-id", _ID_BYTES).decode().strip() if kind == "d" else ""
            if _ID.fullmatch(mount_id):
                paths.append(_LAYER.format(mount_id))
    except (OSError, ValueError, LayerscopeError):
        return []
    return paths
