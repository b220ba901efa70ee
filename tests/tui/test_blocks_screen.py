"""The block map on the screen, against what thin_dump prints of the same pool."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from one_screen import NO_SETTINGS, OneScreen, press, settled, shown
from sample_roots import DATA, unpack
from thin_samples import dump_path, read_dump

from layerscope import open_root
from layerscope.drivers.devicemapper import DeviceMapper
from layerscope.model.digest import CacheID
from layerscope.services import Session
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.blocks import BlocksScreen
from layerscope.tui.sources.block_grid import BlockGridRows
from layerscope.tui.widgets.thin.facts import BlockFacts
from layerscope.tui.widgets.thin.grid import BlockGrid

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="devices of the samples are lost without root")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(DATA / "devicemapper" / "ext4" / "root.tar.gz", tmp_path_factory.mktemp("blocks-screen"))


def dumped(session: Session, name: str) -> dict[int, int]:
    """Virtual to data block of a container's device, by thin_dump."""
    top = session.levels(session.find(name))[-1]
    assert isinstance(session.contents.driver, DeviceMapper)
    number = session.contents.driver.device_record(CacheID(str(top.cache_id))).device_id
    return {virtual: data for virtual, (data, _time) in read_dump(dump_path("ext4"))[number].blocks.items()}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
async def test_every_mapped_block_has_its_cell(root: Path, size: tuple[int, int]) -> None:
    with open_root(root) as session:
        app = OneScreen(lambda: BlocksScreen(session, session.find("c1")))
        async with app.run_test(size=size) as pilot:
            await settled(pilot)
            grid = app.screen.query_one(BlockGrid)
            wanted = dumped(session, "c1")
            found = {}
            for row in grid.grid.rows:
                if row.gap:
                    assert not any(row.first <= virtual < row.first + row.count for virtual in wanted)
                    continue
                for virtual, run in enumerate(grid.grid.cells(row), row.first):
                    if run is not None:
                        found[virtual] = run.data + virtual - run.virtual
            assert found == wanted
            assert sum(row.count for row in grid.grid.rows) >= max(wanted)


async def test_a_block_by_its_number(root: Path) -> None:
    with open_root(root) as session:
        wanted = dumped(session, "c1")
        app = OneScreen(lambda: BlocksScreen(session, session.find("c1")))
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(pilot)
            for virtual in (max(wanted), sorted(wanted)[len(wanted) // 2]):
                await press(pilot, "colon")
                await pilot.press(*f"{virtual:#x}", "enter")
                await settled(pilot)
                assert app.screen.query_one(BlockGrid).current == virtual
                told = shown(app.screen.query_one(BlockFacts))
                assert f"block {virtual:#x} -> {wanted[virtual]:#x}" in told
                assert "written here" in told


async def test_moving_block_by_block_goes_over_the_ends_of_rows(root: Path) -> None:
    with open_root(root) as session:
        app = OneScreen(lambda: BlocksScreen(session, session.find("c1")))
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(pilot)
            grid = app.screen.query_one(BlockGrid)
            assert grid.current == min(dumped(session, "c1")) == 0
            await press(pilot, "left")
            assert grid.current == 0
            await press(pilot, *["right"] * grid.grid.width)
            assert grid.current == grid.grid.width
            await press(pilot, "left")
            assert grid.current == grid.grid.width - 1
            first = next(row for row in grid.grid.rows if row.gap).first
            grid.go_to(first - 1)
            await press(pilot, "right")
            assert grid.current is not None and grid.current > first
            assert not grid.rows[grid.cursor].gap


async def test_an_unmapped_block_reads_as_zeros(root: Path) -> None:
    with open_root(root) as session:
        gap = next(row for row in BlockGridRows(_runs(session), 64).rows if row.gap)
        app = OneScreen(lambda: BlocksScreen(session, session.find("c1")))
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(pilot)
            await press(pilot, "colon")
            await pilot.press(*str(gap.first))
            await settled(pilot)
            assert "not mapped" in shown(app.screen)
            assert "reads as zeros" in shown(app.screen.query_one(BlockFacts))


def _runs(session: Session) -> tuple:
    from layerscope.services.blocks import device_blocks

    return device_blocks(session, session.find("c1"))[0].runs


async def test_from_explore_and_back(root: Path) -> None:
    app = LayerscopeApp(root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "b")
        assert isinstance(app.screen, BlocksScreen)
        await press(pilot, "escape")
        assert not isinstance(app.screen, BlocksScreen)


async def test_where_layers_are_directories_it_says_so(overlay2_root: Path) -> None:
    app = LayerscopeApp(overlay2_root, settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "b")
        assert not isinstance(app.screen, BlocksScreen)
        assert any("layers of overlay2 are directories" in note.message for note in app._notifications)


async def test_a_pool_that_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", "--sparse=always", str(root), str(tmp_path / "root")], check=True)
    (tmp_path / "root/devicemapper/devicemapper/metadata").unlink()
    with open_root(tmp_path / "root") as session:
        app = OneScreen(lambda: BlocksScreen(session, session.find("c1")))
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(pilot)
            assert "--thin-metadata" in shown(app.screen)
