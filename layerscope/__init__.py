"""layerscope: image layers and container writable layers, read from a data root on disk.

from layerscope import open_root

with open_root("/var/lib/docker") as root:
    web = root.find("web-1")
    for change in root.changes(web):
        print(change.kind, change.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerscope.services.opening.root import open_root

__version__ = "0.1.0"
__all__ = ["__version__", "open_root"]


def __getattr__(name: str) -> object:
    """``open_root`` is imported when it is first asked for: importing the package costs nothing."""
    if name == "open_root":
        from layerscope.services.opening.root import open_root

        return open_root
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
