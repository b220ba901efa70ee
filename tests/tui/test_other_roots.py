"""Image archives and bare overlays on the screen: the same tree, stack and files as those of an engine's root."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from archive_makers import BASE, TOP, archive, layout_members
from one_screen import NO_SETTINGS, OneScreen, settled, shown
from textual.pilot import Pilot

from layerscope import open_root
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.opening import open_aside, opener
from layerscope.tui.screens.file_view import FileView
from layerscope.tui.widgets.file.reader import FileReader
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.stack.blocks import LayerStack


def app_on(root: Path) -> LayerscopeApp:
    """On a root that is open already: the first screen is not the one that waits for it."""
    opened = open_aside(opener(root))
    opened.result(60)
    return LayerscopeApp(root, opened=opened, settings=NO_SETTINGS)


def paths(pilot: Pilot[Any]) -> list[str]:
    return [row.path for row in pilot.app.screen.query_one(MergedTree).rows]


async def test_an_archive_is_explored(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(archive(layout_members([BASE, TOP], gzip.compress)))
    app = app_on(path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert paths(pilot) == ["big", "etc", "etc/gone", "etc/motd", "etc/new"]
        assert "step 2" in shown(pilot.app.screen.query_one(LayerStack))


async def test_a_file_of_an_archive_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(archive(layout_members([BASE, TOP], gzip.compress)))
    with open_root(path) as session:
        subject = session.find("shop/app:1")
        screen = OneScreen(lambda: FileView(session, subject, "etc/motd", session.view(subject), None))
        async with screen.run_test(size=(80, 24)) as pilot:
            await settled(pilot)
            assert "hello again" in shown(pilot.app.screen.query_one(FileReader))


async def test_a_bare_overlay_is_explored(tmp_path: Path) -> None:
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    app = app_on(Path(f"overlay:lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper"))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        assert paths(pilot) == ["lower", "upper"]
