"""Where the lines of a file begin, for files of any size: found in one pass, kept as one mark per megabyte.

What is shown is a *row*: a line, or a piece of a very long one. The file is seen as windows of ``WINDOW_BYTES``; a row
begins

* at the start of the file,
* after each line feed,
* after each whole window that holds no line feed.

So no row is longer than two windows, where it begins depends on the bytes just before it alone, and counting rows is
counting line feeds and empty windows, which runs at the speed of the disk. A file of zeros is as quick as a text.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from layerscope.services.file.copies import Stopped, never
from layerscope.services.file.pages import FilePages

WINDOW_BYTES = 1 << 10
CHUNK_BYTES = 1 << 20
LONGEST_ROW = 2 * WINDOW_BYTES
_KEPT_CHUNKS = 4


class Row(NamedTuple):
    """One row: where its bytes lie (line feed included), its line (from 1), whether that line began before it."""

    start: int
    end: int
    line: int
    goes_on: bool


class _Mark(NamedTuple):
    """How many rows begin, and how many line feeds lie, before the row starts of a chunk."""

    rows: int
    feeds: int


class _Starts(NamedTuple):
    """The row starts of one chunk, and for each the number of line feeds in the chunk before it."""

    offsets: array[int]
    feeds: array[int]


class LineIndex:
    """The rows of a file, counted from 0. Grows by :meth:`scan`; may be asked while another thread scans.

    ``rows`` is how many are known, ``scanned`` how many bytes were looked at.
    """

    def __init__(self, pages: FilePages) -> None:
        self._pages = pages
        self._lock = Lock()
        # A chunk's row starts lie in (chunk start, chunk end], so that no byte outside of the chunk decides on them.
        self._marks: list[_Mark] = [_Mark(1, 0)]
        self._starts: OrderedDict[int, _Starts] = OrderedDict()
        self.scanned = 0
        self.rows = 1

    @property
    def complete(self) -> bool:
        """Whether the whole file, at its size as last measured, was looked at."""
        return self.scanned >= self._pages.size

    def scan(self, chunks: int = 1, stopped: Stopped = never) -> bool:
        """Look at some more of the file; False when there is nothing more to do."""
        for _ in range(chunks):
            if self.complete or stopped():
                break
            number = self.scanned // CHUNK_BYTES
            data = self._pages.stream(number * CHUNK_BYTES, CHUNK_BYTES)
            if number * CHUNK_BYTES + len(data) <= self.scanned:  # it shrank
                self.scanned = self._pages.measure()
                break
            self._take(number, data)
        return not (self.complete or stopped())

    def _take(self, number: int, data: bytes) -> None:
        feeds = data.count(b"\n")
        count = feeds + _empty_windows(data, feeds)
        end = number * CHUNK_BYTES + len(data)
        # A row that would begin where the file ends isn't one.
        surplus = end >= self._pages.size and (data.endswith(b"\n") or _ends_with_empty_window(data))
        with self._lock:
            before = self._marks[number]
            self._marks[number + 1 :] = [_Mark(before.rows + count, before.feeds + feeds)]
            self._starts.pop(number, None)
            self.rows = before.rows + count - surplus
            self.scanned = end

    # ------------------------------------------------------------------ asking
    def row(self, index: int) -> Row | None:
        """Row ``index``; None if it is not known (yet). May read a megabyte of the file."""
        return self._row(index, read=True)

    def kept_row(self, index: int) -> Row | None:
        """Row ``index`` if it can be told without touching the disk."""
        return self._row(index, read=False)

    def row_at(self, offset: int) -> int:
        """The row that holds the byte at ``offset``, which must have been scanned."""
        number = min(max(0, offset) // CHUNK_BYTES, max(0, len(self._marks) - 2))
        if self.scanned == 0:
            return 0
        place = bisect_right(self._starts_of(number).offsets, offset - number * CHUNK_BYTES)
        return min(self._marks[number].rows + place - 1, self.rows - 1)

    def row_of_line(self, line: int) -> int | None:
        """The first row of a line (from 1); None if it is not known (yet)."""
        if line <= 1:
            return 0
        with self._lock:
            number = bisect_left(self._marks, line - 1, key=lambda mark: mark.feeds) - 1
            if number + 1 >= len(self._marks):
                return None
            mark = self._marks[number]
        index = mark.rows + bisect_left(self._starts_of(number).feeds, line - 1 - mark.feeds)
        return index if index < self.rows else None

    def _row(self, index: int, read: bool) -> Row | None:
        if not 0 <= index < self.rows:
            return None
        start, line, goes_on = 0, 1, False
        if index:
            with self._lock:
                number = bisect_right(self._marks, index, key=lambda mark: mark.rows) - 1
                mark = self._marks[number]
                known = self._starts.get(number)
            if known is None:
                if not read:
                    return None
                known = self._starts_of(number)
            place = index - mark.rows
            if place >= len(known.offsets):  # the file changed under us
                return None
            start = number * CHUNK_BYTES + known.offsets[place]
            line = 1 + mark.feeds + known.feeds[place]
            goes_on = known.feeds[place] == (known.feeds[place - 1] if place else 0)
        end = self._end_of(start, read)
        return None if end is None else Row(start, end, line, goes_on)

    def _end_of(self, start: int, read: bool) -> int | None:
        # A window that the row doesn't begin with has a line feed before the row: it isn't empty.
        limit = (-start % WINDOW_BYTES) + WINDOW_BYTES
        data = self._pages.read(start, limit) if read else self._pages.kept(start, limit)
        if data is None:
            return None
        feed = data.find(b"\n")
        return start + (feed + 1 if feed >= 0 else len(data))

    def _starts_of(self, number: int) -> _Starts:
        with self._lock:
            known = self._starts.get(number)
            if known is not None:
                self._starts.move_to_end(number)
                return known
        found = _row_starts(self._pages.stream(number * CHUNK_BYTES, CHUNK_BYTES))
        with self._lock:
            self._starts[number] = found
            while len(self._starts) > _KEPT_CHUNKS:
                self._starts.popitem(last=False)
        return found


def _empty_windows(data: bytes, feeds: int) -> int:
    """How many whole windows hold no line feed."""
    windows = range(0, len(data) - WINDOW_BYTES + 1, WINDOW_BYTES)
    if not feeds:
        return len(windows)
    find = data.find
    return sum(find(b"\n", start, start + WINDOW_BYTES) < 0 for start in windows)


def _ends_with_empty_window(data: bytes) -> bool:
    return bool(data) and len(data) % WINDOW_BYTES == 0 and data.find(b"\n", len(data) - WINDOW_BYTES) < 0


def _row_starts(data: bytes) -> _Starts:
    offsets, feeds = array("I"), array("I")
    count = 0
    for window in range(0, len(data), WINDOW_BYTES):
        end = min(window + WINDOW_BYTES, len(data))
        feed = data.find(b"\n", window, end)
        if feed < 0 and end - window == WINDOW_BYTES:
            offsets.append(end)
            feeds.append(count)
        while feed >= 0:
            count += 1
            offsets.append(feed + 1)
            feeds.append(count)
            feed = data.find(b"\n", feed + 1, end)
    return _Starts(offsets, feeds)
