"""What lies among an engine's records and is no file: links, FIFOs, sockets, devices, directories in a file's place.

Engines make few of them: the short names of ``l/``, the device node by which quotas are set, what conmon speaks to a
container by. Whoever reads a root opens none; an engine does: it follows a link wherever it leads, and waits for ever
at a FIFO.
"""

from __future__ import annotations

import re
import stat as modes
from collections.abc import Iterator

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Place
from layerscope.model.file_type import KIND_NAMES

_RECORDS = frozenset(
    {
        Category.RECORD,
        Category.CONTAINER_RECORD,
        Category.LOG,
        Category.BUILD_CACHE,
        Category.NETWORK,
        Category.PLUGIN,
        Category.SWARM,
        Category.VOLUME,
        Category.CONTENT_BLOB,
        Category.ENGINE,
        Category.IMAGE_LAYER,
        Category.UNUSED_LAYER,
        Category.CONTAINER_RW,
        Category.CONTAINER_INIT,
    }
)
_LAYERS = frozenset(
    {Category.IMAGE_LAYER, Category.UNUSED_LAYER, Category.CONTAINER_RW, Category.CONTAINER_INIT, Category.BUILD_CACHE}
)
_SHORT_NAMES = {"overlay2/l", "fuse-overlayfs/l", "overlay/l"}
_QUOTA_DEVICE = "backingFsBlockDev"
_OF_CONMON = {"attach", "ctl", "winsz"}
"""A socket (or a link to one) and FIFOs in a container's ``userdata``."""
_SCRATCH = "work"
"""overlayfs's own directory in a layer: it may leave whiteouts there."""
_FILES = re.compile(
    r"=.*|.*\.(json|lock|log|db|gz|conf|hash)|db\.sql(-.*)?|link|lower|lower-layers|manifest|committed|uuid|engine-id|"
    r"oci-layout|hosts|hostname|workerid|defaultNetworkBackend|defaultCNINetExists|\.has-mount-program"
)
"""What is a file wherever an engine makes something of that name."""


def strange_kinds(top: Directory, place: Place) -> Iterator[tuple[str, str]]:
    """The path of each such entry below ``top``, and what it is; none is opened.

    What is claimed as a whole, or by nobody, isn't looked into.
    """
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
            if below is None or below.whole or (name == _SCRATCH and below.claim.category in _LAYERS):
                continue
            if _is_files(below, name):
                yield f"{path}{name}", KIND_NAMES[modes.S_IFDIR]
            else:
                pending.append((directory.enter(name), f"{path}{name}/", below))
        if path.rstrip("/") in _SHORT_NAMES:
            continue
        for name, stat in zip(odd, stats, strict=True):
            claimed = here.at(name)
            if stat is None or modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
                continue  # it went, or another one came, since the directory was read
            if name in _OF_CONMON and path.endswith("/userdata/"):
                continue
            what = KIND_NAMES.get(modes.S_IFMT(stat.st_mode))
            if what is not None and claimed is not None and claimed.claim.category in _RECORDS:
                yield f"{path}{name}", what


def _is_files(place: Place, name: str) -> bool:
    """Whether a place can only be a file's."""
    if place.folder or place.names or place.rule is not None or place.claim.category not in _RECORDS:
        return False
    return place.claim.category is Category.CONTENT_BLOB or _FILES.fullmatch(name) is not None
