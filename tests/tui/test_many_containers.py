"""The screen of a root with many containers: it is there, and works, before all records are read."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from many_roots import make_root
from one_screen import NO_SETTINGS, press, settled, shown

from layerscope.services import open_root
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.opening import open_aside, opener
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.sources import first_look as first_look_module
from layerscope.tui.sources.records import Records, read_records
from layerscope.tui.widgets.entities import pane as entities_pane
from layerscope.tui.widgets.entities.list import EntityList

COUNT = 320


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "root"
    make_root(path, COUNT)
    return path


def test_the_first_look_reads_no_records(root: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(session: object) -> Records:
        raise AssertionError("all records were read")

    monkeypatch.setattr(first_look_module, "read_records", refuse)
    with open_root(root) as session:
        look = first_look_module.first_look(session, 40)
        assert look is not None
        assert look.records is None
        assert [row.name for row in look.rows] == ["CONTAINERS", *(f"box{n}" for n in reversed(range(COUNT)))]
        assert look.stack.key == look.rows[1].key
        assert look.stack.height == 4


async def test_keys_work_while_records_are_read(root: Path, monkeypatch: pytest.MonkeyPatch):
    going_on = threading.Event()

    def wait(session: object) -> Records:
        assert going_on.wait(30)
        return read_records(session)  # type: ignore[arg-type]

    monkeypatch.setattr(entities_pane, "read_records", wait)
    opened = open_aside(opener(root))
    assert opened.result(30).first is not None
    app = LayerscopeApp(root, opener(root), opened, settings=NO_SETTINGS, live=False)
    try:
        async with app.run_test(size=(160, 40)) as pilot:
            for _ in range(5):
                await pilot.pause()
            assert isinstance(app.screen, ExploreScreen)
            entities = app.screen.query_one(EntityList)
            assert len(entities.rows) == 1 + COUNT
            text = shown(app.screen)
            assert f"box{COUNT - 1}" in text
            assert f"RUN layer {COUNT - 1}" in text
            await pilot.press("j", "j", "j")
            await pilot.pause()
            assert entities.rows[entities.cursor].name == f"box{COUNT - 4}"
            going_on.set()
            await settled(pilot)
            await settled(pilot)
            assert len(entities.rows) == 1 + COUNT + 2 + COUNT
            assert entities.rows[entities.cursor].name == f"box{COUNT - 4}"
            assert f"RUN layer {COUNT - 4}" in shown(app.screen)
            assert app.screen.stack is not None
            container = app.screen.stack.subject.container
            assert container is not None
            assert container.mount_id is not None
            await press(pilot, "q")
    finally:
        going_on.set()
