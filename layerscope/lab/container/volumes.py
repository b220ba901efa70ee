"""Volumes of a new container: one for each path that its config names, with what the image has there.

One that is asked for by its name is used as it is, or made in the same way if it isn't there.

| place | mode | content |
| --- | --- | --- |
| `volumes/<64 hex digits, or the name>/` | 0701 | |
| `volumes/<the same>/_data/` | as in the image, else 0755 | a copy of the image's directory, owners included |

There is no record in `volumes/metadata.db`: docker adopts such a directory. Where this user can't set owners, all is
his, directories can be written to, and devices are left out. Files keep their time; a directory has that of the copy,
unless it is empty.

Source: moby daemon/create_unix.go, container/container_unix.go ``CopyImagePathContent``, volume/local/local.go,
github.com/containerd/continuity fs/copy.go; seen with 20.10.24.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat as modes
from collections.abc import Iterable, Mapping

from layerscope.errors import CommitError, UsageError
from layerscope.formats.escape import escape
from layerscope.lab.build.config import clean_path
from layerscope.lab.build.files import Entry, content, inside, resolved, walk
from layerscope.lab.build.overlay import make_directories
from layerscope.lab.container.overlay_files import OverlayFiles
from layerscope.lab.root.records import VOLUMES
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.overlay.engine import Overlay

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_working_directory(overlay: Overlay, path: str) -> str:
    """Make a container's working directory if it is missing; gives its path, cleaned ("" if it has none).

    Raises:
        CommitError: something there is no directory.
    """
    if not path:
        return ""
    files = OverlayFiles(overlay)
    make_directories(overlay, files, resolved(files, inside(path)))
    return clean_path(path)


def stage_volumes(
    root: LabRoot, transaction: Transaction, overlay: Overlay, paths: Iterable[str], named: Mapping[str, str]
) -> dict[str, str]:
    """Volumes are to be in place; gives the name of each by its path in the container.

    Args:
        root: where.
        transaction: that of the container.
        overlay: the container's, not changed.
        paths: where the image wants volumes.
        named: names of volumes by the paths where the user wants them.

    Raises:
        UsageError: docker takes no such name of a volume.
        CommitError: there is a file at one of the paths.
        OSError: the disk said no.
    """
    files = OverlayFiles(overlay)
    made: dict[str, str] = {}
    names = {clean_path(f"/{path}"): name for path, name in named.items()}
    for goal in dict.fromkeys([*names, *(clean_path(f"/{path}") for path in paths)]):
        source = resolved(files, inside(goal))
        entry = files.entry(source)
        if entry is not None and not entry.is_directory:
            raise CommitError(f"cannot mount a volume over the existing file {escape(goal)}")
        name = names.get(goal) or root.disk.new_id()
        made[goal] = name
        if goal in names and not _is_missing(root, name):
            continue
        transaction.note("volume", name)
        aside = f"{transaction.folder}/volume-{name}"
        root.disk.ensure_directory(VOLUMES, 0o701)
        root.disk.make_directory(aside, 0o701)
        root.disk.make_directory(f"{aside}/_data", 0o755)
        if entry is not None:
            _Volume(root, f"{aside}/_data", files).fill(source)
        transaction.stage_directory(aside, f"{VOLUMES}/{name}")
    return made


def _is_missing(root: LabRoot, name: str) -> bool:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r:.100} is no name of a volume: expected [a-zA-Z0-9][a-zA-Z0-9_.-]+")
    return not root.disk.exists(f"{VOLUMES}/{name}")


class _Volume:
    """A volume that is filled; nothing in it is anybody else's yet."""

    def __init__(self, root: LabRoot, path: str, files: OverlayFiles) -> None:
        self._top = root.top.descend(path)
        self._files = files
        self._may_own = os.geteuid() == 0

    def fill(self, source: str) -> None:
        """Copy the directory ``source``."""
        first: dict[tuple[int, int], str] = {}
        for path, entry in walk(self._files, source):
            relative = path[len(source) :].lstrip("/")
            folder, name = posixpath.split(relative)
            directory = self._top.descend(folder)
            with directory.held() as fd:
                if not relative:
                    self._dress(".", entry, fd)
                    continue
                if not self._can_make(entry):
                    continue
                known = first.setdefault(entry.inode, relative) if entry.inode is not None else relative
                if known != relative:
                    other, known_name = posixpath.split(known)
                    with self._top.descend(other).held() as known_fd:
                        os.link(known_name, name, src_dir_fd=known_fd, dst_dir_fd=fd, follow_symlinks=False)
                    continue
                self._make(path, entry, name, fd)
                self._dress(name, entry, fd)

    def _make(self, path: str, entry: Entry, name: str, fd: int) -> None:
        kind = modes.S_IFMT(entry.mode)
        if kind == modes.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=fd)
        elif kind == modes.S_IFLNK:
            os.symlink(entry.target, name, dir_fd=fd)
        elif kind == modes.S_IFREG:
            with self._files.open(path) as file, os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=fd), "wb") as out:
                for chunk in content(file, entry.size, path):
                    out.write(chunk)
        else:
            os.mknod(name, kind | 0o600, entry.device, dir_fd=fd)

    def _can_make(self, entry: Entry) -> bool:
        kind = modes.S_IFMT(entry.mode)
        return kind != modes.S_IFSOCK and (self._may_own or kind not in (modes.S_IFCHR, modes.S_IFBLK))

    def _dress(self, name: str, entry: Entry, fd: int) -> None:
        if self._may_own:
            os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
            if entry.capability:
                os.setxattr(f"/proc/self/fd/{fd}/{name}", "security.capability", entry.capability)
        if not modes.S_ISLNK(entry.mode):
            # Without privilege what is in a directory could not be made if it may not be written to.
            more = 0o700 if entry.is_directory and not self._may_own else 0
            os.chmod(name, modes.S_IMODE(entry.mode) | more, dir_fd=fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)
