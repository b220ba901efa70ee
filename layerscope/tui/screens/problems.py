"""What is damaged, missing or hidden in a root: each problem in a line, and all about the chosen one below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from layerscope.model.problem import Problem, Severity
from layerscope.tui.keys import picked
from layerscope.tui.look import copy_path, look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.sources.facts import Fact
from layerscope.tui.text import cell_len, crop, fit
from layerscope.tui.widgets.details.facts import FactsView
from layerscope.tui.widgets.frame.states import Empty
from layerscope.tui.widgets.rows.line_view import LineView

_SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
_COLORS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "muted"}
_SIGNS = {Severity.ERROR: "dead", Severity.WARNING: "problem", Severity.NOTE: "unknown"}
_WORD = 8
_MEASURED = 500


def _place_of(problem: Problem) -> str:
    return problem.path or "the root"


class ProblemList(LineView[Problem]):
    """Sign, severity, where, what is wrong."""

    def draw_row(self, index: int, row: Problem, width: int) -> Iterable[Segment]:
        """One problem, as a sentence: where it is (in up to half of the line, its end counts), then what is wrong."""
        look = self.look
        color = look.style(_COLORS[row.severity], bold=True)
        yield Segment(f" {look.glyphs.dots[_SIGNS[row.severity]]} {fit(row.severity.value, _WORD)}", color)
        room = max(0, width - 3 - _WORD)
        wide = min(room // 2, max((cell_len(look.text(_place_of(one))) for one in self.rows[:_MEASURED]), default=0))
        place = fit(look.text(_place_of(row)), wide, ellipsis=look.glyphs.ellipsis, keep="end")
        yield Segment(place, look.style("muted"))
        yield Segment("  " + crop(look.text(row.what), room - wide - 2, ellipsis=look.glyphs.ellipsis))


class ProblemsScreen(OverScreen[None]):
    """Lists problems, the worst first."""

    DEFAULT_CSS = """
    ProblemsScreen {
        ProblemList { height: 2fr; }
        FactsView { height: 1fr; min-height: 5; border-top: solid $frame; padding: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*picked(("path.copy", "Copy the path"))]

    def __init__(self, problems: Sequence[Problem], root: str = "") -> None:
        """``root`` is the path of what the problems' paths are relative to."""
        super().__init__()
        self.problems = sorted(
            problems, key=lambda problem: (_SEVERITIES.index(problem.severity), problem.path, problem.what)
        )
        self.root = root

    def content(self) -> Iterable[Widget]:
        """The list, and what is known of one of them."""
        return ProblemList(list(self.problems)), FactsView()

    def on_mount(self) -> None:
        """Tell how many there are."""
        self.pane.set_title("Problems")
        counts = dict.fromkeys(_SEVERITIES, 0)
        for problem in self.problems:
            counts[problem.severity] += 1
        dot = f" {look_of(self).glyphs.separator} "
        told = [f"{count:,} {severity.value}{'s' * (count != 1)}" for severity, count in counts.items() if count]
        self.pane.set_legend(dot.join(told))
        if not self.problems:
            self.pane.state = Empty("nothing is wrong", "all records that were read are whole", (("esc", "back"),))

    @on(LineView.Highlighted)
    def follow_problem(self, event: LineView.Highlighted) -> None:
        """Tell all about the problem under the cursor."""
        event.stop()
        problem = self.problems[event.index]
        facts = [
            Fact("where", self._place(problem)),
            Fact("what", problem.what),
            Fact("effect", problem.effect),
            Fact("do", problem.hint),
        ]
        self.query_one(FactsView).show([fact for fact in facts if fact.value])

    def _place(self, problem: Problem) -> str:
        return "/".join(part for part in (self.root, problem.path) if part)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where nothing is wrong, there is nothing to copy."""
        return bool(self.problems) if action == "copy_path" else super().check_action(action, parameters)

    def action_copy_path(self) -> None:
        """Copy where the problem lies."""
        copy_path(self, self._place(self.problems[self.query_one(ProblemList).cursor]))
