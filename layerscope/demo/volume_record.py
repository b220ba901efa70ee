"""``volumes/metadata.db`` with one volume in it: the smallest bolt file that holds a bucket with a record.

| page | what |
| --- | --- |
| 0, 1 | the two metas: root page, page of the freelist, number of pages, transaction, checksum |
| 2 | the freelist, empty |
| 3 | the root: a leaf with the bucket ``volumes``, whose own leaf lies in its value |

All numbers are little-endian here, as on most machines; the layout is told by :mod:`layerscope.formats.boltdb`.
Sources: go.etcd.io/bbolt db.go, page.go; moby volume/service/db.go. dockerd 20.10.24 opens it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from layerscope.formats.gojson import go_json

_PAGE_BYTES = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_LEAF, _META, _FREELIST = 0x02, 0x04, 0x10
_BUCKET = 1
_FREELIST_PAGE, _ROOT_PAGE, _PAGES = 2, 3, 4


def volume_database(name: str, labels: Mapping[str, str]) -> bytes:
    """The database of one volume of the driver ``local``."""
    record = go_json({"Name": name, "Driver": "local", "Labels": dict(labels), "Options": {}})
    inline = struct.pack("<QQ", 0, 0) + _leaf(0, 0, name.encode(), record)
    pages = [
        _meta(0),
        _meta(1),
        struct.pack("<QHHI", _FREELIST_PAGE, _FREELIST, 0, 0),
        _leaf(_ROOT_PAGE, _BUCKET, b"volumes", inline),
    ]
    return b"".join(page.ljust(_PAGE_BYTES, b"\0") for page in pages)


def _leaf(number: int, flags: int, key: bytes, value: bytes) -> bytes:
    """A leaf page with one element; its key lies right behind it."""
    return struct.pack("<QHHIIIII", number, _LEAF, 1, 0, flags, 16, len(key), len(value)) + key + value


def _meta(number: int) -> bytes:
    """A meta page of the transaction ``number``."""
    fields = (_MAGIC, _VERSION, _PAGE_BYTES, 0, _ROOT_PAGE, 0, _FREELIST_PAGE, _PAGES, number)
    meta = struct.pack("<IIIIQQQQQ", *fields)
    return struct.pack("<QHHI", number, _META, 0, 0) + meta + struct.pack("<Q", _checksum(meta))


def _checksum(data: bytes) -> int:
    """FNV-1a of 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value
