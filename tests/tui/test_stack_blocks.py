"""The blocks of the layer stack: their names, heights and sums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from one_screen import OneWidget, lines, settled

from layerscope import open_root
from layerscope.formats.history_text import command_title
from layerscope.model.level import Level, LevelCounts, Role
from layerscope.model.subject import StackLevel
from layerscope.tui.sources.blocks import Block, block_heights, blocks_of
from layerscope.tui.sources.totals import stack_totals
from layerscope.tui.widgets.stack.blocks import LayerStack


@pytest.mark.parametrize(
    ("recorded", "written"),
    [
        # What the classic builder and BuildKit record for these lines of a Dockerfile.
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("/bin/sh -c #(nop) COPY file:8a89f5 in /etc/motd ", "COPY file:8a89f5 in /etc/motd"),
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("RUN /bin/sh -c apt-get update # buildkit", "RUN apt-get update"),
        ("COPY dist/ /srv/ # buildkit", "COPY dist/ /srv/"),
        ("/bin/tl u /opt/old", "/bin/tl u /opt/old"),
        ("RUN set -e;\n\n  make\tall", "RUN set -e; make all"),
    ],
)
def test_a_command_reads_as_in_its_dockerfile(recorded: str, written: str):
    assert command_title(recorded) == written


def test_a_block_tells_where_a_copy_went_rather_than_its_digest(overlay2_root: Path):
    with open_root(overlay2_root) as session:
        subject = session.find("editor")
        levels = session.levels(subject)
    titles = [block.title for block in blocks_of(subject, levels, frozenset())]
    assert [title for title in titles if "COPY" in title] == ["COPY file in /etc/app.conf"]


def test_a_command_of_any_length_is_bounded():
    assert len(command_title("RUN " + "x" * 1_000_000)) <= 400


@pytest.mark.parametrize("rows", range(1, 60))
@pytest.mark.parametrize("sizes", [[5], [0, 0, 0], [10, 0, None, 90], [1] * 12, [1 << 40, 1, 1, 0, 3]])
def test_heights_fill_the_lines_there_are(sizes: list[int | None], rows: int):
    heights = block_heights(sizes, rows)
    assert len(heights) == len(sizes)
    assert min(heights) >= 1
    if rows >= 2 * len(sizes) and any(sizes):
        assert sum(heights) == rows
    else:
        assert sum(heights) <= max(rows, len(sizes))


def test_heights_grow_with_the_size_in_proportion():
    least, *_ = block_heights([0, 100, 200, 300], 3 * 4 + 60)
    assert block_heights([0, 100, 200, 300], 3 * 4 + 60) == [least, least + 10, least + 20, least + 30]


def test_blocks_are_single_lines_when_there_is_no_room_or_no_wish():
    assert block_heights([7] * 30, 25) == [1] * 30
    assert block_heights([7, 9], 40, 1) == [1, 1]
    assert block_heights([], 40) == []


@pytest.mark.parametrize("name", ["editor", "writer", "idle"])
def test_the_sums_are_those_of_docker(overlay2_root: Path, name: str, sample_truth: Callable[..., Any]):
    truth = next(each for each in sample_truth("overlay2", "api-containers") if each["Names"] == [f"/{name}"])
    with open_root(overlay2_root) as session:
        subject = session.find(name)
        levels = session.levels(subject)
        blocks = blocks_of(subject, levels, frozenset(level.number for level in levels))
        assert blocks[0].size is None  # not recorded, so not known before it is measured
        assert stack_totals(blocks, len(levels)).virtual is None
        view = session.view(subject)
        blocks = [block.measured(session.stack_level(view, block.level)) for block in blocks]
    totals = stack_totals(blocks, len(levels))
    assert (totals.writable or 0) == truth.get("SizeRw", 0)
    assert totals.virtual == truth["SizeRootFs"]
    assert stack_totals(blocks, len(levels) - 1).below_cut == truth["SizeRootFs"] - truth.get("SizeRw", 0)


@pytest.mark.parametrize("width", [40, 64])
async def test_bars_have_one_scale_whatever_is_counted_beside_them(width: int):
    sizes = [400, 300, 200, 100, 1_000]
    counts = [LevelCounts(18, 4, 2, 3, 3), LevelCounts(4), LevelCounts(1_742, 1_420, 3, 855, 1), None, LevelCounts(246)]
    blocks = [
        Block(Level(5 - place, Role.IMAGE, None, size=size), "RUN make", "", size, counts=count)
        for place, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    stack = LayerStack()
    async with OneWidget(stack).run_test(size=(width, 30)) as pilot:
        stack.show(blocks, 5)
        await settled(pilot)
        drawn = lines(stack)
    bars = [_bar_cells(drawn[row + 1]) for row, line in enumerate(drawn) if "RUN make" in line]
    assert len(bars) == 5 and bars[-1] > 5
    assert bars == pytest.approx([bars[-1] * size / 1_000 for size in sizes], abs=0.15)
    counted = [line for line in drawn if "+1,742" in line]
    assert len(counted) == 1 and "855" in counted[0] and counted[0].rstrip(" │╮╯").endswith("1")


def _bar_cells(line: str) -> float:
    """How long the bar in a line is, in cells; the stripe before it doesn't count."""
    eighths = "▏▎▍▌▋▊▉█"
    return sum((eighths.index(sign) + 1) / 8 for sign in line[1:] if sign in eighths)


async def test_a_size_that_nothing_tells_is_no_waiting_sign():
    stack, level = LayerStack(), Level(1, Role.IMAGE, None)
    block = Block(level, "imported", "base", None)
    async with OneWidget(stack).run_test(size=(40, 12)) as pilot:
        stack.show([block], 1)
        await settled(pilot)
        assert lines(stack)[0].rstrip(" │╮").endswith("…")
        stack.replace(block.measured(StackLevel(level, None, LevelCounts(3), None)))
        await settled(pilot)
        assert lines(stack)[0].rstrip(" │╮").endswith("?")


def test_ids_of_layers_have_twelve_digits(overlay2_root: Path):
    with open_root(overlay2_root) as session:
        subject = session.find("editor")
        levels = session.levels(subject)
    top, *_, base = blocks_of(subject, levels, frozenset())
    assert levels[-1].cache_id is not None and len(levels[-1].cache_id) > 12
    assert top.identity == levels[-1].cache_id[:12]
    assert base.identity.startswith("sha256:") and len(base.identity) == len("sha256:") + 12


def test_a_level_without_files_is_missing(overlay2_root: Path):
    with open_root(overlay2_root) as session:
        subject = session.find("editor")
        blocks = blocks_of(subject, session.levels(subject), frozenset({1, 2}))
    assert [block.number for block in blocks if block.missing] == [6, 5, 4, 3]
    assert [block.badge for block in blocks] == ["rw", "init", "", "", "", "base"]
