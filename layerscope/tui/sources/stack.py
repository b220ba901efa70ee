"""What is looked at: the levels of a subject, and how much of them."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from layerscope.model.level import Level
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services import Session
from layerscope.services.glance import whole
from layerscope.tui.sources.entities import subject_key
from layerscope.tui.sources.file_row import surroundings
from layerscope.tui.sources.files import FileSource


class Stack(Struct, frozen=True):
    """A subject with its levels (base first) and the view of all of them."""

    subject: Subject
    levels: tuple[Level, ...]
    view: MergedView

    @property
    def key(self) -> str:
        """What tells the subject from others."""
        return subject_key(self.subject)

    @property
    def height(self) -> int:
        """The number of the top level."""
        return self.levels[-1].number if self.levels else 0


class Shown(Struct, frozen=True):
    """What the tree shows: a stack up to level ``cut``, or that level alone."""

    stack: Stack
    cut: int
    layer_only: bool

    @property
    def key(self) -> tuple[str, int, bool]:
        """What tells it from others."""
        return self.stack.key, self.cut, self.layer_only

    @property
    def fold_key(self) -> str:
        """What its folds are kept by: a layer alone has its own, which begin where it changed something."""
        return f"{self.stack.key} {self.cut}" if self.layer_only else self.stack.key

    @property
    def subject(self) -> Subject:
        """The subject, cut there."""
        return replace(self.stack.subject, cut=self.cut)

    def source(self) -> FileSource:
        """Its files, of which nothing was read yet."""
        around = surroundings(self.stack.subject, self.stack.levels)
        return FileSource(self.stack.view, self.cut, self.layer_only, around)


def stack_of(session: Session, subject: Subject) -> Stack:
    """The levels of a subject; of one that was glimpsed only, once the records are read. Raises LayerscopeError."""
    subject = whole(session, subject)
    return Stack(subject, session.levels(subject), session.view(subject))
