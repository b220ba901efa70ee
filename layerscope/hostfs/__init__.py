"""The host's file system, reached safely: confined opens, mounts, locks, privilege.

Everything below a root is read through :class:`~layerscope.hostfs.directory.Directory`. Nothing here knows what a
docker root is.
"""

from __future__ import annotations

from layerscope.hostfs.directory import Directory

__all__ = ["Directory"]
