"""A scan as a parquet file: one row for each entry, so that DuckDB, Spark or pandas query many hosts' files together.

It needs pyarrow, which ``layerscope[parquet]`` brings; nothing else here does. Rows are written in groups, compressed
with zstd; the file's own metadata has the scan's facts under ``layerscope``, as JSON.

| column | type | what |
| --- | --- | --- |
| ``host`` ``root`` ``scanned_at`` | string, string, timestamp | which scan: the same in all rows |
| ``class`` | string | the ledger's class of the entry: ``image-layer container-rw volume log …`` |
| ``owner_kind`` ``owner`` | string | whose it is: ``image container volume …`` and the name ("" = nobody's) |
| ``layer`` | string | a layer's chain ID or container's ID, as in scan files; null outside of layers |
| ``role`` | string | ``image init rw`` of a layer that a record names, else null |
| ``chain_id`` ``diff_id`` ``cache_id`` | string | of a layer, null where it has none |
| ``path`` | string | where it lies below the root; U+FFFD for what isn't UTF-8 |
| ``inside`` | string | its path in the layer, beginning with a slash; null outside of layers |
| ``path_bytes`` | binary | ``path`` as it is stored, where that isn't UTF-8, else null |
| ``type`` | string | ``file dir symlink char block fifo socket`` |
| ``mode`` | int32 | permission bits, those for setuid, setgid and sticky included |
| ``uid`` ``gid`` | int64 | owner and group |
| ``size`` | int64 | its length in bytes |
| ``disk`` | int64 | bytes on disk, each inode once in its layer, with its first name; null where it isn't known |
| ``mtime`` | timestamp | when its content was changed, UTC, to the microsecond |
| ``links`` | int64 | how many names the inode has |
| ``state`` | string | ``plain``, or what the entry means for the layers below: ``whiteout opaque`` |
| ``target`` | string | of a symlink, else null |
| ``in_root`` | bool | ``disk`` is part of what du counts of the root; false in archives, thin pools, other stores |

``sum(disk) WHERE in_root`` is what du says of the root (hard links between layers, which only the driver overlay makes,
count in each).
"""

from __future__ import annotations

import json
import stat as modes
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import islice
from typing import Any

from layerscope.errors import UnsupportedError
from layerscope.model.file_type import file_type
from layerscope.model.scan import LAYER, Mark, ScanEnd, ScanEntry, ScanHeader, ScanRow, ScanTree, encoded

_ROWS_A_GROUP = 1 << 16
_ROWS_AT_ONCE = 1 << 12
_STATES = {mark: mark.name.lower() for mark in Mark}
_FIXED = ("host", "root", "class", "owner_kind", "owner", "layer", "role", "chain_id", "diff_id", "cache_id")
_THOUSAND = 1000


class ParquetWriter:
    """Writes a parquet file through a function that takes bytes; a ``model.scan.ScanSink``. What that raises comes out.

    Raises:
        UnsupportedError: pyarrow isn't installed.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._arrow, self._parquet = _pyarrow()
        self._stream = _Stream(write)
        self._writer: Any = None
        self._header: ScanHeader | None = None
        self._schema: Any = None
        self._batches: list[Any] = []
        self._waiting = 0

    def begin(self, header: ScanHeader, entries: Iterable[ScanEntry]) -> None:
        """The header; the ledger is left out, its sums are those of the rows."""
        facts = {
            "host": _shown(encoded(header.host)),
            "root": _shown(encoded(header.root)),
            "scanned_at_ns": header.scanned_at_ns,
            "store": header.store,
            "driver": header.driver,
            "total_disk": header.total_disk,
            "version": header.version,
        }
        self._header = header
        self._schema = _schema(self._arrow).with_metadata({"layerscope": json.dumps(facts)})
        self._writer = self._parquet.ParquetWriter(self._stream, self._schema, compression="zstd")

    def tree(self, tree: ScanTree, rows: Iterable[ScanRow]) -> None:
        """One tree with its rows."""
        iterator = iter(rows)
        try:
            while some := list(islice(iterator, _ROWS_AT_ONCE)):
                columns = self._columns(tree, some)
                self._batches.append(self._arrow.RecordBatch.from_pydict(columns, schema=self._schema))
                self._waiting += len(some)
                if self._waiting >= _ROWS_A_GROUP:
                    self._flush()
        except BaseException:
            self._stream.abandon()
            raise

    def finish(self, end: ScanEnd) -> None:
        """The end."""
        try:
            self._flush()
            self._writer.close()
        except BaseException:
            self._stream.abandon()
            raise

    def _flush(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, row_group_size=self._waiting)
        self._batches, self._waiting = [], 0

    def _columns(self, tree: ScanTree, rows: list[ScanRow]) -> dict[str, list[Any]]:
        header = self._header
        assert header is not None
        count = len(rows)
        is_layer = tree.kind == LAYER
        place = encoded(tree.path)
        paths = [b"/".join(part for part in (place, row.path) if part) or b"." for row in rows]

        def same(text: str) -> list[str | None]:
            return [_shown(encoded(text)) if text else None] * count

        return {
            "host": same(header.host),
            "root": same(header.root),
            "scanned_at": [header.scanned_at_ns // _THOUSAND] * count,
            "class": [row.subject.category for row in rows],
            "owner_kind": [row.subject.kind for row in rows],
            "owner": [_shown(encoded(row.subject.owner)) for row in rows],
            "layer": same(tree.id if is_layer else ""),
            "role": same(tree.role),
            "chain_id": same(tree.chain_id),
            "diff_id": same(tree.diff_id),
            "cache_id": same(tree.cache_id),
            "path": list(map(_shown, paths)),
            "inside": ["/" + _shown(row.path) for row in rows] if is_layer else same(""),
            "path_bytes": [None if _is_utf8(path) else path for path in paths],
            "type": [file_type(row.mode) for row in rows],
            "mode": [modes.S_IMODE(row.mode) for row in rows],
            "uid": [row.uid for row in rows],
            "gid": [row.gid for row in rows],
            "size": [row.size for row in rows],
            "disk": [row.disk if tree.has_disk else None for row in rows],
            "mtime": [row.mtime_ns // _THOUSAND for row in rows],
            "links": [row.links for row in rows],
            "state": [_STATES[Mark(row.mark)] for row in rows],
            "target": [_shown(row.target) if modes.S_ISLNK(row.mode) else None for row in rows],
            "in_root": [tree.in_root] * count,
        }


class _Stream:
    """A file to be written to from its beginning to its end, as pyarrow wants one."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._at = 0

    def abandon(self) -> None:
        """Nothing more is written: pyarrow's writer would end the file when it is forgotten."""
        self._write = len

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._write(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self.closed = True


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise UnsupportedError(
            "cannot write parquet: pyarrow is not installed; pip install 'layerscope[parquet]' brings it"
        ) from None


def _schema(arrow: Any) -> Any:
    moment = arrow.timestamp("us", tz="UTC")
    types = {name: arrow.string() for name in _FIXED}
    order = ("host", "root", "scanned_at", *_FIXED[2:])
    more = {
        "path": arrow.string(),
        "inside": arrow.string(),
        "path_bytes": arrow.binary(),
        "type": arrow.string(),
        "mode": arrow.int32(),
        "uid": arrow.int64(),
        "gid": arrow.int64(),
        "size": arrow.int64(),
        "disk": arrow.int64(),
        "mtime": moment,
        "links": arrow.int64(),
        "state": arrow.string(),
        "target": arrow.string(),
        "in_root": arrow.bool_(),
    }
    fields = [(name, types.get(name, moment)) for name in order]
    return arrow.schema([*fields, *more.items()])


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
