"""What is known of a thin device, level by level, and the way that the read of one block takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich.segment import Segment

from layerscope.model.block_map import BASE_LEVEL, BlockRead, DeviceBlocks
from layerscope.tui.text import fit
from layerscope.tui.widgets.rows.scroll import ScrollRows


class FactLine(NamedTuple):
    """One line: ``level`` gives the colour of its stripe (None: there is none), ``style`` that of the text."""

    text: str
    level: int | None = None
    style: str = "foreground"


_GAP = FactLine("")
_UNKNOWN = "-"


class BlockFacts(ScrollRows[FactLine]):
    """Lines about a device and about one of its blocks; ``levels`` is the number of levels, for their colours."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.levels = 1
        self._device: list[FactLine] = []

    def show_device(self, device: DeviceBlocks, levels: int) -> None:
        """The levels of another device, with the blocks that each wrote."""
        self.levels = levels
        self._device = list(_device_lines(device))
        self.set_rows(list(self._device))

    def show_block(self, block: BlockRead | None) -> None:
        """The read path of a block, before what is known of the device."""
        path = [] if block is None else [*_block_lines(block, self.look.text), _GAP]
        self.set_rows([*path, *self._device])

    def tell(self, message: str) -> None:
        """Why there is no read path to show."""
        self.set_rows([FactLine(message, None, "error"), _GAP, *self._device])

    def draw_row(self, index: int, row: FactLine, width: int) -> Iterable[Segment]:
        """The stripe of the level, then the text."""
        look = self.look
        if row.level is not None:
            known = BASE_LEVEL < row.level <= self.levels
            yield Segment(
                look.glyphs.stripe, look.layer_style(row.level, self.levels) if known else look.style("muted")
            )
        else:
            yield Segment(" ")
        text = fit(row.text, max(0, width - 1), ellipsis=look.glyphs.ellipsis)
        yield Segment(text, look.style(row.style, bold=row.style == "primary"))


def _device_lines(device: DeviceBlocks) -> Iterable[FactLine]:
    pool, block = device.pool, device.pool.block_bytes
    yield FactLine(f"levels, in blocks of {block // 1024} KiB", None, "muted")
    yield FactLine(f"{'':>8} {'mapped':>8} {'copied':>7} {'new':>7} {'alone':>7}", None, "muted")
    for level in device.levels:
        counts = (level.mapped, level.copied, level.new, level.exclusive)
        told = " ".join(f"{_number(count):>{8 if place == 0 else 7}}" for place, count in enumerate(counts))
        yield FactLine(f"{level.level:>2} {level.role:<5} {told}", level.level)
    yield _GAP
    yield FactLine(f"pool: {pool.allocated:,} of {pool.data_blocks:,} blocks in use", None, "muted")
    if pool.needs_check:
        yield FactLine("the pool's own flag says that it needs a check", None, "warning")


def _number(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _block_lines(block: BlockRead, safe: Callable[[str], str]) -> Iterable[FactLine]:
    end = block.offset + block.block_bytes - 1
    where = f"{block.virtual:#x}" if block.data is None else f"{block.virtual:#x} -> {block.data:#x}"
    yield FactLine(f"block {where}", block.owner, "primary")
    yield FactLine(f"bytes {block.offset:,} to {end:,} of the device", None, "muted")
    if block.data is None:
        yield FactLine("nothing maps it: it reads as zeros", None, "muted")
    else:
        yield FactLine(f"at byte {block.data_offset:,} of the pool's data", None, "muted")
    for use in block.holds or ():
        path = "" if use.path is None else f" {safe(use.path)}"
        yield FactLine(f"holds {use.kind}{path}")
    yield _GAP
    yield FactLine("how it is read, from the device down", None, "muted")
    for step in block.steps:
        data = _UNKNOWN if step.data is None else f"{step.data:#x}"
        text = f"{step.level:>2} {step.role:<5} {data:>8}  {step.note}"
        yield FactLine(text, step.level, "primary" if step.note == "written here" else "foreground")
