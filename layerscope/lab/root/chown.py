"""Making a lab of an ordinary user fit for dockerd: what was kept beside the files is given to the files themselves.

Everything that is done can be done again, so a run that was cut off is finished by the next one:

1. each file of each layer gets the owner and mode that it is meant to have; one without a record gets the record that
it is root's first, so that a second run knows it from one that is to belong to the lab's user; 2. each opaque
directory gets its ``trusted.`` mark, each whiteout becomes a device, the other records are given to root; 3. the
marker says ``trusted``: from here on the lab is root's; 4. the records beside the files, and the ``user.`` marks, are
taken away.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from pathlib import Path

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.override_stat import OVERRIDE_STAT, OVERRIDE_XATTR, SIDE_RECORD, OverrideStat
from layerscope.formats.whiteout import TRUSTED, USER, is_whiteout_device
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.root.marker import MARKER, write_marker_text
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.overlay.owners import Owners, kept_stat, read_owners

_Entry = tuple[Directory, str, str, os.stat_result]
"""A directory, a name in it ("": itself), the path in the layer, its ``lstat``."""


def give_to_root(root: LabRoot) -> None:
    """Turn a lab that was made without privilege into one as root makes it.

    Raises:
        CommitError: this isn't root, or the disk said no; another run goes on where this one ended.
    """
    if not root.is_lab:
        raise CommitError("only a lab root can be given to root")
    if not privilege().trusted_xattrs or os.geteuid() != 0:
        raise CommitError("a lab is given to root by root only")
    owner = root.top.stat_self()
    layers = [name for name in root.disk.names(DRIVER) if name != "l"]
    try:
        if root.overrides:
            for name in layers:
                _dress(root, name, owner)
            for directory, name, _path, _stat in _walk(root.top, skip=DRIVER):
                _chown(directory, name, 0, 0)
            for name in layers:
                _chown_folder(root, name)
            aside = root.disk.write_aside(f"tmp/{MARKER}", write_marker_text("trusted").encode(), 0o644)
            root.disk.rename(aside, MARKER, replace=True)
            _chown(root.top, "", 0, 0)
        for name in layers:
            _tidy(root, name)
    except (OSError, CorruptError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise CommitError(f"cannot give the lab to root: {what}; run it again to go on") from None


def _walk(top: Directory, skip: str = "") -> Iterator[_Entry]:
    """Every entry below a directory, those of a directory after itself; no link is followed."""
    pending = [(top, "")]
    while pending:
        directory, path = pending.pop()
        for name, kind in directory.scan():
            here = f"{path}/{name}" if path else name
            if here == skip:
                continue
            yield directory, name, here, directory.stat(name)
            if kind == "d":
                pending.append((directory.enter(name), here))


def _dress(root: LabRoot, layer: str, owner: os.stat_result) -> None:
    """Owners, modes and marks of one layer's files."""
    folder = root.top.enter(DRIVER).enter(layer)
    owners = read_owners(folder, "diff", owner)
    top = folder.enter("diff")
    for directory, name, path, stat in _walk(top):
        if directory.xattr(USER.opaque_key, name) == b"y" and modes.S_ISDIR(stat.st_mode):
            _set(directory, name, TRUSTED.opaque_key, b"y")
        if modes.S_ISREG(stat.st_mode) and not stat.st_size and directory.xattr(USER.whiteout_key, name) is not None:
            _to_device(directory, name, modes.S_IFCHR, 0)
            stat = directory.stat(name)
        _give(directory, name, path, stat, owners)
    _chown(top, "", 0, 0)


def _give(directory: Directory, name: str, path: str, stat: os.stat_result, owners: Owners) -> None:
    kept = kept_stat(directory, name, stat, path, owners)
    plain = modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode)
    if kept is None:
        if stat.st_uid != owners.user:
            return
        kept = OverrideStat(0, 0, modes.S_IMODE(stat.st_mode))
        if plain:
            _set(directory, name, OVERRIDE_STAT, kept.encode())
    if kept.type_bits in (modes.S_IFCHR, modes.S_IFBLK) and modes.S_ISREG(stat.st_mode) and not stat.st_size:
        _to_device(directory, name, kept.type_bits, os.makedev(kept.major, kept.minor))
    _chown(directory, name, kept.uid, kept.gid)
    if not (modes.S_ISLNK(stat.st_mode) or is_whiteout_device(stat)):
        with directory.held() as fd:
            os.chmod(name, kept.permissions, dir_fd=fd)
    for key, value in directory.xattrs(name).items():
        if key.startswith(OVERRIDE_XATTR):
            _set(directory, name, key.removeprefix(OVERRIDE_XATTR), value)


def _chown_folder(root: LabRoot, layer: str) -> None:
    """The layer's own directory and records, not its files."""
    folder = root.top.enter(DRIVER).enter(layer)
    for directory, name, _path, _stat in _walk(folder, skip="diff"):
        _chown(directory, name, 0, 0)
    for directory, name in ((root.top.enter(DRIVER), layer), (root.top, DRIVER)):
        _chown(directory, name, 0, 0)
    for name in root.disk.names(f"{DRIVER}/l"):
        _chown(root.top.descend(f"{DRIVER}/l"), name, 0, 0)
    _chown(root.top.enter(DRIVER), "l", 0, 0)


def _tidy(root: LabRoot, layer: str) -> None:
    """Take away what was kept beside the files, and the marks that count no more."""
    folder = root.top.enter(DRIVER).enter(layer)
    for directory, name, _path, stat in _walk(folder.enter("diff")):
        if modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode):
            for key in directory.xattrs(name):
                if key == OVERRIDE_STAT or key.startswith(OVERRIDE_XATTR) or USER.is_own(key):
                    with directory.held() as fd:
                        os.removexattr(f"/proc/self/fd/{fd}/{name}", key, follow_symlinks=False)
    root.disk.remove_file(f"{DRIVER}/{layer}/diff{SIDE_RECORD}")


def _to_device(directory: Directory, name: str, kind: int, number: int) -> None:
    """Put a device in the place of the file that stands for it, at its time."""
    aside = f"{name[:200]}.layerscope-device"
    stat = directory.stat(name)
    parent = directory.stat_self()
    with directory.held() as fd:
        os.mknod(aside, kind | 0o600, number, dir_fd=fd)
        os.utime(aside, ns=(stat.st_atime_ns, stat.st_mtime_ns), dir_fd=fd, follow_symlinks=False)
        os.rename(aside, name, src_dir_fd=fd, dst_dir_fd=fd)
        os.utime(f"/proc/self/fd/{fd}", ns=(parent.st_atime_ns, parent.st_mtime_ns))


def _set(directory: Directory, name: str, key: str, value: bytes) -> None:
    with directory.held() as fd:
        os.setxattr(Path(f"/proc/self/fd/{fd}") / name, key, value, follow_symlinks=False)


def _chown(directory: Directory, name: str, uid: int, gid: int) -> None:
    with directory.held() as fd:
        if name:
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
        else:
            os.chown(f"/proc/self/fd/{fd}", uid, gid)
