"""What the keys of Explore do that write: in labs only. Elsewhere each of them says why it is off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from textual import work
from textual.worker import Worker

from layerscope.model.container import Container
from layerscope.model.level import Role
from layerscope.tui.key_order import NEW_SCREEN_SECONDS
from layerscope.tui.screens.explore_keys import ExploreKeys
from layerscope.tui.sources.file_row import FileRow
from layerscope.tui.text import escape
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.files.tree_pane import TreePane
from layerscope.tui.widgets.frame.filter_bar import FilterInput
from layerscope.tui.widgets.frame.header import HeaderBar
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.stack.blocks import LayerStack

if TYPE_CHECKING:
    from layerscope.tui.screens.dialogs.changed import Changed
    from layerscope.tui.screens.dialogs.dialog import Dialog

_FILE_KEYS = {
    "lab.new": "New",
    "lab.edit": "Edit",
    "lab.delete": "Delete",
    "lab.rename": "Rename",
    "lab.chmod": "Mode",
    "lab.copy-in": "Copy in",
    "view.toggle": "",
    "find.sort": "",
}


_DIALOG_SECONDS = 1.0
_ENTER = ("Files", "Files", "Open", "View")
"""What Enter does in each pane."""


class Spot(NamedTuple):
    """Where something is to be changed: a path of a container (its row is None at an empty top), and the directory
    that new things go into."""

    container: Container
    path: str
    row: FileRow | None
    folder: str
    is_lower: bool


class ExploreWriting(ExploreKeys):
    """Asks in a dialog, changes the lab on a thread, and shows what has changed where it happened."""

    read_only: bool
    _key: str

    def show_moved(self, key: str, folders: frozenset[str], paths: frozenset[str]) -> Worker[None] | None:
        """Read again what has changed."""
        raise NotImplementedError

    def action_reload(self) -> None:
        """Read everything again."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the footer
    def show_keys(self) -> None:
        """Offer in the footer what can be done with the part that has the focus."""
        stack, here, line = self.stack, self._here(), self.query_one(HeaderBar).line
        names = {"list.choose": _ENTER[here - 1]}
        if here < 3:  # what sorts is the tree
            names |= {"mode.disk": "Disk", "find.sort": ""}
        if stack is None and line.images is not None and not self.query_one(EntityList).rows:
            names |= {"view.toggle": "", "path.diff": "", "find.filter": "", "find.sort": "", "mode.disk": "Disk"}
        if self.has_class("-narrow") and not self.has_class("-listing"):
            names["pane.1"] = "Containers"
        if line.problems:
            names["screen.problems"] = "Problems"
        if line.writable and stack is not None:
            if stack.subject.container is not None:
                names |= {"layer.commit": "Commit", **(_FILE_KEYS if here == 3 else {})}
            else:
                names["layer.write"] = "New container"
        self.query_one(KeyBar).rename({} if isinstance(self.focused, FilterInput) else names)

    def on_descendant_focus(self) -> None:
        """Another part, other keys."""
        self.show_keys()

    @property
    def keys_wait_seconds(self) -> float:
        """How long keys wait for a dialog that is about to open or what came of it, and for what is listed next."""
        going = {(worker.group, worker.node) for worker in self.workers if worker.is_running}
        if ("write", self) in going:
            return _DIALOG_SECONDS
        tree = self.query_one(TreePane)
        coming = {("subject", self), ("tree", tree), ("directory", tree)}
        if not going & coming or self._here() == 1 or isinstance(self.focused, FilterInput):
            return 0.0
        return NEW_SCREEN_SECONDS

    # ------------------------------------------------------------------ why not
    async def _may_write(self) -> bool:
        """Whether this root can be changed; tells why it can't."""
        if self.read_only:
            self._refuse("this root is opened read-only")
            return False
        from layerscope.services.lab.changes import why_not_writable

        why = await asyncio.to_thread(why_not_writable, self.session)
        if why is not None:
            self._refuse(why)
        return why is None

    def _refuse(self, why: str) -> None:
        self.notify(f"off: {why}", severity="warning", markup=False)

    def _container(self) -> Container | None:
        """The container that is looked at, if it has a writable layer; tells why not."""
        stack = self.stack
        if stack is None:
            return None
        container = stack.subject.container
        if container is None:
            name = escape(stack.subject.name)
            self._refuse(f"{name} is an image, and those never change; w makes a container of it")
        elif not stack.levels or stack.levels[-1].role is not Role.RW:
            self._refuse(f"{escape(stack.subject.name)} has no writable layer: its mount record is missing")
            return None
        return container

    async def _spot(self, needs_row: bool) -> Spot | None:
        """What the cursor of the tree is on, if it can be changed; tells why not."""
        if not await self._may_write():
            return None
        container, stack = self._container(), self.stack
        if container is None or stack is None:
            return None
        cut = self.query_one(LayerStack).number
        if cut != stack.height:
            self._refuse(f"this is layer {cut}, changes go to layer {stack.height} on top: press ]")
            return None
        current = self.query_one(TreePane).files.current
        if current is None:
            return None if needs_row else Spot(container, "", None, "", False)
        path, row = current.path, current.value
        if row.gone and needs_row:
            self._refuse(f"/{escape(path)} is not there any more, only its bytes below are")
            return None
        folder = path if row.is_dir and not row.gone else path.rpartition("/")[0]
        from layerscope.services.lab.changes import in_lower_layer

        view = stack.view
        is_lower = await asyncio.to_thread(in_lower_layer, view, path)
        return Spot(container, path, row, folder, is_lower)

    # ------------------------------------------------------------------ layers
    @work(exclusive=True, group="write")
    async def action_open_writable(self) -> None:
        """Make a container of the image; of a container: go to its writable layer."""
        stack = self.stack
        if stack is None or not await self._may_write():
            return
        image = stack.subject.image
        if image is None:
            if self._container() is not None:
                self.query_one(LayerStack).move_to_level(stack.height)
                self.action_focus_pane(3)
            return
        from layerscope.tui.screens.dialogs.create import CreateDialog

        made = await self.app.push_screen_wait(CreateDialog(self.session.path, image))
        if made is not None:
            self._key = f"container:{made}"
            self.action_reload()
            self.notify(f"made a container of {escape(stack.subject.name)}", markup=False)

    @work(exclusive=True, group="write")
    async def action_commit(self) -> None:
        """Make an image of what the container has changed."""
        if not await self._may_write():
            return
        container = self._container()
        if container is None:
            return
        from layerscope.tui.screens.dialogs.commit import CommitDialog

        made = await self.app.push_screen_wait(CommitDialog(self.session, container))
        if made is None:
            return
        self.action_reload()
        layer = "" if made.diff_id else "; nothing had changed, so it has no new layer"
        left_out = "; ".join(f"{problem.path}: {problem.what}" for problem in made.problems[:3])
        self.notify(f"{escape(made.image)[:19]}{layer}", title="committed", markup=False)
        if left_out:
            self.notify(escape(left_out), title="left out", severity="warning", markup=False)

    # ------------------------------------------------------------------ files
    @work(exclusive=True, group="write")
    async def action_new(self) -> None:
        """Make a file or directory."""
        from layerscope.tui.screens.dialogs.names import NewDialog

        await self._ask(False, lambda spot, row: NewDialog(self.session.path, spot.container.id, spot.folder))

    @work(exclusive=True, group="write")
    async def action_delete(self) -> None:
        """Delete what the cursor is on."""
        from layerscope.tui.screens.dialogs.names import DeleteDialog

        await self._ask(
            True, lambda at, row: DeleteDialog(self.session.path, at.container.id, at.path, row, at.is_lower)
        )

    @work(exclusive=True, group="write")
    async def action_rename(self) -> None:
        """Give what the cursor is on another name."""
        from layerscope.tui.screens.dialogs.names import RenameDialog

        await self._ask(
            True, lambda at, row: RenameDialog(self.session.path, at.container.id, at.path, row, at.is_lower)
        )

    @work(exclusive=True, group="write")
    async def action_chmod(self) -> None:
        """Change mode or owner of what the cursor is on."""
        from layerscope.tui.screens.dialogs.attributes import AttributesDialog

        await self._ask(True, lambda at, row: AttributesDialog(self.session.path, at.container.id, at.path, row))

    @work(exclusive=True, group="write")
    async def action_copy_in(self) -> None:
        """Copy something of this machine in."""
        from layerscope.tui.screens.dialogs.copy_in import CopyInDialog

        await self._ask(False, lambda spot, row: CopyInDialog(self.session.path, spot.container.id, spot.folder))

    async def _ask(self, needs_row: bool, make: Callable[[Spot, Any], Dialog[Changed]]) -> None:
        spot = await self._spot(needs_row)
        if spot is None:
            return
        dialog = make(spot, spot.row)
        changed = await self.app.push_screen_wait(dialog)
        if changed is not None:
            await self._show(changed.paths, changed.go_to, changed.told)
        elif dialog.worked:  # stopped, or given up after an error: what was done until then stays
            await self._show((spot.path, spot.folder), spot.path, "")

    async def _show(self, paths: tuple[str, ...], go_to: str, told: str) -> None:
        """Show the tree as it is now, with the cursor on ``go_to``."""
        if self.stack is not None and paths:
            folders = {above for path in paths for above in _above(path)}
            reading = self.show_moved(self.stack.key, frozenset(folders), frozenset(paths))
            if reading is not None:
                await reading.wait()
            if go_to:
                self.query_one(TreePane).reveal(go_to)
        if told:
            self.notify(told, markup=False)


def _above(path: str) -> list[str]:
    """The directories that lead to a path, from the top."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(len(names))]
