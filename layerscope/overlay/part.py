"""One real directory of a merged one: what a single level holds at a path, with its marks decoded."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable
from typing import Literal

from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX, Dialect, is_whiteout_device, parse_redirect
from layerscope.model.tree import Kind, LayerDirectory

MarkedKind = Literal["d", "f", "l", "o", "w"]
"""As :data:`layerscope.model.tree.Kind`, and ``w``: a whiteout."""

_KIND_OF_MODE: dict[int, Kind] = {modes.S_IFDIR: "d", modes.S_IFREG: "f", modes.S_IFLNK: "l"}
_UNREAD = object()


class Part:
    """A directory of level ``level`` (from 1, the base) at ``path`` in that level's own tree.

    The directory is read at most once, and never if single names are all that is asked for. In the lowest level of a
    stack (``bottom``) directories' own marks mean nothing, as in the kernel.
    """

    __slots__ = ("_known", "_listing", "_opaque", "_redirect", "bottom", "dialect", "directory", "level", "path")

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

    def __repr__(self) -> str:
        return f"Part({self.level}, {self.path!r})"

    # ------------------------------------------------------------------ marks of the directory
    @property
    def opaque_value(self) -> bytes | None:
        """The value of the opaque xattr, whether or not it has a meaning here."""
        if self._opaque is _UNREAD:
            self._opaque = self.directory.xattr(self.dialect.opaque_key)
        return self._opaque  # type: ignore[return-value]

    @property
    def is_opaque(self) -> bool:
        """Whether it hides the directories of that path in the levels below: not in the base, not a layer's top."""
        if self.bottom or not self.path:
            return False
        if self.opaque_value == b"y":
            return True
        return self.dialect.names and self._raw_kind(NAME_OPAQUE) is not None

    @property
    def redirect(self) -> str | None:
        """Where to look for it in the levels below, if not under its own name.

        Raises:
            OSError: EINVAL or EACCES for a redirect that the kernel refuses.
        """
        if self._redirect is _UNREAD:
            value = None
            if not self.bottom and self.path:
                value = self.directory.xattr(self.dialect.redirect_key)
            self._redirect = None if value is None else parse_redirect(value)
        return self._redirect  # type: ignore[return-value]

    # ------------------------------------------------------------------ entries
    def enter(self, name: str) -> Part:
        """The part of the directory ``name`` in this level."""
        path = f"{self.path}/{name}" if self.path else name
        return Part(self.level, self.directory.enter(name), path, self.dialect, self.bottom)

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
            del listing[mark]
            removed = mark.removeprefix(NAME_PREFIX)
            if removed and not removed.startswith(NAME_PREFIX):
                listing.setdefault(removed, "w")

    def is_ghost(self, name: str, stat: os.stat_result) -> bool:
        """Whether a listed file is an xattr whiteout in a directory that doesn't announce such (no opaque ``x``).

        The kernel lists such a name, but looking it up fails with ENOENT: the view doesn't have it.
        """
        return (
            not stat.st_size and modes.S_ISREG(stat.st_mode) and self.dialect.xattrs and self._has_whiteout_xattr(name)
        )

    def _has_whiteout_xattr(self, name: str) -> bool:
        return self.directory.xattr(self.dialect.whiteout_key, name) is not None

    def kind(self, name: str) -> MarkedKind | None:
        """The kind of one name, None if this level doesn't have it here; doesn't read the whole directory."""
        if self._listing is not None:
            return self._listing.get(name)
        if name not in self._known:
            self.learn((name,))
        return self._known[name]

    def learn(self, names: Iterable[str]) -> None:
        """Look several names up at once, for :meth:`kind`."""
        if self._listing is not None:
            return
        wanted = [name for name in names if name not in self._known]
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

    def _named_kind(self, name: str, kind: MarkedKind | None) -> MarkedKind | None:
        if name.startswith(NAME_PREFIX):
            return None
        if kind is None and self._raw_kind(NAME_PREFIX + name) is not None:
            return "w"
        return kind

    def _raw_kind(self, name: str) -> Kind | None:
        stat = self.directory.stats((name,))[0]
        return None if stat is None else _KIND_OF_MODE.get(modes.S_IFMT(stat.st_mode), "o")
