"""The two sums below a stack, in docker's words."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from layerscope.model.level import Role
from layerscope.tui.sources.blocks import Block


class StackTotals(Struct, frozen=True):
    """Bytes of a stack, None while a part isn't known.

    ``writable`` is that of the writable layer (docker's *size*; None also for an image, see ``has_writable``);
    ``virtual`` that plus the image's layers; ``below_cut`` the image layers and writable layer up to the cut.
    """

    levels: int
    cut: int
    has_writable: bool
    writable: int | None
    virtual: int | None
    below_cut: int | None


def stack_totals(blocks: Iterable[Block], cut: int) -> StackTotals:
    """The sums of a stack; init layers aren't counted, as docker doesn't."""
    counted = [block for block in blocks if block.level.role is not Role.INIT]
    writable = [block for block in counted if block.level.role is Role.RW]
    return StackTotals(
        levels=max((block.number for block in counted), default=0),
        cut=cut,
        has_writable=bool(writable),
        writable=_sum(writable),
        virtual=_sum(counted),
        below_cut=_sum([block for block in counted if block.number <= cut]),
    )


def _sum(blocks: list[Block]) -> int | None:
    sizes = [block.size for block in blocks]
    return None if None in sizes else sum(size for size in sizes if size is not None)
