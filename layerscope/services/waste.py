"""The waste of images and containers, joined with the commands that caused it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from layerscope.analysis.waste.remedy import remedy
from layerscope.analysis.waste.stack import WasteReport, measure_waste
from layerscope.errors import RootError, UsageError
from layerscope.model.level import Level
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject
from layerscope.model.waste import Cause, Waste, WasteItem
from layerscope.services.faults import told
from layerscope.services.session import Session
from layerscope.services.stacks import SearchedStack, all_stacks


class SubjectWaste:
    """The waste of one subject; a context manager, which keeps its long list in a temporary file of the user's own."""

    def __init__(
        self, subject: Subject, levels: tuple[Level, ...], report: WasteReport, others: Sequence[SearchedStack] = ()
    ) -> None:
        self.subject = subject
        self._others = others
        self._levels = {level.number: level for level in levels}
        self._report = report

    def __enter__(self) -> SubjectWaste:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the list."""
        self._report.__exit__()

    @property
    def problems(self) -> list[Problem]:
        """What could not be read."""
        return self._report.problems

    @property
    def waste(self) -> Waste:
        """The totals."""
        waste = self._report.waste
        levels = tuple(replace(one, created_by=self._command(one.level)) for one in waste.levels)
        return replace(waste, levels=levels)

    def items(self) -> Iterator[WasteItem]:
        """Every wasted copy, most bytes first, then by the path's bytes, then the higher level first."""
        for item in self._report.items():
            holder = self._levels.get(item.level)
            hider = None if item.hidden_by is None else self._levels.get(item.hidden_by)
            same_as, same_in = item.same_as, ""
            if same_as is not None and same_as[1] < 0:
                stack, level = self._report.holders[same_as[1]]
                same_as, same_in = (same_as[0], level), self._others[stack].ref or self._others[stack].shown
            yield replace(
                item,
                same_as=same_as,
                same_in=same_in,
                created_by=self._command(item.level if item.cause is Cause.SAME_CONTENT else item.hidden_by),
                stored_by=self._command(item.level),
                remedy=remedy(item.cause, holder, hider),
            )

    def _command(self, number: int | None) -> str:
        level = None if number is None else self._levels.get(number)
        return "" if level is None else level.created_by


def waste_of(
    session: Session,
    subject: Subject,
    same_content: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
    everywhere: bool = False,
) -> SubjectWaste:
    """What the levels of ``subject``, up to its cut, store for nothing; to be closed by the caller.

    Args:
        session: The opened root.
        subject: An image or a container.
        same_content: Also find content that is in view more than once, which reads the files of equal size.
        cancelled: Asked now and then; when it says so the walk ends, and the result means nothing.
        everywhere: Look for the same content in all other layers of the root, too.

    Raises:
        UsageError: temporary files would lie below the root.
        LayerscopeError: no level can be read, or the temporary file can't be written.
    """
    _refuse_below(session)
    levels = session.levels(subject)
    view = session.view(subject)
    if levels and subject.cut != 0 and not view.levels:
        raise RootError(f"cannot look for waste in {subject.name}: none of its {len(levels)} levels can be read")
    with told(f"cannot look for waste in {subject.name}"):
        others = list(all_stacks(session)) if everywhere and same_content else []
        report = measure_waste(view, same_content, cancelled, [stack.view for stack in others])
        return SubjectWaste(subject, levels, report, others)


def _refuse_below(session: Session) -> None:
    """Long lists are sorted in a temporary file, and nothing is ever written below a root."""
    try:
        folder = Path(tempfile.gettempdir()).resolve()
        below = any(folder.is_relative_to(path.resolve()) for path in session.paths)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"cannot make a temporary file: {error}") from None
    if below:
        raise UsageError(f"temporary files would be made in {folder}, below the root that is read: set TMPDIR")
