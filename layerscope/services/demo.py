"""The ready root of `layerscope demo`: made once, in the user's cache directory.

| place | what |
| --- | --- |
| ``$XDG_CACHE_HOME/layerscope`` (default ``~/.cache``), else ``<temporary directory>/layerscope-<uid>`` | the folder |
| ``demo-<12 digits>/root`` in it | the root; the digits are the first of the SHA-256 of the story that it tells |
| ``.demo-<12 digits>-<random>`` | one that is being made, or was when its process was killed |
| ``.demo-<12 digits>.lock`` | locked (flock) while one is being made |

A root appears by a rename, so it is whole or not there. It is a lab root: its user may change it, and then sees it so
again. Source of the places: XDG Base Directory Specification.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat as modes
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerscope.demo.edition import edition
from layerscope.errors import CommitError, RootError, UnsupportedError
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.root.marker import read_marker
from layerscope.services.cache_folder import UnusableFolder, cache_folders, open_own_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.05
_ALWAYS_THERE = "image/overlay2/repositories.json"


def demo_root() -> Path:
    """The ready root, made if it isn't there yet; the same path every time.

    It is whole without privilege too: it is then an unprivileged lab, with owners kept beside the files. Works in
    several processes at once.

    Raises:
        RootError: there is no place for it, or this installation lacks it; the text says what to do.
    """
    name = f"demo-{edition()[:12]}"
    refused = []
    for folder in cache_folders():
        try:
            return _root_in(folder, name)
        except UnusableFolder as error:
            refused.append(f"{escape(str(folder))}: {error}")
        except OSError as error:
            refused.append(f"{escape(str(folder))}: {os.strerror(error.errno or 0)}")
    raise RootError(
        f"cannot make the demo's root: {'; '.join(refused)}; set XDG_CACHE_HOME to a directory that can be written"
    )


def _root_in(folder: Path, name: str) -> Path:
    """The root in one folder, made if need be. Raises UnusableFolder or OSError if it can't be there."""
    root = folder / name / "root"
    fd = open_own_folder(folder)
    try:
        if _is_whole(folder / name):
            return root
        with _turn(fd, name) as alone:
            if not _is_whole(folder / name):
                if alone:
                    _sweep(folder, name)
                _make_into(folder, name)
        return root
    finally:
        os.close(fd)


def _is_whole(home: Path) -> bool:
    """Whether a root of this user is there, with marks that this user can see.

    Raises:
        UnusableFolder: there is one, but not for this user.
    """
    try:
        status = os.lstat(home)
    except FileNotFoundError:
        return False
    if not modes.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UnusableFolder(f"{home.name} there belongs to somebody else, or is no directory")
    try:
        root = Directory.open_root(home / "root")
    except OSError:
        return False
    try:
        marker = read_marker(root)
        folder, _, record = _ALWAYS_THERE.rpartition("/")
        if marker is None or root.descend(folder).stat_or_none(record) is None:
            return False
    except OSError:
        return False
    finally:
        root.close()
    if marker.xattr_prefix == "trusted" and not privilege().trusted_xattrs:
        raise UnusableFolder(f"{home.name} there was made with more privilege than this process has")
    return True


@contextmanager
def _turn(fd: int, name: str) -> Iterator[bool]:
    """Wait until no other process makes one here. Gives whether that is certain: not every file system has locks."""
    lock = os.open(f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        yield _locked(lock)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
        except OSError:
            return False
        time.sleep(_POLL_SECONDS)


def _sweep(folder: Path, name: str) -> None:
    """Remove what a killed process left, and a root that lost files it can't do without."""
    for left in folder.glob(f".{name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(folder / name, ignore_errors=True)


def _make_into(folder: Path, name: str) -> None:
    from layerscope.demo.making import make_demo  # takes longer to import than to find out that nothing is to be made

    aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        try:
            make_demo(aside / "root")
        except (UnsupportedError, CommitError) as error:
            raise UnusableFolder(str(error)) from None
        try:
            os.rename(aside, folder / name)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if not _is_whole(folder / name):  # another process was faster, else:
                raise UnusableFolder(f"{name} there is not whole, and can't be replaced") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
