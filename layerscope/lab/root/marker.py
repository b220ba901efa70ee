"""The marker that makes a root a lab root: the only kind that is ever written to.

``layerscope-lab.json`` at the top of the root: ``{"version": 1, "xattr_prefix": "trusted"|"user"}``. The prefix is that
of the marks that this lab's engine could write when the lab was made.
"""

from __future__ import annotations

from msgspec import Struct, json

from layerscope.errors import CorruptError
from layerscope.hostfs import Directory

MARKER = "layerscope-lab.json"


class LabMarker(Struct, frozen=True):
    """What the marker of a lab root says."""

    version: int
    xattr_prefix: str


def read_marker(root: Directory) -> LabMarker | None:
    """The marker of a root, None if it isn't a lab root (or its marker is damaged: then nothing may be written)."""
    try:
        content = json.decode(root.read(MARKER, 4096))
        return LabMarker(int(content["version"]), "user" if content.get("xattr_prefix") == "user" else "trusted")
    except (OSError, CorruptError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_marker_text(xattr_prefix: str) -> str:
    """The text of a marker."""
    return f'{{"version": 1, "xattr_prefix": "{xattr_prefix}"}}\n'
