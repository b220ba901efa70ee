"""What the flags of chattr(1) forbid: changes of immutable and append-only files and directories.

The flags of the object that serves a name count (:mod:`layerscope.overlay.flags`). The checks stand where the kernel
has them, so that of several reasons to refuse the same one is told. Sources: fs/namei.c (``inode_permission``,
``may_open``, ``may_delete``), fs/attr.c (``may_setattr``), fs/xattr.c (``xattr_permission``); tried on Linux 6.18.
"""

from __future__ import annotations

import errno

from layerscope.overlay.flags import APPEND, IMMUTABLE, flags_of
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.target import Target, failure
from layerscope.overlay.writer import Writer


def demand_new_name(writer: Writer, directory: MergedDirectory, path: str) -> None:
    """Nothing is made in an immutable directory.

    Raises:
        OSError: EPERM; EROFS for a read-only overlay.
    """
    writer.demand_upper()
    if _flags(writer, directory.parts[0], "") & IMMUTABLE:
        raise failure(errno.EPERM, path)


def demand_removal(writer: Writer, target: Target, path: str) -> None:
    """No name leaves a protected directory, and none goes that leads to something protected.

    Raises:
        OSError: EPERM; EROFS for a read-only overlay.
    """
    demand_change(writer, target, path)
    if _flags(writer, target.parent.parts[0], "") & (IMMUTABLE | APPEND):
        raise failure(errno.EPERM, path)


def demand_change(writer: Writer, target: Target, path: str, *, append: bool = False) -> None:
    """What is protected keeps its attributes and its content; ``append``: append-only doesn't forbid this change.

    Raises:
        OSError: EPERM; EROFS for a read-only overlay.
    """
    writer.demand_upper()
    if _target_flags(writer, target) & (IMMUTABLE if append else IMMUTABLE | APPEND):
        raise failure(errno.EPERM, path)


def is_immutable(writer: Writer, target: Target) -> bool:
    """Whether nobody may write to the target."""
    return bool(_target_flags(writer, target) & IMMUTABLE)


def _target_flags(writer: Writer, target: Target) -> int:
    if target.found is None:
        return _flags(writer, target.parent.parts[0], "")
    return _flags(writer, target.found.part, target.name) if target.found.kind in ("f", "d") else 0


def _flags(writer: Writer, part: Part, name: str) -> int:
    return flags_of(part.directory, name, writer.dialect if part.level == writer.upper_level else None)
