"""A stack that names one layer many times: it is walked once, and all is found that would be in as many copies."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from random_layers import make_layer

from layerscope.analysis.find.names import Hit, Run, find_runs
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.entry import EntryState
from layerscope.model.found import Wanted
from layerscope.overlay import MergedView, ViewLevel

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted.* attributes need root")
NAMES = "abc"


def every(folder: str, names: Collection[str]) -> Iterable[str]:
    return names


def found(views: Sequence[MergedView], wanted: Wanted, xattrs: bool) -> Iterator[Hit]:
    for one in find_runs(views, wanted, xattrs):
        if isinstance(one, Run):
            yield from one.hits()
        else:
            yield one


def told(hit: Hit) -> tuple[object, ...]:
    """All that is told of a copy; ``level_below`` isn't."""
    entry = hit.entry
    return (
        *(entry.path, entry.level, entry.state, entry.hidden, entry.hidden_by, entry.target, entry.xattrs),
        *(entry.stat.st_ino, hit.stacks, hit.gone),
    )


def random_stacks(rng: random.Random) -> list[str]:
    """Names of layers, base first, each some times over itself; some stacks begin as another one does."""
    stacks: list[str] = []
    for _ in range(3):
        begun = rng.choice(stacks) if stacks and rng.random() < 0.6 else ""
        more = "".join(rng.choice(NAMES) * rng.choice((1, 2, 3, 4, 5, 9)) for _ in range(rng.randint(1, 3)))
        stacks.append(begun[: rng.randint(0, len(begun))] + more)
    return stacks


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("block", range(3))
def test_a_layer_that_repeats_is_found_as_copies_of_it(tmp_path: Path, block: int) -> None:
    repeating = 0
    for seed in range(block * 10, block * 10 + 10):
        rng = random.Random(seed)
        top = tmp_path / str(seed)
        top.mkdir()
        for name in NAMES:
            make_layer(top / name, rng, marks=())
        stacks = random_stacks(rng)
        repeating += sum(
            len(set(part)) == 1 for stack in stacks for part in zip(*(stack[n:] for n in range(4)), strict=False)
        )
        wanteds = (
            Wanted(every),
            Wanted(every, deleted=True),
            Wanted(every, visible=True),
            Wanted(every, states=frozenset((EntryState.UNCHANGED, EntryState.WHITEOUT))),
            Wanted(lambda _, names: [name for name in names if name in ("a", "d e")], types=frozenset(("file", "dir"))),
        )
        with closing(Directory.open_root(top)) as root:
            for wanted in wanteds:
                for xattrs in (False, True):
                    answers = []
                    for distinct in (False, True):
                        # With the layers below it in its key, a layer is another one each time.
                        views = [
                            MergedView(
                                [
                                    ViewLevel(n, root.enter(name), stack[:n] if distinct else name, dialect=TRUSTED)
                                    for n, name in enumerate(stack, 1)
                                ]
                            )
                            for stack in stacks
                        ]
                        answers.append([told(hit) for hit in found(views, wanted, xattrs)])
                    assert answers[0] == answers[1], (seed, stacks)
    assert repeating > 20


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A layer of some directories with a file each."""
    for number in range(5):
        (tmp_path / "layer" / f"dir{number}").mkdir(parents=True)
        (tmp_path / "layer" / f"dir{number}" / "file").write_text("x")
    return tmp_path / "layer"


def test_a_layer_is_read_no_more_often_than_thrice(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest time, the highest, and once for all between: an image may name it thousands of times."""
    reads: Counter[int] = Counter()
    scan = Directory.scan

    def counted(directory: Directory) -> object:
        reads[directory.stat_self().st_ino] += 1
        return scan(directory)

    monkeypatch.setattr(Directory, "scan", counted)
    levels = 200
    with closing(Directory.open_root(layer)) as root:
        view = MergedView([ViewLevel(number, root, "layer") for number in range(1, levels + 1)])
        hits = list(found([view], Wanted(lambda _, names: ["file"] if "file" in names else []), xattrs=True))
    assert len(reads) == 6
    assert max(reads.values()) <= 3
    for number in range(5):
        here = [hit.entry for hit in hits if hit.entry.path == f"dir{number}/file"]
        assert [entry.level for entry in here] == list(range(levels, 0, -1))
        assert here[0].hidden_by is None
        assert all(lower.hidden_by == higher.level for higher, lower in pairwise(here))
        assert {entry.state for entry in here[:-1]} == {EntryState.UNCHANGED}
        assert here[-1].state is EntryState.PLAIN
