"""The names in a directory one after the other, however many there are.

The rules are those of :mod:`layerscope.hostfs.directory`. Its ``Directory.scan`` gives all names at once: a million of
them would cost 150 MB that way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerscope.hostfs.directory import Directory

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)


def names_in(directory: Directory) -> Iterator[str]:
    """The names, in no order; one may come twice while the directory is being changed.

    Raises:
        OSError: as ``Directory.scan``, before the first name or between two.
    """
    with directory.held() as fd:
        try:
            reading = os.open(".", _FLAGS | _NOATIME, dir_fd=fd)
        except PermissionError:
            reading = os.open(".", _FLAGS, dir_fd=fd)
    try:
        with os.scandir(reading) as found:
            for entry in found:
                yield entry.name
    finally:
        os.close(reading)
