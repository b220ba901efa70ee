"""The letters of a tar's entry types beside the type bits of a mode. Source: POSIX pax(1), ustar interchange format."""

from __future__ import annotations

import stat as modes

MODE_OF_TYPE = {
    "0": modes.S_IFREG,
    "2": modes.S_IFLNK,
    "3": modes.S_IFCHR,
    "4": modes.S_IFBLK,
    "5": modes.S_IFDIR,
    "6": modes.S_IFIFO,
}
"""Type bits by letter. A hard link has those of what it leads to; no letter stands for a socket."""

TYPE_OF_MODE = {mode: letter.encode() for letter, mode in MODE_OF_TYPE.items()}
"""The same the other way round, as ``tarfile.TarInfo.type`` has it."""
