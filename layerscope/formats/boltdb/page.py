"""The pages of one state of a bbolt database: branches that lead to leaves, leaves that hold elements.

Layout (integers in the byte order of the file's meta)::

    page     16 bytes  id u64, flags u16, count u16, overflow u32; occupies (1 + overflow) * page size
                       flags: 1 branch, 2 leaf, 4 meta, 0x10 freelist (not needed for reading)
    leaf     16 bytes  per element: flags u32 (1 = bucket), pos u32, key size u32, value size u32
    branch   16 bytes  per element: pos u32, key size u32, child page u64
                       pos counts from the element's own start; a leaf's value follows its key

Source: go.etcd.io/bbolt page.go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.formats.boltdb.meta import PAGE_HEADER_SIZE, Meta

MAX_DEPTH = 64
"""Levels of pages in one tree, and of buckets in buckets; real files have fewer than ten of each."""
_BRANCH = 0x01
_LEAF = 0x02
_BUCKET_ELEMENT = 0x01
_ELEMENT_SIZE = 16


class Page(Struct, frozen=True):
    """Where one page's elements lie: ``start`` of its header, ``end`` of its data, both offsets in the file."""

    start: int
    end: int
    count: int
    leaf: bool
    name: str


class Element(Struct, frozen=True):
    """One element of a leaf; ``value`` and ``end`` are offsets in the file."""

    key: bytes
    is_bucket: bool
    value: int
    end: int


class Child(Struct, frozen=True):
    """One element of a branch, which lies at offset ``reference``; ``first_key`` is a place in the file."""

    number: int
    reference: int
    first_key: slice


class Pages:
    """The pages of the tree that ``meta`` begins, in a file held in memory. Each is checked when it is reached.

    In a sound file each page is referred to from one place. A page reached from a second place, or lying inside
    another one, is refused: so loops end, and reading everything takes time in proportion to the file.

    Every method raises CorruptError for what is not as it should be.
    """

    __slots__ = ("_branch", "_header", "_leaf", "_meta", "_owners", "data", "order")

    def __init__(self, data: bytes, meta: Meta) -> None:
        self.data = data
        self.order = meta.order
        self._meta = meta
        self._owners: dict[int, int] = {}
        self._header = struct.Struct(meta.order + "QHHI")
        self._leaf = struct.Struct(meta.order + "IIII")
        self._branch = struct.Struct(meta.order + "IIQ")

    def page(self, number: int, reference: int) -> Page:
        """Page ``number``, which the element at offset ``reference`` names (-1: the meta does)."""
        size = self._meta.page_size
        start = number * size
        if not 2 <= number < self._meta.high_water or start + size > len(self.data):
            pages = min(self._meta.high_water, len(self.data) // size)
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
        page = Page(start, end, count, leaf=flags == _LEAF, name=f"page {number}")
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

    def inline(self, start: int, end: int) -> Page:
        """The leaf page that an inline bucket holds in its own value."""
        if end - start < PAGE_HEADER_SIZE:
            found = f"{end - start} bytes, expected at least {PAGE_HEADER_SIZE}"
            raise CorruptError(f"bolt inline bucket at {start}: {found}")
        _own, flags, count, _overflow = self._header.unpack_from(self.data, start)
        if flags != _LEAF:
            raise CorruptError(f"bolt inline bucket at {start}: flags {flags:#x}, expected 2 (leaf)")
        page = Page(start, end, count, leaf=True, name=f"inline bucket at {start}")
        self._check_array(page)
        return page

    def _check_array(self, page: Page) -> None:
        if page.start + PAGE_HEADER_SIZE + page.count * _ELEMENT_SIZE > page.end:
            raise CorruptError(f"bolt {page.name}: {page.count} elements don't fit in it")
        if not page.leaf and page.count == 0:
            raise CorruptError(f"bolt {page.name}: a branch without children")

    def element(self, page: Page, index: int) -> Element:
        """Element ``index`` of a leaf, its data inside the page and behind the element array."""
        at = page.start + PAGE_HEADER_SIZE + index * _ELEMENT_SIZE
        flags, pos, key_size, value_size = self._leaf.unpack_from(self.data, at)
        key = at + pos
        value = key + key_size
        if key < page.start + PAGE_HEADER_SIZE + page.count * _ELEMENT_SIZE or value + value_size > page.end:
            raise CorruptError(f"bolt {page.name}: element {index} lies outside of it")
        return Element(self.data[key:value], bool(flags & _BUCKET_ELEMENT), value, value + value_size)

    def child(self, page: Page, index: int) -> Child:
        """Element ``index`` of a branch: the page it leads to, its key inside the page."""
        at = page.start + PAGE_HEADER_SIZE + index * _ELEMENT_SIZE
        pos, key_size, number = self._branch.unpack_from(self.data, at)
        if at + pos + key_size > page.end:
            raise CorruptError(f"bolt {page.name}: key {index} lies outside of it")
        return Child(number, at, slice(at + pos, at + pos + key_size))

    def page_of(self, child: Child) -> Page:
        """The page that an element of a branch leads to."""
        return self.page(child.number, child.reference)

    def first_key(self, page: Page, index: int) -> bytes:
        """The first key of all that lies below child ``index`` of a branch."""
        return self.data[self.child(page, index).first_key]

    def elements(self, page: Page) -> Iterator[Element]:
        """All elements of a leaf, in order: their data never overlaps and isn't shared, so reading all is linear."""
        free = 0
        for index in range(page.count):
            element = self.element(page, index)
            if element.value - len(element.key) < free:
                raise CorruptError(f"bolt {page.name}: element {index} overlaps the one before it")
            yield element
            free = element.end

    def leaves(self, top: Page) -> Iterator[Page]:
        """The leaf pages below ``top``, itself included, in key order."""
        page, depth = top, 0
        unread: list[tuple[Child, int]] = []
        while True:
            if page.leaf:
                yield page
            elif depth == MAX_DEPTH:
                raise CorruptError(f"bolt {page.name}: more than {MAX_DEPTH} levels down")
            else:
                unread.extend((self.child(page, index), depth + 1) for index in reversed(range(page.count)))
            if not unread:
                break
            child, depth = unread.pop()
            page = self.page_of(child)
