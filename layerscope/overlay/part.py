"""One real directory of a merged one: what a single level holds at a path, with its marks decoded."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Mapping, Set
from typing import Literal

from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, Dialect, is_whiteout_device, parse_redirect
from layerscope.model.tree import Kind, LayerDirectory

MarkedKind = Literal["d", "f", "l", "o", "w"]
"""As :data:`layerscope.model.tree.Kind`, and ``w``: a whiteout."""

_KIND_OF_MODE: dict[int, Kind] = {modes.S_IFDIR: "d", modes.S_IFREG: "f", modes.S_IFLNK: "l"}
_UNREAD = object()
_MANY, _BLOCK, _BYTES_A_NAME = 16, 4096, 128
"""From how many names on a listing is thought of, and the size in bytes up to which a directory is worth one."""


class Part:
    """A directory of level ``level`` (from 1, the base) at ``path`` in that level's own tree.

    The directory is read at most once, and never if single names are all that is asked for. In the lowest level of a
    stack (``bottom``) directories' own marks mean nothing, as in the kernel.
    """

    __slots__ = (
        "_entered",
        "_known",
        "_listing",
        "_marks",
        "_opaque",
        "_redirect",
        "bottom",
        "dialect",
        "directory",
        "level",
        "path",
    )

    def __init__(self, level: int, directory: LayerDirectory, path: str, dialect: Dialect, bottom: bool) -> None:
        self.level = level
        self.directory = directory
        self.path = path
        self.dialect = dialect
        self.bottom = bottom
        self._listing: dict[str, MarkedKind] | None = None
        self._known: dict[str, MarkedKind | None] = {}
        self._opaque: object = _UNREAD
        self._redirect: object = _UNREAD
        self._marks: frozenset[str] | None = None
        self._entered: tuple[str, Part] | None = None

    def __repr__(self) -> str:
        return f"Part({self.level}, {self.path!r})"

    # ------------------------------------------------------------------ marks of the directory
    @property
    def opaque_value(self) -> bytes | None:
        """The value of the opaque xattr, whether or not it has a meaning here."""
        if self._opaque is _UNREAD:
            self._opaque = self.mark(self.dialect.opaque_key) if self.dialect.prefix else None
            for prefix in self.dialect.more_prefixes:
                if self._opaque != b"y":
                    self._opaque = self.mark(prefix + "opaque") or self._opaque
        return self._opaque  # type: ignore[return-value]

    @property
    def is_opaque(self) -> bool:
        """Whether it hides the directories of that path in the levels below: not in the base, not a layer's top."""
        if self.bottom or not self.path:
            return False
        if self.opaque_value == b"y":
            return True
        return self.dialect.names and self._raw_kind(NAME_OPAQUE) == "f"

    @property
    def redirect(self) -> str | None:
        """Where to look for it in the levels below, if not under its own name.

        Raises:
            OSError: EINVAL or EACCES for a redirect that the kernel refuses.
        """
        if self._redirect is _UNREAD:
            value = None if self.bottom or not self.path else self.mark(self.dialect.redirect_key)
            self._redirect = None if value is None else parse_redirect(value)
        return self._redirect  # type: ignore[return-value]

    def mark(self, key: str) -> bytes | None:
        """An extended attribute of the directory. Most have none at all: one look at the names tells that."""
        if self._marks is None:
            self._marks = self.directory.xattr_names()
        return self.directory.xattr(key) if key in self._marks else None

    # ------------------------------------------------------------------ entries
    def enter(self, name: str) -> Part:
        """The part of the directory ``name`` in this level; the same one as long as no other name is entered."""
        entered = self._entered
        if entered is None or entered[0] != name:
            path = f"{self.path}/{name}" if self.path else name
            part = Part(self.level, self.directory.enter(name), path, self.dialect, self.bottom)
            if self.dialect.names and not self.bottom and self._raw_kind(NAME_PREFIX + name) == "f":
                part._opaque = b"y"  # the level removes what is below, and has the name anew
            entered = self._entered = name, part
        return entered[1]

    def listing(self) -> dict[str, MarkedKind]:
        """Every name of this directory with its kind; reads the directory once.

        Marks that are names (``.wh.x``) are listed under the name that they remove.
        """
        if self._listing is None:
            listing: dict[str, MarkedKind] = dict(self.directory.scan())
            self._find_whiteouts(listing)
            if self.dialect.names:
                self._find_named_whiteouts(listing)
            self._listing = listing
        return self._listing

    def _find_whiteouts(self, listing: dict[str, MarkedKind]) -> None:
        if self.dialect.devices:
            others = [name for name, kind in listing.items() if kind == "o"]
            for name, stat in zip(others, self.directory.stats(others), strict=True):
                if stat is None:
                    del listing[name]
                elif is_whiteout_device(stat):
                    listing[name] = "w"
        if self.dialect.xattrs and self.opaque_value == b"x":
            files = [name for name, kind in listing.items() if kind == "f"]
            for name, stat in zip(files, self.directory.stats(files), strict=True):
                if stat is not None and not stat.st_size and self._has_whiteout_xattr(name):
                    listing[name] = "w"

    def _find_named_whiteouts(self, listing: dict[str, MarkedKind]) -> None:
        for mark in [name for name in listing if name.startswith(NAME_PREFIX)]:
            is_file = listing.pop(mark) == "f"
            removed = mark.removeprefix(NAME_PREFIX)
            if is_file and removed and not removed.startswith(NAME_PREFIX):
                listing.setdefault(removed, "w")

    def is_ghost(self, name: str, stat: os.stat_result) -> bool:
        """Whether a listed file is an xattr whiteout in a directory that doesn't announce such (no opaque ``x``).

        The kernel lists such a name, but looking it up fails with ENOENT: the view doesn't have it.
        """
        return (
            not stat.st_size and modes.S_ISREG(stat.st_mode) and self.dialect.xattrs and self._has_whiteout_xattr(name)
        )

    def _has_whiteout_xattr(self, name: str) -> bool:
        return any(self.directory.xattr(prefix + "whiteout", name) is not None for prefix in self.dialect.prefixes)

    def kind(self, name: str) -> MarkedKind | None:
        """The kind of one name, None if this level doesn't have it here; doesn't read the whole directory."""
        if self._listing is not None:
            return self._listing.get(name)
        if name not in self._known:
            self.learn((name,))
        return self._known[name]

    def kinds(self, names: Set[str]) -> Mapping[str, MarkedKind]:
        """Those of ``names`` that this level has here, with their kinds."""
        self.learn(names)
        if (listing := self._listing) is not None:
            here = names & listing.keys()
            return listing if len(here) == len(listing) else {name: listing[name] for name in here}
        known = self._known
        return {name: kind for name in names if (kind := known[name]) is not None}

    def learn(self, names: Iterable[str]) -> None:
        """Look several names up at once, for :meth:`kind`: one by one, or by a listing where that costs less."""
        if self._listing is not None:
            return
        wanted = [name for name in names if name not in self._known]
        if len(wanted) >= _MANY and self._is_small(len(wanted)):
            try:
                self.listing()
                return
            except OSError:  # may be searched, but not listed
                pass
        for name, stat in zip(wanted, self.directory.stats(wanted), strict=True):
            kind: MarkedKind | None = None
            if stat is not None:
                kind = _KIND_OF_MODE.get(modes.S_IFMT(stat.st_mode), "o")
                if (self.dialect.devices and is_whiteout_device(stat)) or (
                    kind == "f" and not stat.st_size and self.dialect.xattrs and self._has_whiteout_xattr(name)
                ):
                    kind = "w"
            if self.dialect.names:
                kind = self._named_kind(name, kind)
            self._known[name] = kind

    def _is_small(self, names: int) -> bool:
        """Whether listing the directory costs no more than that many lookups, told from the size of its own data."""
        try:
            return self.directory.stat_self().st_size <= _BLOCK + names * _BYTES_A_NAME
        except OSError:
            return False

    def _named_kind(self, name: str, kind: MarkedKind | None) -> MarkedKind | None:
        if name.startswith(NAME_PREFIX):
            return None
        if kind is None and self._raw_kind(NAME_PREFIX + name) == "f":
            return "w"
        return kind

    def _raw_kind(self, name: str) -> Kind | None:
        stat = self.directory.stats((name,))[0]
        return None if stat is None else _KIND_OF_MODE.get(modes.S_IFMT(stat.st_mode), "o")

    # ------------------------------------------------------------------ what the level did, as far as it shows here
    def touched(self) -> dict[str, MarkedKind]:
        """As :meth:`listing`, but of directories only those that this level itself changed, not for what is in them.

        A level of changes doesn't tell one from the other: all that it has.
        """
        return self.listing()

    def touches(self, name: str) -> MarkedKind | None:
        """As :meth:`kind`, under the same restriction as :meth:`touched`."""
        return self.kind(name)

    @property
    def touched_itself(self) -> bool:
        """Whether the level changed the directory itself, its mode, owner, times or attributes, or may have."""
        return True

    def holds(self, name: str) -> MarkedKind | None:
        """The kind of ``name`` as this level stores it, changed or not; None if it doesn't."""
        return self.kind(name)

    def may_replace(self, name: str) -> bool:
        """False if it is sure, without a look at other levels, that the levels below don't show ``name`` here."""
        return True

    def whiteout_stat(self, name: str) -> os.stat_result | None:
        """``lstat`` of the mark that removes ``name``, None if it is gone."""
        stat = self.directory.stats((name,))[0]
        if stat is None and self.dialect.names:
            stat = self.directory.stats((NAME_PREFIX + name,))[0]
        return stat
