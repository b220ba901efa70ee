"""bbolt database files, read from bytes: no lock, no mapping, nothing written.

Layout (integers in the byte order of the machine that wrote the file; ``magic`` tells which)::

    page     16 bytes  id u64, flags u16, count u16, overflow u32; occupies (1 + overflow) * page size
                       flags: 1 branch, 2 leaf, 4 meta, 0x10 freelist (not needed for reading)
    meta     64 bytes  after the header of pages 0 and 1: magic u32, version u32 = 2, page size u32, flags u32,
                       root page u64, root sequence u64, freelist u64, high water u64, txid u64, checksum u64
                       checksum: FNV-1a 64 over the 56 bytes before it
    leaf     16 bytes  per element: flags u32 (1 = bucket), pos u32, key size u32, value size u32
    branch   16 bytes  per element: pos u32, key size u32, child page u64
                       pos counts from the element's own start; a leaf's value follows its key
    bucket   16 bytes  value of a bucket element: root page u64, sequence u64;
                       root page 0: the rest of the value is a whole leaf page (header, elements, data)

The two metas take turns: a commit writes new pages, then the meta that isn't in use. So the valid meta with the higher
txid is the newest state, and the pages of the other one stay whole until the next commit but one.

Source: go.etcd.io/bbolt page.go, bucket.go, db.go; seen with files of 1, 4 and 64 KiB pages and of docker 20.10.24.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial

from msgspec import Struct

from layerscope.errors import CorruptError

_MAGIC = 0xED0CDAED
_VERSION = 2
_BRANCH = 0x01
_LEAF = 0x02
_BUCKET_ELEMENT = 0x01
_HEADER_SIZE = 16
_ELEMENT_SIZE = 16
_META_SIZE = 64
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 18))
_MAX_DEPTH = 64
"""Levels of pages in one tree, and of buckets in buckets; real files have fewer than ten of each."""


class Meta(Struct, frozen=True):
    """One valid meta page: where the tree of its transaction begins. ``order`` is a prefix for :mod:`struct`."""

    order: str
    page_size: int
    root_page: int
    sequence: int
    high_water: int
    txid: int


class _Page(Struct, frozen=True):
    """Where one page's elements lie: ``start`` of its header, ``end`` of its data, both offsets in the file."""

    start: int
    end: int
    count: int
    leaf: bool
    name: str


class _Element(Struct, frozen=True):
    """One element of a leaf; ``value`` and ``end`` are offsets in the file."""

    key: bytes
    is_bucket: bool
    value: int
    end: int


class Database:
    """One consistent state of a database file held in memory.

    ``parse`` looks at the meta pages only. Pages are checked when they are reached, so a damaged page costs what lies
    behind it and nothing else; ``checked`` walks everything first and takes the older state if the newest is torn.

    In a sound file each page is referred to from one place. A page reached from a second place, or lying inside
    another one, is refused: so loops end, and reading everything takes time in proportion to the file.
    """

    __slots__ = ("_branch", "_bucket", "_header", "_leaf", "_metas", "_owners", "data", "is_older", "meta")

    def __init__(self, data: bytes, metas: tuple[Meta, ...], *, is_older: bool = False) -> None:
        self.data = data
        self.meta = metas[0]
        self.is_older = is_older
        """Whether a newer state was in the file and this one was taken instead."""
        self._metas = metas
        self._owners: dict[int, int] = {}
        self._header = struct.Struct(self.meta.order + "QHHI")
        self._leaf = struct.Struct(self.meta.order + "IIII")
        self._branch = struct.Struct(self.meta.order + "IIQ")
        self._bucket = struct.Struct(self.meta.order + "QQ")

    @classmethod
    def parse(cls, data: bytes) -> Database:
        """The newest state: that of the valid meta with the higher txid. The tree is not walked (see ``checked``).

        Raises:
            CorruptError: neither meta page is valid.
        """
        metas = _metas(data)
        if not metas:
            found = "is empty" if not data else f"{len(data)} bytes, no valid meta page in them"
            raise CorruptError(f"bolt database: {found}, expected magic {_MAGIC:#x}, version {_VERSION} and a checksum")
        return cls(data, metas)

    @classmethod
    def checked(cls, data: bytes) -> Database:
        """The newest state whose whole tree can be walked; ``is_older`` tells whether it is the second newest.

        Raises:
            CorruptError: no meta is valid, or neither tree is whole (the message is about the newest).
        """
        newest = cls.parse(data)
        try:
            newest.check()
        except CorruptError as torn:
            older = newest.older()
            if older is None:
                raise
            try:
                older.check()
            except CorruptError:
                raise torn from None
            return older
        return newest

    def older(self) -> Database | None:
        """The state before this one, if its meta page is valid. Its pages may be partly written over."""
        return Database(self.data, self._metas[1:], is_older=True) if len(self._metas) > 1 else None

    @property
    def txid(self) -> int:
        """The transaction this state is of. The same in a later read: nothing was committed in between."""
        return self.meta.txid

    @property
    def root(self) -> Bucket:
        """The bucket that holds all others."""
        return Bucket(self, self.meta.root_page, self.meta.sequence, -1, None)

    def check(self) -> int:
        """Walk every bucket; the number of keys seen, those of buckets included.

        Raises:
            CorruptError: a page or element is not what it should be.
        """
        keys = 0
        pending = [self.root.items()]
        while pending:
            for _key, value in pending[-1]:
                keys += 1
                if isinstance(value, Bucket):
                    if len(pending) >= _MAX_DEPTH:
                        raise CorruptError(f"bolt database: buckets nested more than {_MAX_DEPTH} deep")
                    pending.append(value.items())
                    break
            else:
                pending.pop()
        return keys

    def _page(self, number: int, reference: int) -> _Page:
        """Page ``number``, which the element at offset ``reference`` names (-1: the meta does)."""
        size = self.meta.page_size
        start = number * size
        if not 2 <= number < self.meta.high_water or start + size > len(self.data):
            pages = min(self.meta.high_water, len(self.data) // size)
            raise CorruptError(f"bolt page {number}: not a page of the tree, the file has {pages} pages")
        own, flags, count, overflow = self._header.unpack_from(self.data, start)
        if own != number:
            raise CorruptError(f"bolt page {number}: its header says {own}")
        if flags not in (_BRANCH, _LEAF):
            raise CorruptError(f"bolt page {number}: flags {flags:#x} inside a tree, expected 1 (branch) or 2 (leaf)")
        end = start + (1 + overflow) * size
        if end > len(self.data):
            raise CorruptError(f"bolt page {number}: {overflow} overflow pages run past the end of the file")
        self._claim(number, overflow, reference)
        page = _Page(start, end, count, flags == _LEAF, f"page {number}")
        self._check_array(page)
        return page

    def _claim(self, number: int, overflow: int, reference: int) -> None:
        """Note who refers to a page; refuse a second reference and overlapping pages."""
        owner = self._owners.get(number)
        if owner is None:
            pages = range(number, number + overflow + 1)
            if any(page in self._owners for page in pages):
                raise CorruptError(f"bolt page {number}: overlaps another page")
            # Overflow pages get an owner that no reference can be, so that nothing may name them as a page.
            self._owners.update(dict.fromkeys(pages, -2))
            self._owners[number] = reference
        elif owner != reference:
            raise CorruptError(f"bolt page {number}: reached from two places")

    def _inline(self, start: int, end: int) -> _Page:
        """The leaf page that an inline bucket holds in its own value."""
        if end - start < _HEADER_SIZE:
            raise CorruptError(f"bolt inline bucket at {start}: {end - start} bytes, expected at least {_HEADER_SIZE}")
        _own, flags, count, _overflow = self._header.unpack_from(self.data, start)
        if flags != _LEAF:
            raise CorruptError(f"bolt inline bucket at {start}: flags {flags:#x}, expected 2 (leaf)")
        page = _Page(start, end, count, True, f"inline bucket at {start}")
        self._check_array(page)
        return page

    def _check_array(self, page: _Page) -> None:
        if page.start + _HEADER_SIZE + page.count * _ELEMENT_SIZE > page.end:
            raise CorruptError(f"bolt {page.name}: {page.count} elements don't fit in it")
        if not page.leaf and page.count == 0:
            raise CorruptError(f"bolt {page.name}: a branch without children")

    def _element(self, page: _Page, index: int) -> _Element:
        """Element ``index`` of a leaf, its data inside the page and behind the element array."""
        at = page.start + _HEADER_SIZE + index * _ELEMENT_SIZE
        flags, pos, key_size, value_size = self._leaf.unpack_from(self.data, at)
        key = at + pos
        value = key + key_size
        if key < page.start + _HEADER_SIZE + page.count * _ELEMENT_SIZE or value + value_size > page.end:
            raise CorruptError(f"bolt {page.name}: element {index} lies outside of it")
        return _Element(self.data[key:value], bool(flags & _BUCKET_ELEMENT), value, value + value_size)

    def _child(self, page: _Page, index: int) -> tuple[int, int, slice]:
        """Of child ``index`` of a branch: page number, offset of the element that names it, place of its first key."""
        at = page.start + _HEADER_SIZE + index * _ELEMENT_SIZE
        pos, key_size, number = self._branch.unpack_from(self.data, at)
        if at + pos + key_size > page.end:
            raise CorruptError(f"bolt {page.name}: key {index} lies outside of it")
        return number, at, slice(at + pos, at + pos + key_size)

    def _first_key(self, page: _Page, index: int) -> bytes:
        return self.data[self._child(page, index)[2]]

    def _elements(self, page: _Page) -> Iterator[_Element]:
        """All elements of a leaf, in order: their data never overlaps and isn't shared, so reading all is linear."""
        free = 0
        for index in range(page.count):
            element = self._element(page, index)
            if element.value - len(element.key) < free:
                raise CorruptError(f"bolt {page.name}: element {index} overlaps the one before it")
            yield element
            free = element.end

    def _leaves(self, top: _Page) -> Iterator[_Page]:
        """The leaf pages below ``top``, itself included, in key order."""
        page, depth = top, 0
        unread: list[tuple[int, int, int]] = []
        while True:
            if page.leaf:
                yield page
            elif depth == _MAX_DEPTH:
                raise CorruptError(f"bolt {page.name}: more than {_MAX_DEPTH} levels down")
            else:
                unread.extend((*self._child(page, index)[:2], depth + 1) for index in reversed(range(page.count)))
            if not unread:
                break
            number, reference, depth = unread.pop()
            page = self._page(number, reference)


class Bucket:
    """A sorted map of byte strings to byte strings and further buckets, read when asked for.

    Every method raises CorruptError when it reaches a page that is not what it should be; the iterators give what lies
    before it first.
    """

    __slots__ = ("_database", "_inline", "_reference", "_root_page", "sequence")

    def __init__(
        self, database: Database, root_page: int, sequence: int, reference: int, inline: tuple[int, int] | None
    ) -> None:
        self.sequence = sequence
        self._database = database
        self._root_page = root_page
        self._reference = reference
        self._inline = inline

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``; None if there is none or it is a bucket. An empty value is ``b""``."""
        element = self._find(key)
        return None if element is None or element.is_bucket else self._database.data[element.value : element.end]

    def bucket(self, key: bytes) -> Bucket | None:
        """The bucket ``key``; None if there is none or it is a plain value."""
        element = self._find(key)
        return None if element is None or not element.is_bucket else self._open(element)

    def walk(self, *path: bytes) -> Bucket | None:
        """The bucket reached by one key after the other; None as soon as one is missing."""
        bucket: Bucket | None = self
        for key in path:
            if bucket is None:
                break
            bucket = bucket.bucket(key)
        return bucket

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Every key with its value or bucket, sorted by key."""
        for element in self._elements():
            if element.is_bucket:
                yield element.key, self._open(element)
            else:
                yield element.key, self._database.data[element.value : element.end]

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """The buckets among ``items``."""
        for element in self._elements():
            if element.is_bucket:
                yield element.key, self._open(element)

    def keys(self) -> Iterator[bytes]:
        """Every key, sorted."""
        for element in self._elements():
            yield element.key

    def _elements(self) -> Iterator[_Element]:
        database = self._database
        last: bytes | None = None
        for page in database._leaves(self._first_page()):
            for element in database._elements(page):
                if last is not None and element.key <= last:
                    raise CorruptError(f"bolt {page.name}: its keys don't rise")
                yield element
                last = element.key

    def _first_page(self) -> _Page:
        if self._inline is not None:
            return self._database._inline(*self._inline)
        return self._database._page(self._root_page, self._reference)

    def _find(self, key: bytes) -> _Element | None:
        database = self._database
        page = self._first_page()
        for _level in range(_MAX_DEPTH + 1):
            if page.leaf:
                break
            above = bisect_right(range(page.count), key, key=partial(database._first_key, page))
            page = database._page(*database._child(page, max(above - 1, 0))[:2])
        else:
            raise CorruptError(f"bolt {page.name}: more than {_MAX_DEPTH} levels down")
        index = bisect_left(range(page.count), key, key=lambda index: database._element(page, index).key)
        if index == page.count:
            return None
        element = database._element(page, index)
        return element if element.key == key else None

    def _open(self, element: _Element) -> Bucket:
        database = self._database
        if element.end - element.value < database._bucket.size:
            size = element.end - element.value
            raise CorruptError(f"bolt bucket at {element.value}: {size} bytes, expected at least 16")
        root_page, sequence = database._bucket.unpack_from(database.data, element.value)
        inline = (element.value + database._bucket.size, element.end) if root_page == 0 else None
        return Bucket(database, root_page, sequence, element.value, inline)


def _metas(data: bytes) -> tuple[Meta, ...]:
    """The valid metas, newest first. Without meta 0 the page size is unknown: try each one for meta 1."""
    first = _meta(data, 0)
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    candidates = (_meta(data, size) for size in sizes)
    second = next((meta for size, meta in zip(sizes, candidates, strict=True) if meta and meta.page_size == size), None)
    found = [meta for meta in (first, second) if meta is not None]
    return tuple(sorted(found, key=lambda meta: meta.txid, reverse=True))


def _meta(data: bytes, start: int) -> Meta | None:
    """The meta in the page that starts there, or None if it is not a valid one."""
    body = data[start + _HEADER_SIZE : start + _HEADER_SIZE + _META_SIZE]
    if len(body) < _META_SIZE:
        return None
    for order in "<>":
        magic, version, page_size, _flags, root, sequence, _freelist, high_water, txid, checksum = struct.unpack(
            order + "IIIIQQQQQQ", body
        )
        if magic == _MAGIC and version == _VERSION and page_size in _PAGE_SIZES and checksum == _fnv1a(body[:-8]):
            return Meta(order, page_size, root, sequence, high_water, txid)
    return None


def _fnv1a(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
