"""The difference between two stored copies of a file: a unified diff of texts, sizes and digests of everything else.

A text is a file without a NUL byte, of at most ``TEXT_BYTES`` and ``TEXT_LINES``. Other files are compared as bytes:
where they first differ, and what their digests are; that reads them whole, so it tells how far it is and can be
stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from layerscope.analysis.changes.lines import Block, line_blocks
from layerscope.services.faults import told
from layerscope.services.file.copies import Cancelled, Copy, Stopped, never

TEXT_BYTES = 1 << 21
TEXT_LINES = 50_000
CONTEXT = 3
"""Equal lines around a difference, as ``diff -u`` shows."""

_CHUNK = 1 << 18
_SNIPPET = 64


class LineKind(StrEnum):
    """What a line of a unified diff is, by the character that ``diff -u`` puts before it."""

    SAME = " "
    OLD = "-"
    NEW = "+"
    HUNK = "@"
    NO_END = "\\"


class DiffLine(NamedTuple):
    """One line, without its newline, decoded with surrogateescape. ``old`` and ``new`` are its numbers, from 1."""

    kind: LineKind
    old: int | None
    new: int | None
    text: str


class TextDiff(Struct, frozen=True):
    """Two texts, compared. ``blocks`` cover both from beginning to end."""

    old: Sequence[bytes]
    new: Sequence[bytes]
    blocks: Sequence[Block]

    @property
    def added(self) -> int:
        """How many lines only the new text has."""
        return sum(block.new_end - block.new_start for block in self.blocks if not block.same)

    @property
    def removed(self) -> int:
        """How many lines only the old text has."""
        return sum(block.old_end - block.old_start for block in self.blocks if not block.same)

    def lines(self, context: int | None = CONTEXT) -> Iterator[DiffLine]:
        """The unified diff, each hunk after a line that says where it is; ``context`` None: everything, no such lines.

        Texts that are equal give no hunk.
        """
        if context is None:
            for block in self.blocks:
                yield from self._block_lines(block)
            return
        for hunk in _hunks(self.blocks, context):
            first, last = hunk[0], hunk[-1]
            where = f"@@ -{_range(first.old_start, last.old_end)} +{_range(first.new_start, last.new_end)} @@"
            yield DiffLine(LineKind.HUNK, None, None, where)
            for block in hunk:
                yield from self._block_lines(block)

    def _block_lines(self, block: Block) -> Iterator[DiffLine]:
        if block.same:
            for old, new in zip(
                range(block.old_start, block.old_end), range(block.new_start, block.new_end), strict=True
            ):
                yield from _text_lines(LineKind.SAME, old + 1, new + 1, self.new[new])
            return
        for old in range(block.old_start, block.old_end):
            yield from _text_lines(LineKind.OLD, old + 1, None, self.old[old])
        for new in range(block.new_start, block.new_end):
            yield from _text_lines(LineKind.NEW, None, new + 1, self.new[new])


def _text_lines(kind: LineKind, old: int | None, new: int | None, line: bytes) -> Iterator[DiffLine]:
    yield DiffLine(kind, old, new, line.removesuffix(b"\n").decode("utf-8", "surrogateescape"))
    if not line.endswith(b"\n"):
        yield DiffLine(LineKind.NO_END, None, None, "no newline at the end of the file")


def _range(start: int, end: int) -> str:
    """Lines ``start`` to ``end`` (from 0, end excluded) as ``diff -u`` writes them."""
    count = end - start
    first = start + 1 if count else start
    return f"{first}" if count == 1 else f"{first},{count}"


def _hunks(blocks: Sequence[Block], context: int) -> Iterator[list[Block]]:
    """The differences with ``context`` equal lines around them; those that touch or overlap are one hunk."""
    hunk: list[Block] = []
    for position, block in enumerate(blocks):
        if not block.same:
            hunk.append(block)
            continue
        length = block.old_end - block.old_start
        last = position == len(blocks) - 1
        if hunk and not last and length <= 2 * context:
            hunk.append(block)
            continue
        if hunk:
            kept = min(context, length)
            hunk.append(block._replace(old_end=block.old_start + kept, new_end=block.new_start + kept))
            yield hunk
        hunk = []
        if not last:
            kept = min(context, length)
            hunk = [block._replace(old_start=block.old_end - kept, new_start=block.new_end - kept)]
    if any(not block.same for block in hunk):
        yield hunk


class ByteDiff(Struct, frozen=True):
    """Two files that aren't compared as texts, and ``why`` not.

    ``first`` is the offset of the first byte that differs (the shorter one's size, if it is the beginning of the
    longer), None if nothing does; ``old_piece`` and ``new_piece`` are some bytes from ``piece_offset``, a multiple of
    16, around it.
    """

    why: str
    old_size: int
    new_size: int
    old_sha256: str
    new_sha256: str
    first: int | None
    piece_offset: int = 0
    old_piece: bytes = b""
    new_piece: bytes = b""


def is_binary(sample: bytes) -> bool:
    """Whether bytes are no text: one of them is NUL."""
    return b"\0" in sample


def text_lines(copy: Copy) -> list[bytes] | str:
    """A copy's lines with their newlines, or why it isn't taken for a text: ``binary`` or ``too large``."""
    if copy.stat.st_size > TEXT_BYTES:
        return "too large"
    with copy.open() as file, told(f"cannot read /{copy.path}"):
        data = file.read(TEXT_BYTES + 1)
    if is_binary(data):
        return "binary"
    if len(data) > TEXT_BYTES or data.count(b"\n") > TEXT_LINES:
        return "too large"
    return split_lines(data)


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their newlines; only a line feed ends one."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def text_diff(old: Copy, new: Copy, stopped: Stopped = never) -> TextDiff | str:
    """The difference between two copies as texts, or why they can't be compared so.

    Raises:
        Cancelled: ``stopped`` said so.
        LayerscopeError: a copy can't be read.
    """
    if not old.is_file or not new.is_file:
        return "not a regular file"
    old_lines, new_lines = text_lines(old), text_lines(new)
    for lines in (old_lines, new_lines):
        if isinstance(lines, str):
            return lines
    assert not isinstance(old_lines, str) and not isinstance(new_lines, str)
    blocks = line_blocks(old_lines, new_lines, stopped)
    if stopped():
        raise Cancelled("given up")
    return TextDiff(old_lines, new_lines, blocks)


def byte_diff(
    old: Copy, new: Copy, why: str, stopped: Stopped = never, progress: Callable[[int], None] | None = None
) -> ByteDiff:
    """The difference between two regular files as bytes; reads both whole.

    Args:
        old: One copy.
        new: The other.
        why: Why they aren't compared as texts.
        stopped: Asked between chunks.
        progress: Told how many bytes of both were read since it was last called.

    Raises:
        Cancelled: ``stopped`` said so.
        LayerscopeError: a copy can't be read.
    """
    first: int | None = None
    old_digest, new_digest = hashlib.sha256(), hashlib.sha256()
    offset = 0
    with old.open() as one, new.open() as other, told(f"cannot read /{new.path}"):
        while True:
            left, right = one.read(_CHUNK), other.read(_CHUNK)
            if stopped():
                raise Cancelled("given up")
            if not left and not right:
                break
            if first is None and left != right:
                first = offset + _common_length(left, right)
            old_digest.update(left)
            new_digest.update(right)
            offset += max(len(left), len(right))
            if progress is not None:
                progress(len(left) + len(right))
        old_size, new_size = one.tell(), other.tell()
        pieces = b"", b""
        start = 0
        if first is not None:
            start = max(0, first // 16 * 16 - 16)
            one.seek(start)
            other.seek(start)
            pieces = one.read(_SNIPPET), other.read(_SNIPPET)
    return ByteDiff(why, old_size, new_size, old_digest.hexdigest(), new_digest.hexdigest(), first, start, *pieces)


def _common_length(left: bytes, right: bytes) -> int:
    """How many bytes two chunks begin with in common; found by halving, not byte by byte."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
