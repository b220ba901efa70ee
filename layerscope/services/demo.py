"""The ready root of `layerscope demo`: unpacked once, into the user's cache directory.

| place | what |
| --- | --- |
| ``$XDG_CACHE_HOME/layerscope`` (default ``~/.cache``), else ``<temporary directory>/layerscope-<uid>`` | the folder |
| ``demo-<12 digits>/root`` in it | the root; the digits are the first of the archive's SHA-256 |
| ``.demo-<12 digits>-<random>`` | one that is being unpacked, or was when its process was killed |
| ``.demo-<12 digits>.lock`` | locked (flock) while one is being unpacked |

A root appears by a rename, so it is whole or not there. It is a lab root: its user may change it, and then sees it so
again. Source of the places: XDG Base Directory Specification.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat as modes
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

from layerscope.errors import CorruptError, RootError
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.lab.marker import MARKER, read_marker, write_marker_text
from layerscope.services.demo_archive import mark_prefix, unpack

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.05
_ALWAYS_THERE = "image/overlay2/repositories.json"


class _Unusable(Exception):
    """A place where the root can't be; the text says why."""


def demo_root() -> Path:
    """The ready root, unpacked if it isn't there yet; the same path every time.

    It is whole without privilege too: its marks are then kept as ``user.overlay.*``, which its marker file says, and
    everything belongs to this user. Works in several processes at once.

    Raises:
        RootError: there is no place for it, or this installation lacks it; the text says what to do.
    """
    archive = _archive()
    name = f"demo-{hashlib.sha256(archive).hexdigest()[:12]}"
    refused = []
    for folder in _places():
        try:
            return _root_in(folder, name, archive)
        except _Unusable as error:
            refused.append(f"{escape(str(folder))}: {error}")
        except OSError as error:
            refused.append(f"{escape(str(folder))}: {os.strerror(error.errno or 0)}")
    raise RootError(
        f"cannot unpack the demo's root: {'; '.join(refused)}; set XDG_CACHE_HOME to a directory that can be written"
    )


@cache
def _archive() -> bytes:
    try:
        return resources.files("layerscope").joinpath("demo", "root.tar.xz").read_bytes()
    except OSError as error:
        what = os.strerror(error.errno or 0)
        raise RootError(f"cannot read layerscope/demo/root.tar.xz ({what}): install layerscope again") from None


def _places() -> Iterator[Path]:
    """The folders to try, the usual one first."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(given):
        yield Path(given, "layerscope")
    elif os.path.isabs(home):
        yield Path(home, ".cache", "layerscope")
    try:
        yield Path(tempfile.gettempdir(), f"layerscope-{os.geteuid()}")
    except FileNotFoundError:  # no directory for temporary files that can be written
        return


def _root_in(folder: Path, name: str, archive: bytes) -> Path:
    """The root in one folder, unpacked if need be. Raises _Unusable or OSError if it can't be there."""
    root = folder / name / "root"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = _open_own(folder)
    try:
        if _is_whole(folder / name):
            return root
        with _turn(fd, name) as alone:
            if not _is_whole(folder / name):
                if alone:
                    _sweep(folder, name)
                _unpack_into(folder, name, archive)
        return root
    finally:
        os.close(fd)


def _open_own(folder: Path) -> int:
    """A descriptor of the folder, which must be this user's alone to change: what is in it will be trusted."""
    try:
        fd = os.open(folder, _FOLDER)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _Unusable("is no directory, or a link to one") from None
        raise
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & modes.S_IWOTH:
        os.close(fd)
        raise _Unusable("can be changed by another user")
    return fd


def _is_whole(home: Path) -> bool:
    """Whether a root of this user is there, with marks that this user can see.

    Raises:
        _Unusable: there is one, but not for this user.
    """
    try:
        status = os.lstat(home)
    except FileNotFoundError:
        return False
    if not modes.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise _Unusable(f"{home.name} there belongs to somebody else, or is no directory")
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
        raise _Unusable(f"{home.name} there was unpacked with more privilege than this process has")
    return True


@contextmanager
def _turn(fd: int, name: str) -> Iterator[bool]:
    """Wait until no other process unpacks here. Gives whether that is certain: not every file system has locks."""
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


def _unpack_into(folder: Path, name: str, archive: bytes) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        (aside / "root").mkdir(0o700)
        fd = os.open(aside / "root", _FOLDER)
        try:
            prefix = mark_prefix(fd)
            if prefix is None:
                raise _Unusable("its file system keeps no extended attributes, so no opaque directories")
            unpack(archive, fd, prefix)
            _write_marker(fd, prefix)
        except CorruptError as error:
            raise RootError(f"cannot unpack the demo's root: {error}; install layerscope again") from None
        finally:
            os.close(fd)
        try:
            os.rename(aside, folder / name)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if not _is_whole(folder / name):  # another process was faster, else:
                raise _Unusable(f"{name} there is not whole, and can't be replaced") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_marker(fd: int, prefix: str) -> None:
    marker = os.open(MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=fd)
    with os.fdopen(marker, "w") as file:
        file.write(write_marker_text(prefix))
