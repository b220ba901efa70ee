"""How Disk looks, kept as pictures; ``pytest --snapshot-update`` on this file renews them. What du counts differs from
file system to file system, so a made-up ledger is shown."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from one_screen import NO_SETTINGS, press, settled
from textual.pilot import Pilot

from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger, LedgerClass, LedgerEntry
from layerscope.model.reclaim import Kept, Reclaim
from layerscope.services.demo import demo_root
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens import disk
from layerscope.tui.sources.removal_rows import RemovalRow

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="without root the demo's files belong to another user")

SIZES = ((80, 24), (120, 40), (200, 55))
THEMES = ("layerscope-dark", "layerscope-light")
MB = 1_000_000
_LAYERDB = "image/overlay2/layerdb"
ENTRIES = (
    (Category.IMAGE_LAYER, "shop/web:2.4, shop/api:1.0 and 2 more", "overlay2/c0ff738810134ea199e5", 812.4, 24_113),
    (Category.IMAGE_LAYER, "shop/web:2.4", "overlay2/5165bd4b22c26df6d17f32", 203.9, 1_204),
    (Category.IMAGE_LAYER, "shop/db:16", "overlay2/9dcb11057f794065790401be", 438.0, 3_377),
    (Category.CONTAINER_RW, "web-1", "overlay2/6585e985df2e7f96776b9b45", 88.1, 55),
    (Category.CONTAINER_RW, "日本語の名前", "overlay2/678905d8fd0999e49523ed36", 12.7, 18),
    (Category.CONTAINER_INIT, "web-1", "overlay2/6585e985df2e7f96776b9b45-init", 0.037, 17),
    (Category.VOLUME, "db-data", "volumes/db-data", 631.0, 912),
    (Category.BUILD_CACHE, "BuildKit", "buildkit", 94.2, 8),
    (Category.UNUSED_LAYER, "", "overlay2/41f5ee25fd89cc2737595856", 156.3, 2_112),
    (Category.LOG, "web-1", "containers/7b806a1a8ab92112/7b806a1a8ab92112-json.log", 1_204.0, 1),
    (Category.ORPHAN, "", "overlay2/66da84cf5ae89ca60478504f", 503.8, 1_920),
    (Category.RECORD, "docker", "image/overlay2/imagedb", 0.7, 165),
    (Category.UNKNOWN, "", "image/str\x1bange\nname", 0.008, 1),
)


def made_up() -> Ledger:
    entries = []
    for category, owner, path, size, count in ENTRIES:
        disk_bytes = int(size * MB)
        parts = (disk_bytes, disk_bytes, int(size * MB * 0.9), count, None, None, "", {})
        entries.append(LedgerEntry(path, category, owner, f"{_LAYERDB}/…/{path[-6:]}", *parts))
    entries.sort(key=lambda one: -one.disk)
    classes = []
    for category in dict.fromkeys(one.category for one in entries):
        found = [one for one in entries if one.category is category]
        sums = (sum(one.disk for one in found), sum(one.apparent for one in found), sum(one.count for one in found))
        classes.append(LedgerClass(category, *sums))
    total = sum(one.disk for one in entries)
    return Ledger("/var/lib/docker", total, total, 0, tuple(classes), tuple(entries), 3, False, ())


def rows() -> list[RemovalRow]:
    return [
        RemovalRow("heading", "CONTAINERS", note="2"),
        RemovalRow("thing", "web-1", "c1", "shop/web:2.4", 88 * MB, "running", "docker rm web-1"),
        RemovalRow("thing", "a-container-with-quite-a-long-name", "c2", "shop/db:16", 13 * MB, "exited", "docker rm a"),
        RemovalRow("gap"),
        RemovalRow("heading", "IMAGES", note="2"),
        RemovalRow("thing", "shop/web:2.4", "i1", "", 0, "image", ""),
        RemovalRow("thing", "811f2176bb34", "i2", "", 389_100, "dangling", "docker rmi 811f2176bb34"),
        RemovalRow("gap"),
        RemovalRow("heading", "BUILD CACHE", note="1"),
        RemovalRow("thing", "build-cache", "build-cache", "all that only builders hold", 94 * MB, "dangling"),
        RemovalRow("gap"),
        RemovalRow("heading", "ORPHANS", note="1"),
        RemovalRow("thing", "66da84cf5ae89ca60478504f", "orphan:o", "overlay2", 504 * MB, "orphan"),
    ]


def answer(session: Any, words: Any, counted: Any = None) -> Reclaim:
    kept = (Kept("overlay2/c0ff738810134ea199e5", 812 * MB, ("image shop/api:1.0", "image shop/web:2.3")),)
    return Reclaim(tuple(words), 605 * MB, kept, ("docker rm web-1", "docker rmi shop/web:2.4"))


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(disk, "ledger", lambda session, **options: made_up())
    monkeypatch.setattr(disk, "removal_rows", lambda session, found: rows())
    monkeypatch.setattr(disk, "reclaim", answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield demo_root()


def app_on(root: Path, **options: Any) -> LayerscopeApp:
    where = "/var/lib/docker"
    return LayerscopeApp(root, settings=NO_SETTINGS, live=False, read_only=True, shown_path=where, **options)


def after(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """With the ledger shown, and then ``keys`` pressed."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await press(pilot, "f3", *keys)
        await settled(pilot)

    return prepare


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_ledger(snap_compare: Any, root: Path, size: tuple[int, int], theme: str):
    look = after("l", "l")
    assert snap_compare(app_on(root, theme=theme), terminal_size=size, run_before=look)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_what_comes_back(snap_compare: Any, root: Path, size: tuple[int, int], theme: str):
    look = after("2", "space", "j", "j", "j", "space", "G", "space")
    assert snap_compare(app_on(root, theme=theme), terminal_size=size, run_before=look)


def test_in_ascii(snap_compare: Any, root: Path):
    look = after("l", "2", "space")
    assert snap_compare(app_on(root, ascii_only=True), terminal_size=(120, 40), run_before=look)


def test_very_small(snap_compare: Any, root: Path):
    assert snap_compare(app_on(root), terminal_size=(60, 15), run_before=after("l", "j"))
