"""What a search takes of each directory that no record claims: a root may have tens of thousands of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from many_roots import digest, make_root

from layerscope.model.found import Wanted
from layerscope.overlay.part import Part
from layerscope.services.find import Search, names_like
from layerscope.services.opening.root import open_root

ORPHANS, LOWERS = 400, 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Directories without a record, each with a file, on the same ten that have none either."""
    path = tmp_path / "root"
    make_root(path, 1)
    shorts: list[str] = []
    for number in range(LOWERS + ORPHANS):
        own = path / "overlay2" / digest(f"orphan {number}")
        (own / "diff").mkdir(parents=True)
        (own / "diff" / f"file{number}").write_text("x")
        (own / "link").write_text(short := digest(f"short {number}")[:26].upper().translate(_BASE32))
        (path / "overlay2/l" / short).symlink_to(f"../{own.name}/diff")
        if shorts:
            (own / "lower").write_text(":".join(f"l/{name}" for name in reversed(shorts)))
        if number < LOWERS:
            shorts.append(short)
    return path


_BASE32 = str.maketrans("0189", "GHIJ")


def test_a_stack_takes_little_however_many_layers_it_shares(root: Path) -> None:
    with open_root(root) as session:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            search = Search(session, None, Wanted(names_like("file1")), details=True)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 2500 * ORPHANS
        (hit,) = search.hits()
        assert (hit.entry.path, hit.ref, hit.gone) == ("file1", "", False)
        above = {f"unclaimed {digest(f'orphan {number}')}" for number in range(LOWERS, LOWERS + ORPHANS)}
        assert above <= set(hit.holders)


def test_top_directories_that_stacks_share_are_kept_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each stack its own, of all together those below, and what is just being made."""
    alive = most = 0
    make = Part.__init__

    class Counted(Part):
        __slots__ = ()

        def __init__(self, *arguments: object, **named: object) -> None:
            nonlocal alive, most
            make(self, *arguments, **named)  # type: ignore[arg-type]
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr("layerscope.overlay.view.Part", Counted)
    with open_root(root) as session:
        search = Search(session, None, Wanted(names_like("file1")))
        assert most <= ORPHANS + 4 * LOWERS + 20
        assert not search.problems
