"""Where an operation of the engine acts: paths resolved as the kernel does, in a view made for this one operation."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from layerscope.overlay.merged import Found, MergedDirectory
from layerscope.overlay.view import MergedView

_MAX_LINKS = 40
_NAME_MAX = 255
"""Bytes of one component of a path."""
_PATH_MAX = 4096
"""Bytes of a path, the final NUL included."""


class Target(NamedTuple):
    """An entry ``name`` of the merged directory ``parent``; ``found`` is None if the view has no such name.

    ``name`` is "" for the root itself. ``last`` is the last component as given (``.`` and ``..`` included);
    ``slash`` says that the path ended in one, so that only a directory will do.
    """

    parent: MergedDirectory
    name: str
    found: Found | None
    last: str
    slash: bool

    @property
    def path(self) -> str:
        """The path in the view, without leading slash."""
        return self.parent.path_of(self.name) if self.name else self.parent.path

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory of the view."""
        return not self.name or (self.found is not None and self.found.kind == "d")


def failure(number: int, path: str) -> OSError:
    """The OSError of an errno; its class is the one that Python gives it (FileNotFoundError …)."""
    return OSError(number, os.strerror(number), path)


def given(path: str | os.PathLike[str]) -> str:
    """A path as it was given to a call.

    Raises:
        OSError: ENAMETOOLONG, it is longer than the kernel takes.
    """
    path = os.fspath(path)
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise failure(errno.ENAMETOOLONG, path)
    return path


def locate(view: MergedView, path: str, follow: bool) -> Target:
    """Resolve ``path``, links on the way inside the view; the last one too if ``follow`` (or a slash follows it).

    Raises:
        OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG for what lies on the way; the last component may be missing.
    """
    if not path:
        raise failure(errno.ENOENT, path)
    if "\0" in path:
        raise ValueError("embedded null byte")
    links = 0
    trail = [view.root]
    pending = [name for name in reversed(path.split("/")) if name]
    slash = path.endswith("/") and bool(pending)
    last = pending[0] if pending else ""
    while True:
        while pending and pending[-1] == ".":
            pending.pop()
        if not pending:
            here = trail[-1]
            if len(trail) == 1:
                return Target(here, "", None, last, slash)
            name = here.path.rpartition("/")[2]
            return Target(trail[-2], name, trail[-2].lookup(name), last, slash)
        name = pending.pop()
        here = trail[-1]
        if name == "..":
            if len(trail) > 1:
                trail.pop()
            continue
        if len(os.fsencode(name)) > _NAME_MAX:
            raise failure(errno.ENAMETOOLONG, path)
        found = here.lookup(name)
        if found is None:
            if pending:
                raise failure(errno.ENOENT, path)
            return Target(here, name, None, last, slash)
        if found.kind == "d":
            trail.append(here.child(name))
        elif found.kind == "l" and (pending or follow or slash):
            links += 1
            if links > _MAX_LINKS:
                raise failure(errno.ELOOP, path)
            target = found.part.directory.readlink(name)
            if target.startswith("/"):
                del trail[1:]
            steps = [step for step in reversed(target.split("/")) if step]
            slash = slash or (not pending and target.endswith("/"))
            pending.extend(steps)
        elif pending:
            raise failure(errno.ENOTDIR, path)
        else:
            if slash:
                raise failure(errno.ENOTDIR, path)
            return Target(here, name, found, last, slash)
