"""How long a key takes in lists of a million rows: ``python -m pytest -m bench -s tests/bench/bench_line_view.py``."""

from __future__ import annotations

import fcntl
import gc
import os
import pty
import resource
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.segment import Segment
from textual.app import ComposeResult

from layerscope.tui.glyphs import Mark
from layerscope.tui.look import LookApp
from layerscope.tui.text import fit
from layerscope.tui.widgets.frame.pane import Pane
from layerscope.tui.widgets.rows.line_view import LineView
from layerscope.tui.widgets.rows.tree_rows import Item, TreeRow, TreeRows
from layerscope.tui.widgets.rows.tree_view import TreeView

pytestmark = pytest.mark.bench

ROWS = 1_000_000
FRAME_MS = 16.0
MARKS = list(Mark)


class Names(LineView[str]):
    """Rows about as rich as those of the merged tree."""

    HEADER = True

    def draw_header(self, width: int) -> Iterable[Segment]:
        yield Segment("L name", self.look.style("muted"))

    def draw_row(self, index: int, row: str, width: int) -> Iterable[Segment]:
        look, mark = self.look, MARKS[index % len(MARKS)]
        yield Segment(look.glyphs.stripe, look.layer_style(index % 8 + 1, 8))
        yield Segment(f"{index % 8 + 1} ", look.layer_style(index % 8 + 1, 8))
        yield Segment(look.glyphs.marks[mark] + " ", look.sign_style(mark))
        yield Segment(fit(look.text(row), width - 14), look.name_style(mark))
        yield Segment(f"{index:>9} ", look.style("foreground"))


class Tree(TreeView[int]):
    def draw_row(self, index: int, row: TreeRow[int], width: int) -> Iterable[Segment]:
        look = self.look
        lines = self.lines_before(row, width // 2)
        yield Segment(lines, look.style("faint"))
        yield Segment(fit(look.text(row.name), width - len(lines)), look.style("foreground"))


class Bench(LookApp[None]):
    def __init__(self, view: LineView[str] | Tree) -> None:
        super().__init__()
        self.view = view

    def compose(self) -> ComposeResult:
        with Pane(title="Bench", number=1):
            yield self.view


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def frames(app: Bench, action: str, step: int, count: int) -> list[float]:
    """Milliseconds for the action and for drawing what it made dirty, ``count`` times."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        getattr(app.view, f"action_{action}")(step)
        app.screen._compositor.update_widgets({app.view})
        update = app.screen._compositor.render_update(full=False)
        if update is not None:
            update.render_segments(app.console)
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def report(name: str, taken: list[float]) -> None:
    print(f"  {name:<32} median {statistics.median(taken):6.2f} ms   worst {max(taken):6.2f} ms")


async def test_million_rows():
    before = resident_mb()
    rows = [f"usr/share/doc/package-{n:07}/changelog" for n in range(ROWS)]
    gc.collect()
    gc.freeze()
    with_rows = resident_mb()
    app = Bench(Names(rows))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        print(f"\n{ROWS:,} rows at 120x40: {with_rows - before:.0f} MB, the app {resident_mb() - with_rows:.0f} MB")
        medians = {}
        for name, action, step, count in (
            ("arrow, no scroll", "move_rows", 1, 30),
            ("arrow, scrolling", "move_rows", 1, 200),
            ("page down", "move_pages", 1, 200),
            ("half page up", "move_half_pages", -1, 100),
            ("first and last", "move_to_end", 1, 2),
        ):
            taken = await frames(app, action, step, count)
            report(name, taken)
            medians[name] = statistics.median(taken)
        taken = []
        for n in range(50):
            begin = time.perf_counter()
            app.view.splice(n * 1000, 0, ["new"] * 500)
            app.view.splice(n * 1000, 500, [])
            taken.append((time.perf_counter() - begin) * 500)
        report("splice of 500 rows", taken)
        after = resident_mb()
        print(f"  after all keys the app takes {after - with_rows:.0f} MB")
        assert max(medians.values()) < FRAME_MS
        assert after - with_rows < 60
    gc.unfreeze()


async def test_tree_with_a_directory_of_a_million():
    inside = [Item(f"file-{n:07}", False, n) for n in range(ROWS)]
    top = [Item("big", True, 0), Item("etc", True, 1), Item("usr", True, 2)]
    model: TreeRows[int] = TreeRows({"": top, "big": inside}.get)
    gc.collect()
    gc.freeze()
    app = Bench(Tree(model))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        print(f"\na tree with a directory of {ROWS:,}")
        before = resident_mb()
        begin = time.perf_counter()
        app.view.action_unfold()
        print(f"  unfold: key handled in {(time.perf_counter() - begin) * 1000:.1f} ms,", end=" ")
        await app.workers.wait_for_complete()
        print(f"rows there after {(time.perf_counter() - begin) * 1000:.0f} ms, {resident_mb() - before:.0f} MB")
        gc.collect()
        gc.freeze()
        await pilot.pause()
        taken = await frames(app, "move_rows", 1, 100)
        report("arrow", taken)
        assert statistics.median(taken) < FRAME_MS
        app.view.action_move_to_end(1)
        app.view.action_move_rows(-2)
        begin = time.perf_counter()
        app.view.action_fold()
        print(f"  to the parent {(time.perf_counter() - begin) * 1000:.1f} ms")
        begin = time.perf_counter()
        app.view.action_fold()
        print(f"  fold {(time.perf_counter() - begin) * 1000:.1f} ms")
        assert len(model.rows) == 3
    gc.unfreeze()


def test_key_to_frame_in_a_terminal():
    """From the write of a key into a pseudo terminal to the last byte of what is drawn for it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    child = subprocess.Popen([sys.executable, __file__], stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    print(f"\n{ROWS:,} rows in a terminal")
    try:
        assert _read_until_quiet(master, first=20.0, quiet=2.0)[1]
        down, page_down = b"\x1b[B", b"\x1b[6~"
        for name, key, count in (("arrow", down, 30), ("arrow, scrolling", down, 100), ("page down", page_down, 100)):
            taken, sizes = [], []
            for _ in range(count):
                begin = time.perf_counter()
                os.write(master, key)
                last, drawn = _read_until_quiet(master, first=1.0, quiet=0.03)
                taken.append((last - begin) * 1000)
                sizes.append(drawn)
            report(f"{name}, {statistics.median(sizes):.0f} bytes", taken)
            assert statistics.median(taken) < FRAME_MS
    finally:
        child.kill()
        child.wait()
        os.close(master)


def _read_until_quiet(descriptor: int, first: float, quiet: float) -> tuple[float, int]:
    """When the last byte came and how many there were, waiting ``first`` seconds for the first."""
    count, last, wait = 0, time.perf_counter(), first
    while select.select([descriptor], [], [], wait)[0]:
        count += len(os.read(descriptor, 65536))
        last, wait = time.perf_counter(), quiet
    return last, count


if __name__ == "__main__":
    names = [f"usr/share/doc/package-{n:07}/changelog" for n in range(ROWS)]
    gc.collect()
    gc.freeze()
    Bench(Names(names)).run()
