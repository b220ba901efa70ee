"""rename(2) and renameat2(2) in an overlay: what moves, what must stay behind, and the order of the refusals.

The order of the checks is the kernel's (fs/namei.c, then fs/overlayfs/dir.c), so that every failing call fails with the
same errno.
"""

from __future__ import annotations

import errno
import os

from layerscope.hostfs import Directory
from layerscope.hostfs.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2
from layerscope.overlay.namespace import DOTS, is_empty, locate_name
from layerscope.overlay.protection import demand_new_name, demand_removal
from layerscope.overlay.redirect import mark_moved
from layerscope.overlay.target import Target, failure
from layerscope.overlay.upper import Upper
from layerscope.overlay.writer import Writer

_NO_WHITEOUT = {errno.EPERM, errno.EINVAL, errno.ENOSYS}


def rename(writer: Writer, source: str, destination: str, flags: int = 0) -> None:
    """rename(2) and renameat2(2) with NOREPLACE and EXCHANGE."""
    exchange = bool(flags & RENAME_EXCHANGE)
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) or (exchange and flags & ~RENAME_EXCHANGE):
        raise failure(errno.EINVAL, source)
    old, new = _ends(writer, source, destination, flags)
    if _is_same(writer, old, new):
        return
    demand_removal(writer, old, source)
    if new.found is None:
        demand_new_name(writer, new.parent, destination)
    else:
        demand_removal(writer, new, destination)
    if not exchange and new.found is not None:
        if old.is_dir and not new.is_dir:
            raise failure(errno.ENOTDIR, destination)
        if new.is_dir and not old.is_dir:
            raise failure(errno.EISDIR, destination)
    if flags & RENAME_WHITEOUT:
        raise failure(errno.EINVAL, source)
    for end in (old, new) if exchange else (old,):
        if not _can_move(writer, end):
            raise failure(errno.EXDEV, source)
    # A directory that only the upper layer has is left for its file system to refuse, after the marks are written.
    if (
        not exchange
        and new.is_dir
        and not _is_pure_upper(writer, new)
        and not is_empty(writer, new.parent.child(new.name))
    ):
        raise failure(errno.ENOTEMPTY, destination)
    _move(writer, old, new, exchange=exchange)


def _ends(writer: Writer, source: str, destination: str, flags: int) -> tuple[Target, Target]:
    """Both ends, after every check that doesn't depend on layers."""
    try:
        old, new = locate_name(writer, source), locate_name(writer, destination)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _blame_earlier(writer, source, destination)
        raise
    for end, path, number in (
        (old, source, errno.EBUSY),
        (new, destination, errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY),
    ):
        if not end.name or end.last in DOTS:
            raise failure(number, path)
    writer.demand_upper()
    if old.found is None:
        raise failure(errno.ENOENT, source)
    if flags & RENAME_NOREPLACE and new.found is not None:
        raise failure(errno.EEXIST, destination)
    if flags & RENAME_EXCHANGE and new.found is None:
        raise failure(errno.ENOENT, destination)
    if flags & RENAME_EXCHANGE and new.slash and not new.is_dir:
        raise failure(errno.ENOTDIR, destination)
    if not old.is_dir:
        if old.slash:
            raise failure(errno.ENOTDIR, source)
        if not flags & RENAME_EXCHANGE and new.slash:
            raise failure(errno.ENOTDIR, destination)
    if (new.path + "/").startswith(old.path + "/") and new.path != old.path:
        raise failure(errno.EINVAL, source)
    if (old.path + "/").startswith(new.path + "/") and new.path != old.path:
        raise failure(errno.EINVAL if flags & RENAME_EXCHANGE else errno.ENOTEMPTY, destination)
    for end in (old, new):
        if end.found is not None:
            writer.stat(end)
    return old, new


def _blame_earlier(writer: Writer, source: str, destination: str) -> None:
    """Raise what the kernel finds before a last name that is too long: both parents are resolved before the names."""
    for path in (source, destination):
        parent = path.rstrip("/").rpartition("/")[0]
        if parent:
            writer.locate(parent + "/.", follow=True)
    writer.demand_upper()
    old = locate_name(writer, source)
    if old.name and old.last not in DOTS and old.found is None:
        raise failure(errno.ENOENT, source)


def _is_same(writer: Writer, old: Target, new: Target) -> bool:
    """The no-op of POSIX: one path, or two links of one inode (in the upper layer: lower ones are apart)."""
    if old.path == new.path:
        return True
    if new.found is None or not (writer.in_upper(old) and writer.in_upper(new)) or old.is_dir:
        return False
    return os.path.samestat(writer.stat(old), writer.stat(new))


def _can_move(writer: Writer, end: Target) -> bool:
    """A directory that a lower layer has a part in moves only with redirect_dir."""
    return not end.is_dir or writer.features.redirect_dir or _is_pure_upper(writer, end)


def _is_pure_upper(writer: Writer, end: Target) -> bool:
    """Whether only the upper layer has a part in the directory."""
    return [part.level for part in end.parent.child(end.name).parts] == [writer.upper_level]


def _move(writer: Writer, old: Target, new: Target, *, exchange: bool) -> None:
    upper = writer.upper
    leaves_whiteout = writer.has_lower(old.parent, old.name)
    lowers = {end.path: _lower_path(writer, end) for end in ((old, new) if exchange else (old,)) if end.is_dir}
    old_folder, _ = writer.raise_target(old, metadata_only=True)
    new_folder = writer.raise_directory(new.parent.path)
    if exchange:
        writer.raise_target(writer.existing("/" + new.path, follow=False), metadata_only=True)
    elif new.is_dir and writer.in_upper(new) and not _is_pure_upper(writer, new) and _has_entries(new_folder, new):
        upper.empty(new_folder, new.name)
    same_parent = old.parent.path == new.parent.path
    mark_moved(writer, old, old_folder, new, lowers.get(old.path), same_parent=same_parent)
    if exchange:
        mark_moved(writer, new, new_folder, old, lowers.get(new.path), same_parent=same_parent)
    with old_folder.held() as old_fd, new_folder.held() as new_fd:
        if exchange:
            renameat2(old_fd, old.name, new_fd, new.name, RENAME_EXCHANGE)
        elif (leaves_whiteout or old.is_dir) and upper.has_whiteout(new_folder, new.name):
            renameat2(old_fd, old.name, new_fd, new.name, RENAME_EXCHANGE)  # the whiteout goes where it is needed
            if not leaves_whiteout:
                os.unlink(old.name, dir_fd=old_fd)
        elif leaves_whiteout:
            _rename_and_mark(upper, old_folder, old, new_folder, new.name)
        else:
            os.rename(old.name, new.name, src_dir_fd=old_fd, dst_dir_fd=new_fd)


def _rename_and_mark(upper: Upper, old_folder: Directory, old: Target, new_folder: Directory, name: str) -> None:
    """Rename and leave a whiteout, in one step where the system has such a one; else a file has both names between."""
    with old_folder.held() as old_fd, new_folder.held() as new_fd:
        try:
            renameat2(old_fd, old.name, new_fd, name, RENAME_WHITEOUT)
            return
        except OSError as error:
            if error.errno not in _NO_WHITEOUT or upper.makes_devices:
                raise
        if old.is_dir:
            os.rename(old.name, name, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        else:
            fresh = upper.scratch_name()
            with upper.scratch.held() as scratch:
                os.link(old.name, fresh, src_dir_fd=old_fd, dst_dir_fd=scratch, follow_symlinks=False)
                os.rename(fresh, name, src_dir_fd=scratch, dst_dir_fd=new_fd)
    upper.whiteout(old_folder, old.name)


def _has_entries(folder: Directory, end: Target) -> bool:
    return bool(folder.enter(end.name).scan())


def _lower_path(writer: Writer, end: Target) -> str | None:
    """Where the topmost lower layer has the directory, None if none has."""
    part = writer.lower_part(end.parent, end.name)
    return None if part is None else part.path
