"""The bytes of one file on the whole screen, as text or in hexadecimal, however large it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget

from layerscope.errors import LayerscopeError, UsageError
from layerscope.model.entry import Entry
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services import Session
from layerscope.services.file.copies import Life, life
from layerscope.services.file.opened import OpenedFile, open_to_look
from layerscope.services.file.search import parse_needle
from layerscope.tui.keys import picked
from layerscope.tui.look import copy_path, look_of
from layerscope.tui.screens.over import OverScreen
from layerscope.tui.sources.files import Tick
from layerscope.tui.sources.goto import parse_destination
from layerscope.tui.theme import ramp_color
from layerscope.tui.widgets.file.reader import FileReader
from layerscope.tui.widgets.frame.filter_bar import FilterBar
from layerscope.tui.widgets.frame.prompt import Prompt
from layerscope.tui.widgets.frame.reading import asking, read_on_thread
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, why_not


class FileView(OverScreen[None]):
    """Shows what ``view`` serves at a path, or the copy that level ``level`` stores."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *picked(
            ("find.filter", "Search", "ask('/')"),
            ("find.next", "", "hit(1)"),
            ("find.previous", "", "hit(-1)"),
            ("file.goto", "Go to", "ask(':')"),
            ("file.form", "Text/Hex"),
            ("cut.lower", "Older", "other_copy(-1)"),
            ("cut.higher", "Newer", "other_copy(1)"),
            ("path.diff", "Diff"),
            ("path.copy", ""),
            ("screen.reload", ""),
        )
    ]

    def __init__(
        self, session: Session, subject: Subject, entry: Entry | str, view: MergedView, level: int | None = None
    ) -> None:
        super().__init__()
        self.session = session
        self.subject = subject
        self.path = entry.path if isinstance(entry, Entry) else entry.strip("/")
        self.view = view
        self.level = level
        self.life: Life | None = None

    def content(self) -> Iterable[Widget]:
        """Both forms of the file."""
        return (FileReader(),)

    @property
    def reader(self) -> FileReader:
        """The file."""
        return self.query_one(FileReader)

    def on_mount(self) -> None:
        """Open the file."""
        self.open()

    @work(exclusive=True, group="file")
    async def open(self) -> None:
        """Open what is to be shown now."""
        self._tell_title()
        try:
            opened, self.life = await read_on_thread(self._opened, self._tell_opening)
        except (LayerscopeError, OSError) as error:
            self.pane.state = Failure(why_not("open it", error), hints=(("r", "read again"), ("esc", "back")))
            self.refresh_bindings()
            return
        self.pane.state = None if opened.pages.size else Empty("the file is empty", hints=(("esc", "back"),))
        self.reader.show(opened)
        self._tell_title()
        self.refresh_bindings()

    def _opened(self, tick: Tick) -> tuple[OpenedFile, Life]:
        # A level above the cut isn't in the view, but its copy is stored.
        view = self.view if self.level is None else self.session.view(replace(self.subject, cut=None))
        opened = open_to_look(self.subject, view, self.path, self.level)
        try:
            return opened, self.life or life(self.session, self.subject, self.path, 0, asking(tick))
        except BaseException:
            opened.close()
            raise

    def _tell_opening(self, count: int) -> None:
        self.pane.state = Loading("opening")

    def give_up(self) -> bool:
        """Give up a search, a far place, or the marks of what was found."""
        return self.reader.give_up()

    # ------------------------------------------------------------------ what is told
    @on(FileReader.Changed)
    def tell_place(self, event: FileReader.Changed) -> None:
        """Tell where one is in the file."""
        event.stop()
        dot = f" {look_of(self).glyphs.separator} "
        self.pane.set_legend(dot.join(self.reader.status()))

    def _tell_title(self) -> None:
        look, number = look_of(self), self.level_here()
        parts: list[str | tuple[str, str]] = [look.text(f"/{self.path}")]
        if number:
            parts.append(f" {look.glyphs.separator} ")
            if self.level is None and self.view.levels and self.view.levels[-1].number != number:
                parts.append(f"as of layer {self.view.levels[-1].number}, from ")
            height = self.life.levels if self.life else number
            parts.append((f"layer {number}", f"bold {ramp_color(look.palette, number, height)}"))
        parts.append(f" of {look.text(self.subject.name)}")
        self.pane.set_title(Content.assemble(*parts))

    def level_here(self) -> int:
        """The level whose copy is shown; 0 if that isn't known (yet)."""
        if self.level is not None or self.life is None:
            return self.level or 0
        step = self.life.at(self.view.levels[-1].number if self.view.levels else 0)
        return step.level.number if step and step.copy else 0

    # ------------------------------------------------------------------ keys
    async def action_ask(self, sign: str) -> None:
        """Ask what to look for (``/``), or where to go (``:``)."""
        if self.pane.state is None:
            place = "an offset" if self.reader.as_bytes else "a line"
            hint = "text, or bytes as \\x7f" if sign == "/" else f"{place}, 0x1f0, or 50%"
            await self.open_prompt(Prompt(sign, hint))

    @on(FilterBar.Done)
    def follow_prompt(self) -> None:
        """Look for what was typed, or go there."""
        prompt, opened = self.query_one(Prompt), self.reader.opened
        if opened is None:
            return
        try:
            if prompt.sign == "/":
                self.reader.look_for(parse_needle(prompt.text))
            else:
                lines = not self.reader.as_bytes
                self.reader.go_to(parse_destination(prompt.text, opened.pages.size, lines=lines))
        except UsageError as error:
            prompt.tell(str(error))
            return
        self.close_prompt()

    @on(FilterBar.Closed)
    def drop_prompt(self) -> None:
        """Nothing was asked for."""
        self.close_prompt()

    def action_hit(self, direction: int) -> None:
        """Go to the next or previous hit."""
        self.reader.next_hit(direction)

    def action_toggle_form(self) -> None:
        """Text or hexadecimal."""
        if self.pane.state is None:
            self.reader.toggle_form()

    def action_reload(self) -> None:
        """Open the file anew."""
        self.life = None
        self.open()

    def action_other_copy(self, step: int) -> None:
        """Show the copy of the next level down (-1) or up that stores one."""
        others = self._other_levels(step)
        if others:
            self.level = min(others) if step > 0 else max(others)
            self.open()

    def _other_levels(self, step: int) -> list[int]:
        levels = [copy.level.number for copy in self.life.copies if copy.is_file] if self.life else []
        return [level for level in levels if (level - self.level_here()) * step > 0]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what can be done."""
        if action == "other_copy":
            return bool(self._other_levels(int(str(parameters[0]))))
        if action in ("ask", "hit", "toggle_form"):
            return not (self.is_mounted and isinstance(self.pane.state, Empty | Failure))
        if action == "diff":
            return self.life is not None and len(self.life.copies) > 1
        return super().check_action(action, parameters)

    def action_diff(self) -> None:
        """Compare this copy with another one."""
        from layerscope.tui.screens.compare_view import CompareView

        self.app.push_screen(CompareView(self.session, self.subject, self.path, new=self.level_here() or None))

    def action_copy_path(self) -> None:
        """Copy the path in the view."""
        copy_path(self, f"/{self.path}")
