"""A merged directory: the real directories of several levels, shown as one.

Lookup and listing follow the kernel's overlayfs (Documentation/filesystems/overlayfs.rst, "Directories", "Whiteouts and
opaque directories", "redirect_dir"; tried on Linux 6.18): the topmost level that has a name decides; a whiteout ends
the search; directories are merged downwards until an opaque one, a non-directory or the base.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from layerscope.formats.whiteout import parse_redirect
from layerscope.overlay.part import MarkedKind, Part

if TYPE_CHECKING:
    from layerscope.overlay.view import MergedView


NOTHING = os.stat_result(
    (modes.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0),
    {"st_mtime_ns": 0, "st_ctime_ns": 0, "st_blocks": 0, "st_rdev": 0},
)
"""Of the root of a view without levels: an empty directory that nobody has."""


class Covered(NamedTuple):
    """A real directory that is not part of the view, and the level whose mark (or file) hides it."""

    part: Part
    hidden_by: int


class Found(NamedTuple):
    """Where a visible name was found: the part that serves it, its kind, its parts if it is a directory."""

    part: Part
    kind: MarkedKind


class MergedDirectory:
    """The directory at ``path`` of a view. ``parts`` are top first; ``covered`` is what marks hide, top first."""

    __slots__ = ("covered", "parts", "path", "view")

    def __init__(self, view: MergedView, path: str, parts: tuple[Part, ...], covered: tuple[Covered, ...] = ()) -> None:
        self.view = view
        self.path = path
        self.parts = parts
        self.covered = covered

    @property
    def level(self) -> int:
        """The level whose mode, owner and times the directory shows (of a hidden one: its topmost copy)."""
        return self.parts[0].level if self.parts else self.covered[0].part.level

    @property
    def hidden(self) -> bool:
        """Whether the directory isn't in the view, only below a mark."""
        return not self.parts

    def stat(self) -> os.stat_result:
        """``lstat`` of the directory, as its topmost copy has it; the root of a view without levels has no copy."""
        copies = self.parts or tuple(covered.part for covered in self.covered)
        return copies[0].directory.stat_self() if copies else NOTHING

    def path_of(self, name: str) -> str:
        """The path of an entry in the view, without leading slash."""
        return f"{self.path}/{name}" if self.path else name

    # ------------------------------------------------------------------ names
    def visible(self) -> Iterator[tuple[str, Part, MarkedKind]]:
        """Every visible name, once, with the part that serves it; one scan of each part, in no order."""
        if len(self.parts) == 1:
            part = self.parts[0]
            for name, kind in self.view.listing_of(part).items():
                if kind != "w":
                    yield name, part, kind
            return
        seen: set[str] = set()
        lowest = self.parts[-1] if self.parts else None
        for part in self.parts:
            for name, kind in self.view.listing_of(part).items():
                if name not in seen:
                    if part is not lowest:  # mostly the longest listing, and nothing below asks for its names
                        seen.add(name)
                    if kind != "w":
                        yield name, part, kind

    def lookup(self, name: str) -> Found | None:
        """The part that serves ``name``, or None if the view has no such name; reads no directory."""
        for part in self.parts:
            kind = part.kind(name)
            if kind is not None:
                return None if kind == "w" else Found(part, kind)
        return None

    def lookup_all(self, names: Set[str]) -> dict[str, Found]:
        """Several names at once: the topmost part that has each, and its kind there, which may be a whiteout."""
        found: dict[str, Found] = {}
        for part in self.parts:
            kinds = part.kinds(names)
            if kinds:
                found.update({name: Found(part, kind) for name, kind in kinds.items()})
                names = names - kinds.keys()
                if not names:
                    break
        return found

    # ------------------------------------------------------------------ whose work it is
    @property
    def copies(self) -> Sequence[Part]:
        """The directory's own copies, top first: that of the level which made it what it is, then what it replaced."""
        return self.parts

    def attributed(self) -> Iterator[tuple[str, Part, MarkedKind]]:
        """As :meth:`visible`, with the part of the level that made each entry what it is."""
        return self.visible()

    def origin(self, name: str) -> Found | None:
        """As :meth:`lookup`, with the part of the level that made the entry what it is."""
        return self.lookup(name)

    def server(self, part: Part) -> Part:
        """The part from which the view serves what :meth:`attributed` says that ``part`` made."""
        return part

    # ------------------------------------------------------------------ one entry
    def child(self, name: str) -> MergedDirectory:
        """The merged directory ``name``; also one that is hidden here (then it has no ``parts``).

        Raises:
            FileNotFoundError: neither the view nor anything hidden has it.
            NotADirectoryError: it is something else.
            OSError: EINVAL, EACCES for a redirect that the kernel refuses.
        """
        parts, covered, blocked = self._descend(name)
        if blocked and not parts:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", self.path_of(name))
        if not parts and not covered:
            raise FileNotFoundError(errno.ENOENT, "no such entry", self.path_of(name))
        return MergedDirectory(self.view, self.path_of(name), tuple(parts), tuple(covered))

    def _descend(self, name: str) -> tuple[list[Part], list[Covered], bool]:
        """The parts of a child, what is covered, and whether a non-directory serves the name."""
        parts: list[Part] = []
        covered: list[Covered] = []
        hider: int | None = None
        blocked = False
        current = name
        for part in self.parts:
            kind = part.kind(current)
            if kind is None:
                continue
            if hider is not None:
                if kind == "d":
                    covered.append(Covered(part.enter(current), hider))
            elif kind == "d":
                below = part.enter(current)
                parts.append(below)
                if below.bottom:
                    break
                if below.is_opaque:
                    hider = below.level
                    continue
                self.view.note_foreign_mark(below)
                redirect = below.redirect
                if redirect is not None and redirect.startswith("/"):
                    parts.extend(self.view.absolute_parts(redirect, below.level))
                    break
                current = redirect or current
            else:
                hider = part.level
                blocked = kind != "w" and not parts
        for part, by in self.covered:
            if part.kind(name) == "d":
                covered.append(Covered(part.enter(name), by))
        return parts, covered, blocked

    def open(self, name: str) -> BinaryIO:
        """The bytes that the view serves for the regular file ``name``.

        Raises:
            OSError: as ``Directory.open``; EIO for a metadata-only copy without data below.
        """
        found = self.lookup(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such entry", self.path_of(name))
        part, source = self.data_of(found.part, name)
        return part.directory.open(source)

    def data_of(self, part: Part, name: str) -> tuple[Part, str]:
        """The part and name that hold the data of a regular file: lower ones for a metadata-only copy (metacopy)."""
        *_, holder = self.copies_of(part, name)
        return holder

    def copies_of(self, part: Part, name: str) -> Iterator[tuple[Part, str]]:
        """A regular file of ``part``, and what it stands for if it is a metadata-only copy, down to one with data.

        Raises:
            OSError: EIO, there is none with data.
        """
        yield part, name
        key = part.dialect.metacopy_key
        if not part.dialect.prefix or part.directory.xattr(key, name) is None:
            return
        current = name
        candidates = [lower for lower in self.parts if lower.level < part.level]
        redirect = _redirect_of(part, name)
        while True:
            if redirect is not None and redirect.startswith("/"):
                folder, _, current = redirect.rpartition("/")
                candidates = self.view.absolute_parts(folder or "/", part.level)
                candidates += self.view.parts_with_data(folder)
            elif redirect is not None:
                current = redirect
            lower = next((lower for lower in candidates if lower.kind(current) is not None), None)
            if lower is None or lower.kind(current) != "f":
                raise OSError(errno.EIO, "metadata-only copy without data below", self.path_of(name))
            yield lower, current
            if lower.directory.xattr(key, current) is None:
                return
            part, candidates = lower, [other for other in candidates if other.level < lower.level]
            redirect = _redirect_of(lower, current)


def _redirect_of(part: Part, name: str) -> str | None:
    value = part.directory.xattr(part.dialect.redirect_key, name)
    return None if value is None else parse_redirect(value)
