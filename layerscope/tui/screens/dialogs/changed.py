"""What a dialog has changed in a container's files."""

from __future__ import annotations

from typing import NamedTuple


class Changed(NamedTuple):
    """The ``paths`` that changed (no leading slash), which one to ``go_to`` ("": stay), and what to tell (escaped; "":
    nothing)."""

    paths: tuple[str, ...]
    go_to: str
    told: str
