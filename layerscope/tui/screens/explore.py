"""Explore: containers and images, the layer stack, the merged tree, details of one path."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.worker import Worker

from layerscope.errors import LayerscopeError
from layerscope.model.problem import Severity
from layerscope.model.subject import Subject
from layerscope.services import Session
from layerscope.tui.disk_watch import DiskWatch
from layerscope.tui.keys import bindings
from layerscope.tui.opening import Opened
from layerscope.tui.screens.explore_editing import ExploreEditing
from layerscope.tui.sources.stack import Shown, Stack, stack_of
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.entities.pane import EntitiesPane
from layerscope.tui.widgets.files.tree_pane import TreePane
from layerscope.tui.widgets.frame.header import HeaderBar, RootLine
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.frame.states import Empty, Failure, Loading, why_not
from layerscope.tui.widgets.stack.blocks import LayerStack
from layerscope.tui.widgets.stack.pane import StackPane

if TYPE_CHECKING:
    from layerscope.services.watch import Moved
    from layerscope.tui.widgets.details.pane import Details

_DEBOUNCE = 0.06
_SOON = 0.2
"""Seconds; what takes longer is told of."""


class ExploreScreen(ExploreEditing):
    """Holds which subject is looked at, at which cut, and passes it on to the panes."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("screen", "view", "lab")]

    class ReadAgain(Message):
        """The root is to be opened anew, for ``screen_to_tell``."""

        def __init__(self, screen_to_tell: ExploreScreen) -> None:
            super().__init__()
            self.screen_to_tell = screen_to_tell

    class FirstLook(Message):
        """What is to be seen first is on the screen."""

    class DiskMoved(Message):
        """Something has changed below the root while the subject of ``key`` was looked at."""

        def __init__(self, key: str, moved: Moved) -> None:
            super().__init__()
            self.key = key
            self.moved = moved

    def __init__(
        self, opened: Opened, shown_path: str | None = None, live: bool = True, read_only: bool = False
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.session = opened.session
        self._first = opened.first
        self.stack: Stack | None = None
        self.layer_only = False
        self._shown_path = shown_path
        self._watch = DiskWatch() if live else None
        self._key = ""
        self._started = False
        self._cuts: dict[str, int] = {}

    def compose(self) -> ComposeResult:
        """Header, three panes side by side, details, keys."""
        yield HeaderBar()
        with Horizontal(id="body"):
            yield EntitiesPane(id="entities")
            yield StackPane(id="layers")
            yield TreePane(id="tree")
        yield Pane(title="Details", number=4, id="details")  # filled after the first look
        yield KeyBar(hidden=("layer.commit",))

    def on_mount(self) -> None:
        """Begin with what was read already, else with the records."""
        first, self._first = self._first, None
        if first is None:
            self.show_session(self.session)
            return
        stack = first.stack
        self.stack, self._key = stack, stack.key
        pane = self.query_one(EntitiesPane)
        if first.records is None:
            self.query_one(HeaderBar).line = RootLine(self._shown_path or str(self.session.path), self.session.driver)
            pane.glimpse(self.session, first.rows)
        else:
            pane.take(self.session, first.records, stack.key)
        self.query_one(StackPane).show(self.session, stack, stack.height)
        shown = Shown(stack, stack.height, False)
        self.query_one(TreePane).show(shown, (first.source, first.opened))
        self._follow_disk(stack)

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        if self._watch is not None:
            self._watch.stop()

    # ------------------------------------------------------------------ records
    def show_session(self, session: Session) -> None:
        """Look at a root; another session of the same one goes on where the last was left."""
        self.session, self.stack = session, None
        self.query_one(HeaderBar).line = RootLine(self._shown_path or str(session.path), session.driver)
        self.query_one(StackPane).forget()
        self.query_one(TreePane).forget()
        self.query_one(EntitiesPane).show(session, self._key)

    def action_reload(self) -> None:
        """Read everything again."""
        self.post_message(self.ReadAgain(self))

    @on(EntitiesPane.RecordsRead)
    def sum_up(self, event: EntitiesPane.RecordsRead) -> None:
        """Tell in the header what there is."""
        records = event.records
        problems, notes = self._count_problems()
        self.query_one(HeaderBar).line = RootLine(
            self._shown_path or str(self.session.path),
            self.session.driver,
            records.containers,
            records.images,
            records.layer_bytes,
            records.daemon.held,
            problems,
            notes,
            records.daemon.evidence,
            records.writable and not self.read_only,
        )
        self.show_keys()
        if not records.rows:
            self.show_nothing()

    @on(EntitiesPane.RecordsUnread)
    def show_nothing(self) -> None:
        """Say that there is nothing to look at."""
        self.query_one(StackPane).state = Empty("no layers", "they are those of a container or image")
        self.query_one(TreePane).state = Empty("no files", "they are those of a container or image")
        self.go_on()

    def _count_problems(self) -> tuple[int, int]:
        """How many problems, and how many notes that are none."""
        problems = self.problems()
        notes = sum(problem.severity is Severity.NOTE for problem in problems)
        return len(problems) - notes, notes

    @on(TreePane.Loaded)
    def count_again(self) -> None:
        """Reading layers and directories may have found more that is wrong."""
        header = self.query_one(HeaderBar)
        if header.line.images is None:  # the records aren't read yet
            return
        problems, notes = self._count_problems()
        if (problems, notes) != (header.line.problems, header.line.notes):
            header.line = replace(header.line, problems=problems, notes=notes)
            self.show_keys()

    # ------------------------------------------------------------------ subject and cut
    @on(EntityList.Highlighted, "#list")
    def follow_entity(self, event: EntityList.Highlighted) -> None:
        """Look at the subject under the cursor."""
        event.stop()
        rows = self.query_one(EntityList).rows
        if event.index >= len(rows):  # others are listed meanwhile
            return
        row = rows[event.index]
        if row.subject is not None and (self.stack is None or row.key != self.stack.key):
            self.open_subject(row.subject, _DEBOUNCE if self.stack else 0.0)

    @on(EntityList.Chosen, "#list")
    @on(LayerStack.Chosen)
    def go_to_files(self, event: Message) -> None:
        """Go on to the files."""
        event.stop()
        self.action_focus_pane(3)

    @work(exclusive=True, group="subject")
    async def open_subject(self, subject: Subject, delay: float = 0.0) -> None:
        """Look at another subject, at the cut where it was left."""
        await asyncio.sleep(delay)
        reading = self.set_timer(_SOON, self._tell_of_reading)
        try:
            self.stack = stack = await asyncio.to_thread(stack_of, self.session, subject)
        except (LayerscopeError, OSError) as error:
            self.query_one(StackPane).state = Failure(why_not("read the layers", error))
            self.query_one(TreePane).state = None
            self.go_on()
            return
        finally:
            reading.stop()
        self._key = key = stack.key
        cut = min(self._cuts.get(key, stack.height), stack.height)
        self.query_one(StackPane).show(self.session, stack, cut)
        self._show_tree(cut)
        self._follow_disk(stack)
        self.show_keys()

    def _tell_of_reading(self) -> None:
        """The layers of a compressed archive have to be read through before anything is known of them."""
        for pane in (self.query_one(StackPane), self.query_one(TreePane)):
            pane.state = Loading("reading the layers", hints=())

    def _follow_disk(self, stack: Stack) -> None:
        if self._watch is not None:
            key = stack.key
            self._watch.start(self.session, stack.levels, lambda moved: self.post_message(self.DiskMoved(key, moved)))

    @on(LayerStack.CutChanged)
    def follow_cut(self, event: LayerStack.CutChanged) -> None:
        """Look at the file system as of another level."""
        if self.stack is not None:
            self._cuts[self.stack.key] = event.number
            self._show_tree(event.number)

    def show_layer_only(self, layer_only: bool) -> None:
        """Show the chosen layer only, or all up to it."""
        if layer_only != self.layer_only:
            self.layer_only = layer_only
            if self.stack is not None:
                self._show_tree(self.query_one(LayerStack).number)

    def _show_tree(self, cut: int) -> None:
        assert self.stack is not None
        self.query_one(LayerStack).set_alone(self.layer_only)
        self.query_one(TreePane).show(Shown(self.stack, cut, self.layer_only))

    # ------------------------------------------------------------------ details
    @on(TreePane.Loaded)
    def go_on(self) -> None:
        """After the first look: tell of it, and go on with what could wait."""
        if not self._started:
            self._started = True
            self.call_after_refresh(self._mount_details)

    async def _mount_details(self) -> None:
        self.keep_focus()
        self.post_message(self.FirstLook())
        from layerscope.tui.widgets.details.pane import Details

        pane = self.query_one("#details", Pane)
        if pane.is_attached:  # else the program is being left already
            await pane.mount(Details(id="facts"))
            self.query_one(TreePane).tell()

    @property
    def details(self) -> Details | None:
        """The details, once they are there."""
        found: Iterable[Details] = self.query("#facts").results()  # type: ignore[assignment]
        return next(iter(found), None)

    @on(TreePane.Highlighted)
    def follow_path(self, event: TreePane.Highlighted) -> None:
        """Tell about the path under the cursor."""
        source, shown, details = event.source, self.query_one(TreePane).shown, self.details
        if details is not None and source is not None and shown is not None:
            path = event.path if event.row is not None else None
            details.show(self.session, shown.subject, path, source.view)

    # ------------------------------------------------------------------ what changes on disk
    @on(DiskMoved)
    def follow_disk(self, event: DiskMoved) -> None:
        """Read again what has changed."""
        if event.moved.records:
            self.action_reload()
        self.show_moved(event.key, event.moved.folders, event.moved.paths)

    def show_moved(self, key: str, folders: frozenset[str], paths: frozenset[str]) -> Worker[None] | None:
        """Read again what has changed in the writable layer of the subject with that key, if it is looked at."""
        if self.stack is None or key != self.stack.key or not paths:
            return None
        reading = self.query_one(TreePane).changed_on_disk(key, folders, paths)
        self.query_one(StackPane).measure_again(self.session, self.stack)
        self.query_one(EntitiesPane).measure(self.session, key)
        details = self.details
        if details is not None and details.looked is not None and details.looked.path in paths | folders:
            details.reload()
        return reading
