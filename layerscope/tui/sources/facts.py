"""What is known of one stored copy, as labelled facts; times in UTC."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from layerscope.model.level import Role
from layerscope.services.file.copies import Copy, Life
from layerscope.tui.units import mode_text, size_text

_XATTR_BYTES = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROLES = {Role.IMAGE: "image layer", Role.INIT: "init layer", Role.RW: "writable layer"}


class Fact(NamedTuple):
    """A label and its value, raw."""

    label: str
    value: str


def utc_time(nanoseconds: int) -> str:
    """A time as ``2026-03-12 10:22:41.123456789 UTC``, trailing zeros left out; its seconds if no calendar has it."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    try:
        return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}{digits} UTC"
    except OverflowError:
        return f"{seconds}{digits} s after 1970"


def facts_of(copy: Copy, life: Life, cut: int) -> list[Fact]:
    """The facts of a copy, the most telling first."""
    return [Fact(label, value) for label, value in _facts(copy, life, cut) if value]


def _facts(copy: Copy, life: Life, cut: int) -> Iterator[tuple[str, str]]:
    stat = copy.stat
    links = f"  {stat.st_nlink} links" if stat.st_nlink > 1 and copy.type != "dir" else ""
    yield "mode", f"{mode_text(stat.st_mode)}  {stat.st_uid}:{stat.st_gid}  inode {stat.st_ino}{links}"
    yield "on disk", copy.place
    if copy.type in ("file", "symlink"):
        yield "size", f"{size_text(stat.st_size)}" + (f"  ({stat.st_size:,} bytes)" if stat.st_size >= 1000 else "")
    if copy.is_file and stat.st_size >= 4096 and stat.st_blocks * 512 < stat.st_size:
        yield "sparse", f"{size_text(stat.st_blocks * 512)} on disk"
    if copy.type in ("char", "block"):
        yield "device", f"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)}"
    yield "mtime", utc_time(stat.st_mtime_ns)
    yield "target", copy.target or ""
    for name, value in copy.xattrs.items():
        yield "xattr", f"{name}  {xattr_text(value)}"
    yield "layer", " ".join(part for part in (f"{copy.level.number},", _ROLES[copy.level.role]) if part)
    yield "made by", copy.level.created_by.strip()
    yield "cost", cost_of(copy, life, cut)


def cost_of(copy: Copy, life: Life, cut: int) -> str:
    """What it costs that this copy is stored; "" if it stands in place of none."""
    below = [other for other in life.copies if other.level.number < copy.level.number and other.type != "dir"]
    if not below or copy.type not in ("file", "symlink"):
        return ""
    size = size_text(copy.stat.st_size)
    hidden = sum(other.stat.st_size for other in below)
    same = any(
        step.copy is copy and "content" not in step.fields and "content?" not in step.fields for step in life.steps
    )
    again = f"copying it up stored {size} a second time" if same else f"stored {size} beside {size_text(hidden)} below"
    return f"{again}; {size_text(life.paid_bytes(max(cut, copy.level.number)))} paid in all"


def xattr_text(value: bytes) -> str:
    """The value of an extended attribute: as text if it is one, else hexadecimal, cut after 64 bytes."""
    shown, more = value[:_XATTR_BYTES], len(value) > _XATTR_BYTES
    text = shown.decode("ascii", "replace")
    if text.isascii() and text.isprintable():
        return f'"{text}"' + (" …" if more else "")
    return "0x" + shown.hex() + ("…" if more else "")
