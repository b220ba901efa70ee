"""Where this user's cache is, and whether it is safe to trust what is in it.

| place | when |
| --- | --- |
| ``$XDG_CACHE_HOME/layerscope`` (default ``~/.cache``) | the usual one |
| ``<temporary directory>/layerscope-<uid>`` | where that can't be written |

Source of the places: XDG Base Directory Specification.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnusableFolder(Exception):
    """A place where nothing of ours can be; the text says why."""


def cache_folders() -> Iterator[Path]:
    """The folders to try, the usual one first."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(given):
        yield Path(given, "layerscope")
    elif os.path.isabs(home):
        yield Path(home, ".cache", "layerscope")
    import tempfile

    try:
        yield Path(tempfile.gettempdir(), f"layerscope-{os.geteuid()}")
    except FileNotFoundError:  # no directory for temporary files that can be written
        return


def open_own_folder(folder: Path) -> int:
    """A descriptor of a folder, made if need be, that is this user's alone to change: what is in it will be trusted.

    Raises:
        UnusableFolder: it is somebody else's, or can be changed by others.
        OSError: it can't be made or opened.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        fd = os.open(folder, _FOLDER)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnusableFolder("is no directory, or a link to one") from None
        raise
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & modes.S_IWOTH:
        os.close(fd)
        raise UnusableFolder("can be changed by another user")
    return fd
