"""Taking a tree away, however deep it is, without following a link."""

from __future__ import annotations

import os
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove the directory ``path`` and all below it; one that isn't there is no error.

    Directories are moved up to the top before they are emptied, so that depth costs neither recursion nor descriptors.
    Its directories are made accessible first: without privilege, one's own directory may be closed to oneself.

    Raises:
        OSError: something can't be removed.
    """
    try:
        top = _open(os.fspath(path), None)
    except FileNotFoundError:
        return
    try:
        number = 0
        waiting = [""]
        while waiting:
            name = waiting.pop()
            here = _open(name, top) if name else os.dup(top)
            try:
                os.fchmod(here, 0o700)
                for entry in os.listdir(here):
                    try:
                        os.unlink(entry, dir_fd=here)
                    except (IsADirectoryError, PermissionError):
                        if name:
                            while True:
                                number += 1
                                moved = f".removed-{number}"
                                if not _exists(moved, top):
                                    break
                            _move(entry, here, moved, top)
                        else:
                            moved = entry
                        waiting.append(moved)
            finally:
                os.close(here)
            if name:
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _open(name: str, directory: int | None) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=directory)
        return os.open(name, _DIRECTORY, dir_fd=directory)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _move(name: str, source: int, new: str, target: int) -> None:
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        # A directory that is moved must be writable itself: its ".." changes.
        os.chmod(name, 0o700, dir_fd=source)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
