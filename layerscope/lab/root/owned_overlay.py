"""The overlay of a lab that was made without privilege: its user stands for root.

What is made there is root's, and owners and modes can be changed as root can; they are kept beside the files
(:mod:`layerscope.overlay.keeping`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerscope.errors import CommitError, CorruptError
from layerscope.hostfs import Directory
from layerscope.overlay.engine import Overlay
from layerscope.overlay.keeping import Keeping
from layerscope.overlay.owners import read_owners
from layerscope.overlay.side_file import SideFile

_FILES = "diff"


class OwnedOverlay(Overlay):
    """An overlay over layers of such a lab.

    Args:
        home: the lab's directory of layers; the names below are of directories in it.
        path: where that is.
        lower: the layers below, nearest first.
        upper: the writable one.
    """

    def __init__(self, home: Directory, path: Path, lower: Sequence[str], upper: str) -> None:
        owner = home.stat_self()
        try:
            owners = [read_owners(home.enter(name), _FILES, owner) for name in [*reversed(lower), upper]]
        except CorruptError as error:
            raise CommitError(f"cannot change {upper}: {error}") from None
        layers = [path / name / _FILES for name in lower]
        super().__init__(layers, path / upper / _FILES, path / upper / "work", xattr="user")
        self._operations = Keeping(self._writer, owners, SideFile(home.enter(upper), _FILES), as_root=True)
