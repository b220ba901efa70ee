"""What lies among docker's records and is neither a file nor a directory: links, FIFOs, sockets, devices.

docker makes none but the short names of ``l/`` and the device node by which it sets quotas. Whoever reads a root opens
none of them; docker does: it follows a link wherever it leads, and waits for ever at a FIFO.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Iterator

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Place
from layerscope.model.file_type import KIND_NAMES

_OF_DOCKER = frozenset(
    {
        Category.RECORD,
        Category.CONTAINER_RECORD,
        Category.LOG,
        Category.BUILD_CACHE,
        Category.NETWORK,
        Category.PLUGIN,
        Category.SWARM,
        Category.VOLUME,
    }
)
_SHORT_NAMES = {"overlay2/l", "fuse-overlayfs/l"}
_QUOTA_DEVICE = "backingFsBlockDev"


def strange_kinds(top: Directory, place: Place) -> Iterator[tuple[str, str]]:
    """The path of each such entry, and what it is. What is claimed as a whole, or by nobody, isn't looked into."""
    pending = [(top, "", place)]
    while pending:
        directory, path, here = pending.pop()
        try:
            listed = directory.scan()
            odd = [name for name, kind in listed if kind in ("l", "o") and name != _QUOTA_DEVICE]
            stats = directory.stats(odd)
        except OSError:
            continue  # it went, or whoever reads the records there has told it
        for name, kind in listed:
            below = here.at(name) if kind == "d" else None
            if below is not None and not below.whole:
                pending.append((directory.enter(name), f"{path}{name}/", below))
        if path.rstrip("/") in _SHORT_NAMES:
            continue
        for name, stat in zip(odd, stats, strict=True):
            claimed = here.at(name)
            if stat is None or modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
                continue  # it went, or another one came, since the directory was read
            what = KIND_NAMES.get(modes.S_IFMT(stat.st_mode))
            if what is not None and claimed is not None and claimed.claim.category in _OF_DOCKER:
                yield f"{path}{name}", what
