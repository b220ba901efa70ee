"""Operations that change names: create, remove, link, rename – what the upper layer holds afterwards.

The order of the checks is the kernel's (fs/namei.c, then fs/overlayfs/dir.c), so that every failing call fails with the
same errno.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable

from layerscope.hostfs import Directory
from layerscope.hostfs.rename import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2
from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.part import Part
from layerscope.overlay.protection import demand_change, demand_new_name, demand_removal
from layerscope.overlay.target import Target, failure
from layerscope.overlay.upper import Upper
from layerscope.overlay.writer import Writer

_REDIRECT_MAX = 256
_DOTS = (".", "..")
_NO_WHITEOUT = {errno.EPERM, errno.EINVAL, errno.ENOSYS}


# ---------------------------------------------------------------------- new names
def create(
    writer: Writer,
    target: Target,
    path: str,
    make: Callable[[int, str], None],
    is_dir: bool = False,
    *,
    aside: bool = False,
) -> None:
    """Make a new object at a free name; ``make(directory descriptor, name)`` makes it.

    ``aside``: that takes more than one system call, so it is done where nobody looks.
    """
    demand_new_name(writer, target.parent, path)
    upper = writer.upper
    folder = writer.raise_directory(target.parent.path)
    replaced = upper.has_whiteout(folder, target.name)
    merged = writer.is_merged(writer.view().directory("/" + target.parent.path))
    opaque = is_dir and (replaced or (merged and writer.features.opaque_mkdir))
    if not (replaced or opaque or aside):
        with folder.held() as fd:
            make(fd, target.name)
        return
    with upper.nursery(folder) as nursery:
        make(nursery, "new")
        if opaque:
            try:
                upper.set_mark(nursery, "new", writer.dialect.opaque_key, b"y")
            except OSError:
                raise failure(errno.EIO, path) from None
        upper.place(nursery, "new", folder, target.name, is_dir)


def free_name(writer: Writer, path: str, *, is_dir: bool = False) -> Target:
    """The target of a call that makes ``path``.

    Raises:
        OSError: EEXIST if it is there, ENOENT for a slash after what won't be a directory.
    """
    target = locate_name(writer, path)
    if not target.name or target.found is not None or target.last in _DOTS:
        raise failure(errno.EEXIST, path)
    if target.slash and not is_dir:
        raise failure(errno.ENOENT, path)
    return target


def locate_name(writer: Writer, path: str) -> Target:
    """Resolve the name itself that a call makes or removes: a symlink is not followed, even with a slash after it."""
    stripped = path.rstrip("/")
    target = writer.locate(stripped or path, follow=False)
    return target._replace(slash=bool(stripped) and path != stripped)


# ---------------------------------------------------------------------- removal
def unlink(writer: Writer, path: str) -> None:
    """Remove a name that isn't a directory."""
    target = locate_name(writer, path)
    if not target.name or target.last in _DOTS:
        raise failure(errno.EISDIR, path)
    writer.upper  # noqa: B018 - a read-only overlay says so before it looks the name up
    if target.found is None:
        raise failure(errno.ENOENT, path)
    if target.slash:
        raise failure(errno.EISDIR if target.is_dir else errno.ENOTDIR, path)
    demand_removal(writer, target, path)
    if target.is_dir:
        raise failure(errno.EISDIR, path)
    writer.stat(target)
    _remove(writer, target)


def rmdir(writer: Writer, path: str) -> None:
    """Remove an empty directory."""
    target = locate_name(writer, path)
    if target.last == ".":
        raise failure(errno.EINVAL, path)
    if target.last == "..":
        raise failure(errno.ENOTEMPTY, path)
    if not target.name:
        raise failure(errno.EBUSY, path)
    writer.upper  # noqa: B018 - a read-only overlay says so before it looks the name up
    if target.found is None:
        raise failure(errno.ENOENT, path)
    demand_removal(writer, target, path)
    if not target.is_dir:
        raise failure(errno.ENOTDIR, path)
    if not is_empty(writer, target.parent.child(target.name)):
        raise failure(errno.ENOTEMPTY, path)
    _remove(writer, target)


def is_empty(writer: Writer, directory: MergedDirectory) -> bool:
    """Whether the merged directory shows nothing.

    As in the kernel, xattr whiteouts are entries, except our own: those of the upper layer where there are no devices.
    """
    gone: set[str] = set()
    for part in directory.parts:
        for name, kind in directory.view.listing_of(part).items():
            if kind == "w":
                own = part.level == writer.upper_level and not writer.upper.makes_devices
                if not own and not modes.S_ISCHR(part.directory.stat(name).st_mode) and name not in gone:
                    return False
                gone.add(name)
            elif name not in gone:
                return False
    return True


def _remove(writer: Writer, target: Target) -> None:
    upper = writer.upper
    covered = writer.has_lower(target.parent, target.name)
    folder = writer.raise_directory(target.parent.path)
    if covered:
        upper.whiteout(folder, target.name)
        return
    with folder.held() as fd:
        if target.is_dir:
            os.rmdir(target.name, dir_fd=fd)
        else:
            os.unlink(target.name, dir_fd=fd)


# ---------------------------------------------------------------------- links
def link(writer: Writer, source: str, destination: str) -> None:
    """Make a hard link. The source is copied up: in the lower layer its other names stay as they are."""
    old = writer.existing(source, follow=False)
    new = free_name(writer, destination)
    demand_new_name(writer, new.parent, destination)
    demand_change(writer, old, source)
    if old.is_dir:
        raise failure(errno.EPERM, source)
    writer.stat(old)
    upper = writer.upper
    folder, name = writer.raise_target(old, metadata_only=True)
    if writer.keeps_data_below(folder, name):
        _redirect_file(writer, old, folder, absolute=True)
    target_folder = writer.raise_directory(new.parent.path)
    with folder.held() as source_fd, target_folder.held() as target_fd:
        if upper.has_whiteout(target_folder, new.name):
            fresh = upper.scratch_name()
            with upper.scratch.held() as scratch:
                os.link(name, fresh, src_dir_fd=source_fd, dst_dir_fd=scratch, follow_symlinks=False)
                os.rename(fresh, new.name, src_dir_fd=scratch, dst_dir_fd=target_fd)
        else:
            os.link(name, new.name, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)


# ---------------------------------------------------------------------- renames
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
    _move(writer, old, new, exchange)


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
        if not end.name or end.last in _DOTS:
            raise failure(number, path)
    writer.upper  # noqa: B018 - a read-only overlay says so before it looks the names up
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
    writer.upper  # noqa: B018 - a read-only overlay says so
    old = locate_name(writer, source)
    if old.name and old.last not in _DOTS and old.found is None:
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


def _move(writer: Writer, old: Target, new: Target, exchange: bool) -> None:
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
    _mark_moved(writer, old, old_folder, new, lowers.get(old.path), same_parent)
    if exchange:
        _mark_moved(writer, new, new_folder, old, lowers.get(new.path), same_parent)
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


def _mark_moved(
    writer: Writer, old: Target, folder: Directory, new: Target, lower_path: str | None, same_parent: bool
) -> None:
    """What the moved object must carry so that it is found, or found alone, in its new place."""
    upper = writer.upper
    if not old.is_dir:
        if writer.keeps_data_below(folder, old.name):
            _redirect_file(writer, old, folder, absolute=not same_parent or _is_linked_below(writer, old))
        return
    with folder.held() as fd:
        if lower_path is not None:
            present = folder.xattr(writer.dialect.redirect_key, old.name)
            if present is not None and (same_parent or present.startswith(b"/")):
                return
            value = os.fsencode(old.name if same_parent else "/" + lower_path)
            if len(value) > _REDIRECT_MAX:
                raise failure(errno.EXDEV, old.path)
            upper.set_mark(fd, old.name, writer.dialect.redirect_key, value)
        elif writer.is_merged(writer.view().directory("/" + new.parent.path)):
            try:
                upper.set_mark(fd, old.name, writer.dialect.opaque_key, b"y")
            except OSError:
                raise failure(errno.EXDEV, old.path) from None


def _is_linked_below(writer: Writer, target: Target) -> bool:
    """Whether the file has more names than one in the topmost lower layer that has it."""
    part, name = _lower_copy(writer, target)
    return part.directory.stat(name).st_nlink > 1


def _lower_copy(writer: Writer, target: Target) -> tuple[Part, str]:
    """The topmost lower copy of a file whose copy in the upper layer has no data."""
    parent = writer.view().directory("/" + target.parent.path)
    found = parent.lookup(target.name)
    assert found is not None
    _, lower, *_ = parent.copies_of(found.part, target.name)
    return lower


def _redirect_file(writer: Writer, target: Target, folder: Directory, absolute: bool) -> None:
    """Tell a metadata-only copy where its data lies, before it gets another name."""
    key = writer.dialect.redirect_key
    present = folder.xattr(key, target.name)
    if present is not None and (not absolute or present.startswith(b"/")):
        return
    value = target.name
    if absolute:
        part, name = _lower_copy(writer, target)
        value = "/" + (f"{part.path}/{name}" if part.path else name)
    if len(os.fsencode(value)) > _REDIRECT_MAX:
        raise failure(errno.EXDEV, target.path)
    with folder.held() as fd:
        writer.upper.set_mark(fd, target.name, key, os.fsencode(value))
