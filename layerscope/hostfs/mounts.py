"""What is mounted where: ``/proc/<pid>/mountinfo``.

| field | 1 | 2 | 3 | 4 | 5 | 6 | 7… | - | type | source | super options |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| what | mount ID | parent | major:minor | root | mount point | options | optional fields | separator | | | |

Blanks, tabs, newlines and backslashes in the texts are octal escapes (``\\040``). Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")
_NUMBER = re.compile(r"[0-9]{1,19}")


class Mount(Struct, frozen=True):
    """One mounted file system. ``options`` are the mount's own, ``super_options`` the file system's."""

    mount_id: int
    device: str
    root: str
    point: str
    type: str
    source: str
    options: str
    super_options: str


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def parse_mountinfo(text: str) -> Iterator[Mount]:
    """The mounts of a mountinfo file, in its order; lines that don't have its form are passed over."""
    for line in text.split("\n"):  # a name may hold any other character that ends lines elsewhere
        head, separator, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3 or _NUMBER.fullmatch(fields[0]) is None:
            continue
        yield Mount(
            mount_id=int(fields[0]),
            device=fields[2],
            root=_unescape(fields[3]),
            point=_unescape(fields[4]),
            type=rest[0],
            source=_unescape(rest[1]),
            options=fields[5],
            super_options=" ".join(rest[2:]),
        )


def mounts() -> list[Mount]:
    """The mounts that this process sees; empty where there is no ``/proc``."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return list(parse_mountinfo(file.read().decode("utf-8", "surrogateescape")))
    except OSError:
        return []


def mounts_below(root: Path | str) -> list[Mount]:
    """The mounts on or below ``root`` (a real path)."""
    top = str(root)
    return [mount for mount in mounts() if mount.point == top or mount.point.startswith(top.rstrip("/") + "/")]


def file_system_type(path: Path | str) -> str | None:
    """The type of the file system that holds ``path``, or None if that can't be told."""
    best = mount_of(path)
    return best.type if best else None


def mount_of(path: Path | str) -> Mount | None:
    """The mount that ``path`` (a real path) lies on, or None if that can't be told."""
    text = os.fspath(path)
    best: Mount | None = None
    for mount in mounts():
        inside = mount.point in ("/", text) or text.startswith(f"{mount.point}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best
