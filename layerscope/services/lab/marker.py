"""Whether a root is a lab: asked of every root when it is opened, so nothing else is imported here."""

from __future__ import annotations

import os

from layerscope.lab.root.marker import read_marker
from layerscope.services.session import Session


def is_lab(session: Session) -> bool:
    """Whether the root is a lab that this user may change, as far as its marker tells."""
    marker = read_marker(session.root)
    return marker is not None and (marker.xattr_prefix == "user" or os.geteuid() == 0)
