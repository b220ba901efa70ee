"""How findings say what a header records and what an inode is."""

from __future__ import annotations

import os
import stat as modes

from layerscope.formats.tar.brief_header import BriefHeader
from layerscope.formats.tar.types import MODE_OF_TYPE
from layerscope.formats.whiteout import is_whiteout_device
from layerscope.model.file_type import KIND_NAMES


def recorded_kind(header: BriefHeader) -> str:
    """What a header says that there is."""
    if header.type == "1":
        return f"a hard link to /{header.linkname.removeprefix('./').strip('/')}"
    return KIND_NAMES.get(MODE_OF_TYPE.get(header.type, 0), f"an entry of type {header.type!a}")


def found_kind(stat: os.stat_result) -> str:
    """What there is."""
    if is_whiteout_device(stat):
        return "a whiteout"
    return KIND_NAMES.get(modes.S_IFMT(stat.st_mode), "something unknown")


def hexadecimal(value: bytes | None) -> str:
    """The value of an attribute, its beginning if it is long."""
    if value is None:
        return "none"
    return f"0x{value[:64].hex()}{'…' if len(value) > 64 else ''}" if value else "an empty value"


def seconds(time_ns: int) -> str:
    """Seconds since 1970, with as many digits as are needed."""
    whole, rest = divmod(time_ns, 1_000_000_000)
    return f"{whole}.{rest:09d} s" if rest else f"{whole} s"
