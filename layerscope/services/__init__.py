"""What front ends call: a session on one root."""

from __future__ import annotations

from layerscope.services.opening.root import open_root
from layerscope.services.session import Session

__all__ = ["Session", "open_root"]
