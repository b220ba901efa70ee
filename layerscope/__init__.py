"""layerscope: image layers and container writable layers, read from a data root on disk."""

from __future__ import annotations

__version__ = "0.1.0"
