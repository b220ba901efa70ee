"""What is shown of a file's content beside its life: two copies compared, or the beginning of the only one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from layerscope.services.file.copies import Copy, Life, Stopped, metadata_differences, never
from layerscope.services.file.difference import (
    CONTEXT,
    ByteDiff,
    DiffLine,
    TextDiff,
    byte_diff,
    is_binary,
    split_lines,
    text_diff,
)
from layerscope.tui.sources.facts import utc_time
from layerscope.tui.units import size_text

PREVIEW_BYTES = 1 << 14
_HEX_CELLS = 16
_MOST_ENTRIES = 500


class ShownKind(StrEnum):
    """What a line is: those of a unified diff, and two more."""

    SAME = " "
    OLD = "-"
    NEW = "+"
    HUNK = "@"
    NO_END = "\\"
    FACT = "fact"
    """Something in which the copies differ beside their content."""
    NOTE = "note"
    """Something to say about the comparison."""


class ShownLine(NamedTuple):
    """One line: its kind, its numbers in both copies, its text (raw)."""

    kind: ShownKind
    old: int | None
    new: int | None
    text: str


class Comparison(Struct, frozen=True):
    """What to show of ``new``, compared with ``old`` (None: on its own).

    ``added`` and ``removed`` count lines, None where texts weren't compared.
    """

    old: Copy | None
    new: Copy
    lines: list[ShownLine] = field(default_factory=list)
    added: int | None = None
    removed: int | None = None


def compare_copies(
    old: Copy,
    new: Copy,
    *,
    context: int | None = CONTEXT,
    whole: bool = False,
    stopped: Stopped = never,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Two copies of a path, compared.

    Args:
        old: The one that is taken for the earlier.
        new: The other.
        context: Equal lines around differences; None: all.
        whole: Read both whole where they are no texts.
        stopped: Asked between pieces of work.
        progress: Told how many bytes were read, as for ``byte_diff``.

    Raises:
        Cancelled, LayerscopeError: as ``text_diff``.
    """
    lines = [ShownLine(ShownKind.FACT, None, None, _fact(*difference)) for difference in _differences(old, new)]
    if not old.is_file or not new.is_file:
        if not lines:
            lines.append(_note("nothing differs"))
        if new.type == "dir":
            lines.extend(_entries_of(new))
        return Comparison(old, new, lines)
    found = text_diff(old, new, stopped)
    if isinstance(found, TextDiff):
        if not found.added and not found.removed:
            lines.append(_note("the contents are the same"))
        if found.added or found.removed or context is None:
            lines.extend(_shown(line) for line in found.lines(context))
        return Comparison(old, new, lines, found.added, found.removed)
    if not whole:
        lines.append(_note(f"{found}: {size_text(old.stat.st_size)} before, {size_text(new.stat.st_size)} now"))
        return Comparison(old, new, lines)
    lines.extend(_byte_lines(byte_diff(old, new, found, stopped, progress)))
    return Comparison(old, new, lines)


def _differences(old: Copy, new: Copy) -> list[tuple[str, str, str]]:
    found = []
    for difference in metadata_differences(old, new):
        left, right = difference.old, difference.new
        if difference.name == "mtime":
            left, right = _different_times(old.stat.st_mtime_ns, new.stat.st_mtime_ns)
        found.append((difference.name, left or "none", right or "none"))
    return found


def _different_times(old: int, new: int) -> tuple[str, str]:
    """Two times, to the second where that tells them apart."""
    second = 1_000_000_000
    if old // second != new // second:
        old, new = old // second * second, new // second * second
    return utc_time(old).removesuffix(" UTC"), utc_time(new)


def _fact(name: str, old: str, new: str) -> str:
    return f"{name}  {old} → {new}"


def _entries_of(copy: Copy) -> list[ShownLine]:
    """What one level itself holds in a directory: names, and those that it removes."""
    entries = copy.entries(_MOST_ENTRIES)
    own = entries.count - entries.whiteouts
    held = f"{own:,} {'entry' if own == 1 else 'entries'}" if own else "nothing"
    words = f"layer {copy.level.number} itself holds {held} here"
    lines = [_note(words + (f" and removes {entries.whiteouts:,}" if entries.whiteouts else ""))]
    for entry in entries.first:
        kind = ShownKind.OLD if entry.whiteout else ShownKind.SAME
        lines.append(ShownLine(kind, None, None, entry.name + "/" * entry.is_dir))
    if entries.count > len(entries.first):
        lines.append(_note(f"and {entries.count - len(entries.first):,} more"))
    return lines


def _shown(line: DiffLine) -> ShownLine:
    return ShownLine(ShownKind(line.kind), line.old, line.new, line.text)


def _note(text: str) -> ShownLine:
    return ShownLine(ShownKind.NOTE, None, None, text)


def _byte_lines(found: ByteDiff) -> list[ShownLine]:
    """Sizes and digests, and the bytes around the first difference."""
    if found.first is None:
        return [_note(f"{found.why}; the contents are the same: {found.old_size:,} bytes, sha256 {found.old_sha256}")]
    lines = [
        _note(f"{found.why}; the first byte that differs is at {found.first:,} (0x{found.first:x})"),
        ShownLine(ShownKind.OLD, None, None, f"{found.old_size:,} bytes  sha256 {found.old_sha256}"),
        ShownLine(ShownKind.NEW, None, None, f"{found.new_size:,} bytes  sha256 {found.new_sha256}"),
    ]
    for kind, piece in ((ShownKind.OLD, found.old_piece), (ShownKind.NEW, found.new_piece)):
        lines.append(_note(""))
        lines.extend(ShownLine(kind, None, None, text) for text in hex_lines(piece, found.piece_offset))
    return lines


def hex_lines(data: bytes, offset: int = 0, cells: int = _HEX_CELLS) -> list[str]:
    """Bytes as ``0000001f  7f 45 4c 46 …  .ELF``, ``cells`` in a line."""
    return [
        f"{offset + start:08x}  {data[start : start + cells].hex(' '):<{cells * 3 - 1}}  "
        f"{printable(data[start : start + cells])}"
        for start in range(0, len(data), cells)
    ]


def printable(data: bytes) -> str:
    """Bytes as ASCII characters, a dot for each that has none."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def content_of(copy: Copy, life: Life, stopped: Stopped = never) -> Comparison:
    """What to show beside a life: the copy compared with the one below it, or its beginning if there is none."""
    below = life.below(copy)
    return preview(copy) if below is None else compare_copies(below, copy, stopped=stopped)


def preview(copy: Copy) -> Comparison:
    """The first lines of a file, or its first bytes if it is no text.

    Raises:
        LayerscopeError: it can't be read.
    """
    if not copy.is_file:
        if copy.type == "dir":
            return Comparison(None, copy, _entries_of(copy))
        what = f"a symlink to {copy.target}" if copy.target else f"a {copy.type}: it has no bytes to show"
        return Comparison(None, copy, [_note(what)])
    with copy.open() as file:
        data = file.read(PREVIEW_BYTES)
    if not data:
        return Comparison(None, copy, [_note("the file is empty")])
    if is_binary(data):
        return Comparison(None, copy, [ShownLine(ShownKind.SAME, None, None, line) for line in hex_lines(data[:1024])])
    lines = split_lines(data)
    if len(data) == PREVIEW_BYTES and len(lines) > 1:
        lines.pop()  # cut in the middle
    shown = [
        ShownLine(ShownKind.SAME, None, number, line.removesuffix(b"\n").decode("utf-8", "surrogateescape"))
        for number, line in enumerate(lines, 1)
    ]
    return Comparison(None, copy, shown)
