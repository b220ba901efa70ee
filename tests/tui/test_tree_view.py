"""The tree on the screen: folding by key and mouse, children that come later, folds and cursor that stay."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult

from layerscope.tui.look import LookApp
from layerscope.tui.widgets.rows import tree_view
from layerscope.tui.widgets.rows.tree_rows import Item, TreeRow, TreeRows
from layerscope.tui.widgets.rows.tree_view import TreeView

TREE: dict[str, list[Item[int]]] = {
    "": [Item("bin", False, 1), Item("etc", True, 2), Item("usr", True, 3)],
    "etc": [Item("hosts", False, 4), Item("nginx", True, 5), Item("passwd", False, 6)],
    "etc/nginx": [Item("conf.d", True, 7), Item("nginx.conf", False, 8)],
    "etc/nginx/conf.d": [],
}


class Files(TreeView[int]):
    def arrow_cell(self, row: TreeRow[int]) -> int | None:
        return len(self.lines_before(row, 20))

    def draw_row(self, index: int, row: TreeRow[int], width: int) -> Iterable[Segment]:
        glyphs = self.look.glyphs
        arrow = " " if not row.foldable else glyphs.arrow_open if row.open else glyphs.arrow_closed
        yield Segment(f"{self.lines_before(row, 20)}{arrow} {self.look.text(row.name)}")


class FilesApp(LookApp[None]):
    AUTO_FOCUS: ClassVar[str] = "Files"

    def __init__(self, known: dict[str, list[Item[int]]] | None = None) -> None:
        super().__init__()
        self.known = dict(TREE) if known is None else known
        self.view = Files(TreeRows(self.known.get))
        self.wanted: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.view

    def on_tree_view_children_wanted(self, event: TreeView.ChildrenWanted) -> None:
        assert event.control is self.view
        self.wanted.append(event.path)


def shown(app: FilesApp) -> list[str]:
    lines = [app.view.render_line(y).text.rstrip() for y in range(app.view.size.height)]
    return [line for line in lines if line]


async def test_keys_fold_and_unfold():
    app = FilesApp()
    async with app.run_test(size=(30, 12)) as pilot:
        assert shown(app) == ["  bin", "▸ etc", "▸ usr"]
        await pilot.press("down", "right")
        assert shown(app) == ["  bin", "▾ etc", "├─  hosts", "├─▸ nginx", "└─  passwd", "▸ usr"]
        await pilot.press("l", "down", "space")
        assert shown(app)[3:6] == ["├─▾ nginx", "│ ├─▸ conf.d", "│ └─  nginx.conf"]
        await pilot.press("right", "down", "left")
        assert app.view.rows[app.view.cursor].path == "etc/nginx"
        await pilot.press("h")
        assert shown(app)[3] == "├─▸ nginx"
        await pilot.press("h", "h")
        assert shown(app) == ["  bin", "▸ etc", "▸ usr"]
        await pilot.press("h")
        assert app.view.cursor == 1
        # Reopened, what was folded inside is folded, what was open is open.
        await pilot.press("right")
        assert shown(app)[3] == "├─▸ nginx"


async def test_all_folds():
    app = FilesApp()
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.press("Z")
        # usr is not known yet, so it is left alone.
        assert [row.path for row in app.view.rows if row.open] == ["etc", "etc/nginx", "etc/nginx/conf.d"]
        await pilot.press("G", "k", "k", "ctrl+@")
        assert shown(app) == ["  bin", "▸ etc", "▸ usr"]
        assert app.view.rows[app.view.cursor].path == "etc"


async def test_click_on_the_arrow_folds():
    app = FilesApp()
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.click(Files, offset=(0, 1))
        assert shown(app)[1] == "▾ etc"
        await pilot.click(Files, offset=(4, 3))
        assert (app.view.cursor, shown(app)[3]) == (3, "├─▸ nginx")
        await pilot.click(Files, offset=(2, 3))
        assert shown(app)[3] == "├─▾ nginx"


async def test_children_are_asked_for_once_and_shown_when_they_arrive():
    app = FilesApp()
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.press("G", "right", "right")
        assert app.wanted == ["usr"]
        assert shown(app)[-1] == "▾ usr"
        app.known["usr"] = [Item("lib", True, 9), Item("share", True, 10)]
        app.view.arrived("usr")
        await pilot.pause()
        assert shown(app)[-3:] == ["▾ usr", "├─▸ lib", "└─▸ share"]
        await pilot.press("right", "down", "right", "left")
        assert app.wanted == ["usr", "usr/share"]
        # Folded before they came, so asking starts again.
        await pilot.press("right")
        assert app.wanted == ["usr", "usr/share", "usr/share"]


async def test_top_that_is_not_known_yet_is_asked_for():
    app = FilesApp({})
    async with app.run_test(size=(30, 12)) as pilot:
        assert app.wanted == [""]
        assert shown(app) == []
        app.known |= TREE
        app.view.arrived("")
        await pilot.pause()
        assert shown(app) == ["  bin", "▸ etc", "▸ usr"]


async def test_cursor_stays_on_its_path_when_rows_are_made_anew():
    app = FilesApp()
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.press("down", "right", "down", "down", "down")
        assert app.view.rows[app.view.cursor].path == "etc/passwd"
        app.known["etc"] = list(reversed(TREE["etc"]))
        app.view.arrived("etc")
        await pilot.pause()
        assert app.view.rows[app.view.cursor].path == "etc/passwd"
        assert app.view.cursor == 2
        app.known[""] = list(reversed(TREE[""]))
        app.view.rebuild()
        await pilot.pause()
        assert (app.view.rows[app.view.cursor].path, app.view.cursor) == ("etc/passwd", 2)


async def test_cursor_goes_to_what_takes_the_place_of_a_row_that_vanished():
    names = [Item("a", True, 0), Item("b", False, 1), Item("c", False, 2)]
    app = FilesApp({"": [Item("etc", True, 3), Item("usr", False, 4)], "etc": names, "etc/a": [Item("x", False, 5)]})
    async with app.run_test(size=(30, 12)) as pilot:
        view = app.view

        async def left(folder: str, *items: Item[int]) -> str:
            app.known[folder] = list(items)
            view.arrived(folder)
            await pilot.pause()
            return view.rows[view.cursor].path

        await pilot.press("right", "right", "right", "down", "down")
        assert view.rows[view.cursor].path == "etc/b"
        assert await left("etc", names[0], names[2]) == "etc/c"
        # The last one of a directory: the one before it, not what is unfolded below that.
        assert await left("etc", names[0]) == "etc/a"
        await pilot.press("down")
        assert await left("etc/a") == "etc/a"
        assert await left("etc") == "etc"
        await pilot.press("G")
        assert view.rows[view.cursor].path == "usr"
        assert await left("", Item("etc", True, 3)) == "etc"
        assert [*view.rows] == [view.rows[view.cursor]]


async def test_another_tree_keeps_folds_path_and_place_on_the_screen():
    many = [Item(f"n{n:03}", False, n) for n in range(100)]
    app = FilesApp({"": [Item("a", True, 0), *many], "a": many})
    async with app.run_test(size=(30, 12)) as pilot:
        app.view.action_unfold()
        app.view.go_to("n050")
        await pilot.press("up", "up", "down")
        row = app.view.cursor - app.view.scroll_offset.y
        lower = {"": [Item("a", True, 0), *many[40:]], "a": many[50:]}
        app.view.set_tree(TreeRows(lower.get, app.view.model.opened))
        await pilot.pause()
        assert app.view.rows[app.view.cursor].path == "n049"
        assert app.view.cursor - app.view.scroll_offset.y == row
        assert app.view.rows[0].open


async def test_deep_rows_show_the_innermost_lines_only():
    depth = 300
    chain = {"/".join(["d"] * n): [Item("d", True, n)] for n in range(depth)}
    app = FilesApp(chain)
    async with app.run_test(size=(40, 12)) as pilot:
        app.view.model.opened.update(path for path in chain if path)
        app.view.rebuild()
        await pilot.press("G")
        assert shown(app)[-1].startswith("… ")
        assert shown(app)[-1].endswith("└─▸ d")
        assert len(shown(app)[-1]) == 20 + len("▸ d")


async def test_many_rows_are_made_on_a_thread(monkeypatch):
    monkeypatch.setattr(tree_view, "ROWS_AT_ONCE", 50)
    many = [Item(f"n{n:03}", False, n) for n in range(100)]
    made_by: list[str] = []
    known = {"": [Item("big", True, 0), Item("z", False, 1)], "big": many}

    def children(path: str) -> list[Item[int]] | None:
        if path == "big":
            made_by.append(threading.current_thread().name)
        return known.get(path)

    app = FilesApp(known)
    app.view = Files(TreeRows(children))
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.press("right")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert len(app.view.rows) == 102
        assert any(name != threading.main_thread().name for name in made_by)
        await pilot.press("G")
        assert app.view.rows[app.view.cursor].name == "z"
        known["big"] = many[:60]
        app.view.rebuild()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert len(app.view.rows) == 62
        assert app.view.rows[app.view.cursor].name == "z"
        await pilot.press("g", "left")
        assert len(app.view.rows) == 2


async def test_empty_tree():
    app = FilesApp({"": []})
    async with app.run_test(size=(30, 12)) as pilot:
        await pilot.press("right", "left", "space", "Z", "enter", "down")
        assert app.wanted == []
        assert shown(app) == []
