"""Names that come and go: create, remove, link – what the upper layer holds afterwards.

:mod:`layerscope.overlay.rename` moves them.
The order of the checks is the kernel's (fs/namei.c, then fs/overlayfs/dir.c), so that every failing call fails with the
same errno.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable

from layerscope.overlay.merged import MergedDirectory
from layerscope.overlay.protection import demand_change, demand_new_name, demand_removal
from layerscope.overlay.redirect import redirect_file
from layerscope.overlay.target import Target, failure
from layerscope.overlay.writer import Writer

DOTS = (".", "..")


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
    if not target.name or target.found is not None or target.last in DOTS:
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
    if not target.name or target.last in DOTS:
        raise failure(errno.EISDIR, path)
    writer.demand_upper()
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
    writer.demand_upper()
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
        redirect_file(writer, old, folder, absolute=True)
    target_folder = writer.raise_directory(new.parent.path)
    with folder.held() as source_fd, target_folder.held() as target_fd:
        if upper.has_whiteout(target_folder, new.name):
            fresh = upper.scratch_name()
            with upper.scratch.held() as scratch:
                os.link(name, fresh, src_dir_fd=source_fd, dst_dir_fd=scratch, follow_symlinks=False)
                os.rename(fresh, new.name, src_dir_fd=scratch, dst_dir_fd=target_fd)
        else:
            os.link(name, new.name, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
