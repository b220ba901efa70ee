"""One file, open to be looked at: its pages, its lines as far as they are counted, whether it is a text."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services.faults import told
from layerscope.services.file.difference import is_binary
from layerscope.services.file.lines import LineIndex
from layerscope.services.file.pages import PAGE_BYTES, FilePages
from layerscope.services.file.reading import open_copy

_FIRST_CHUNKS = 4


class OpenedFile(Struct, frozen=True):
    """Close it when it is no longer looked at. ``binary``: its beginning is no text."""

    pages: FilePages
    index: LineIndex
    binary: bool

    def close(self) -> None:
        """Give the descriptor back."""
        self.pages.close()


def open_to_look(subject: Subject, view: MergedView, path: str, level: int | None) -> OpenedFile:
    """Open what ``view`` serves at ``path``, or the copy that one level holds; its first lines are counted.

    Raises:
        LayerscopeError: there is no such file, it is no regular file, or it can't be read.
    """
    name = f"/{path.strip('/')} of {subject.name}"
    with told(f"cannot read {name}"):
        file = open_copy(view, path, level)
    try:
        pages = FilePages(file, name)
        binary = is_binary(pages.read(0, PAGE_BYTES))
        index = LineIndex(pages)
        index.scan(_FIRST_CHUNKS)
    except BaseException:
        file.close()
        raise
    return OpenedFile(pages, index, binary)
