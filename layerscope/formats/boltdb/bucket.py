"""A bucket of a bbolt database: a sorted map, whose values may be buckets again.

Layout (integers in the byte order of the file's meta)::

    bucket   16 bytes  value of a bucket element: root page u64, sequence u64;
                       root page 0: the rest of the value is a whole leaf page (header, elements, data)

Source: go.etcd.io/bbolt bucket.go.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial

from layerscope.errors import CorruptError
from layerscope.formats.boltdb.page import MAX_DEPTH, Element, Page, Pages

_HEADER_SIZE = 16


class Bucket:
    """A sorted map of byte strings to byte strings and further buckets, read when asked for.

    Every method raises CorruptError when it reaches a page that is not what it should be; the iterators give what lies
    before it first.
    """

    __slots__ = ("_inline", "_pages", "_reference", "_root_page", "sequence")

    def __init__(
        self, pages: Pages, root_page: int, sequence: int, reference: int, inline: tuple[int, int] | None = None
    ) -> None:
        """The bucket whose tree begins at ``root_page``, as the element at offset ``reference`` says (-1: as the meta).

        ``inline``: its only page lies in that element's value instead, from and to these offsets in the file.
        """
        self.sequence = sequence
        self._pages = pages
        self._root_page = root_page
        self._reference = reference
        self._inline = inline

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``; None if there is none or it is a bucket. An empty value is ``b""``."""
        element = self._find(key)
        return None if element is None or element.is_bucket else self._pages.data[element.value : element.end]

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
                yield element.key, self._pages.data[element.value : element.end]

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """The buckets among ``items``."""
        for element in self._elements():
            if element.is_bucket:
                yield element.key, self._open(element)

    def keys(self) -> Iterator[bytes]:
        """Every key, sorted."""
        for element in self._elements():
            yield element.key

    def _elements(self) -> Iterator[Element]:
        pages = self._pages
        last: bytes | None = None
        for page in pages.leaves(self._first_page()):
            for element in pages.elements(page):
                if last is not None and element.key <= last:
                    raise CorruptError(f"bolt {page.name}: its keys don't rise")
                yield element
                last = element.key

    def _first_page(self) -> Page:
        if self._inline is not None:
            return self._pages.inline(*self._inline)
        return self._pages.page(self._root_page, self._reference)

    def _find(self, key: bytes) -> Element | None:
        pages = self._pages
        page = self._first_page()
        for _level in range(MAX_DEPTH + 1):
            if page.leaf:
                break
            above = bisect_right(range(page.count), key, key=partial(pages.first_key, page))
            page = pages.page_of(pages.child(page, max(above - 1, 0)))
        else:
            raise CorruptError(f"bolt {page.name}: more than {MAX_DEPTH} levels down")
        index = bisect_left(range(page.count), key, key=lambda index: pages.element(page, index).key)
        if index == page.count:
            return None
        element = pages.element(page, index)
        return element if element.key == key else None

    def _open(self, element: Element) -> Bucket:
        size = element.end - element.value
        if size < _HEADER_SIZE:
            raise CorruptError(f"bolt bucket at {element.value}: {size} bytes, expected at least {_HEADER_SIZE}")
        root_page, sequence = struct.unpack_from(self._pages.order + "QQ", self._pages.data, element.value)
        inline = (element.value + _HEADER_SIZE, element.end) if root_page == 0 else None
        return Bucket(self._pages, root_page, sequence, element.value, inline)
