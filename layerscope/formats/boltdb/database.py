"""One state of a bbolt database file, and how it is chosen: by the newer valid meta, or the newest whole tree."""

from __future__ import annotations

from layerscope.errors import CorruptError
from layerscope.formats.boltdb.bucket import Bucket
from layerscope.formats.boltdb.meta import MAGIC, VERSION, Meta, valid_metas
from layerscope.formats.boltdb.page import MAX_DEPTH, Pages


class Database:
    """One consistent state of a database file held in memory.

    ``parse`` looks at the meta pages only. Pages are checked when they are reached, so a damaged page costs what lies
    behind it and nothing else; ``checked`` walks everything first and takes the older state if the newest is torn.
    """

    __slots__ = ("_metas", "_pages", "is_older", "meta")

    def __init__(self, data: bytes, metas: tuple[Meta, ...], *, is_older: bool = False) -> None:
        self.meta = metas[0]
        self.is_older = is_older
        """Whether a newer state was in the file and this one was taken instead."""
        self._metas = metas
        self._pages = Pages(data, self.meta)

    @classmethod
    def parse(cls, data: bytes) -> Database:
        """The newest state: that of the valid meta with the higher txid. The tree is not walked (see ``checked``).

        Raises:
            CorruptError: neither meta page is valid.
        """
        metas = valid_metas(data)
        if not metas:
            found = "is empty" if not data else f"{len(data)} bytes, no valid meta page in them"
            raise CorruptError(f"bolt database: {found}, expected magic {MAGIC:#x}, version {VERSION} and a checksum")
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
        return Database(self._pages.data, self._metas[1:], is_older=True) if len(self._metas) > 1 else None

    @property
    def txid(self) -> int:
        """The transaction this state is of. The same in a later read: nothing was committed in between."""
        return self.meta.txid

    @property
    def root(self) -> Bucket:
        """The bucket that holds all others."""
        return Bucket(self._pages, self.meta.root_page, self.meta.sequence, -1)

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
                    if len(pending) >= MAX_DEPTH:
                        raise CorruptError(f"bolt database: buckets nested more than {MAX_DEPTH} deep")
                    pending.append(value.items())
                    break
            else:
                pending.pop()
        return keys
