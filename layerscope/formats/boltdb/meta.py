"""The two meta pages of a bbolt database file: which states are in it.

Layout (integers in the byte order of the machine that wrote the file; ``magic`` tells which)::

    meta     64 bytes  after the header of pages 0 and 1: magic u32, version u32 = 2, page size u32, flags u32,
                       root page u64, root sequence u64, freelist u64, high water u64, txid u64, checksum u64
                       checksum: FNV-1a 64 over the 56 bytes before it

The two metas take turns: a commit writes new pages, then the meta that isn't in use. So the valid meta with the higher
txid is the newest state, and the pages of the other one stay whole until the next commit but one.

Source: go.etcd.io/bbolt db.go.
"""

from __future__ import annotations

import struct

from msgspec import Struct

MAGIC = 0xED0CDAED
VERSION = 2
PAGE_HEADER_SIZE = 16
"""Bytes of the header that every page begins with."""
_META_SIZE = 64
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 18))


class Meta(Struct, frozen=True):
    """One valid meta page: where the tree of its transaction begins. ``order`` is a prefix for :mod:`struct`."""

    order: str
    page_size: int
    root_page: int
    sequence: int
    high_water: int
    txid: int


def valid_metas(data: bytes) -> tuple[Meta, ...]:
    """The valid metas, newest first. Without meta 0 the page size is unknown: try each one for meta 1."""
    first = _meta(data, 0)
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    candidates = (_meta(data, size) for size in sizes)
    second = next((meta for size, meta in zip(sizes, candidates, strict=True) if meta and meta.page_size == size), None)
    found = [meta for meta in (first, second) if meta is not None]
    return tuple(sorted(found, key=lambda meta: meta.txid, reverse=True))


def _meta(data: bytes, start: int) -> Meta | None:
    """The meta in the page that starts there, or None if it is not a valid one."""
    body = data[start + PAGE_HEADER_SIZE : start + PAGE_HEADER_SIZE + _META_SIZE]
    if len(body) < _META_SIZE:
        return None
    for order in "<>":
        magic, version, page_size, _flags, root, sequence, _freelist, high_water, txid, checksum = struct.unpack(
            order + "IIIIQQQQQQ", body
        )
        if magic == MAGIC and version == VERSION and page_size in _PAGE_SIZES and checksum == _fnv1a(body[:-8]):
            return Meta(order, page_size, root, sequence, high_water, txid)
    return None


def _fnv1a(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
