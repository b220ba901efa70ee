"""What front ends call: a session on one root."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerscope.services.opening.root import open_root
    from layerscope.services.session import Session

__all__ = ["Session", "open_root"]


def __getattr__(name: str) -> object:
    """Both are imported when they are first asked for: a service that needs no session doesn't load one."""
    if name == "open_root":
        from layerscope.services.opening.root import open_root

        return open_root
    if name == "Session":
        from layerscope.services.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
