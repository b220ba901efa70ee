"""The options of an overlay mount, as mount(8) takes them and as ``/proc/self/mountinfo`` shows them.

| option | value |
| --- | --- |
| ``lowerdir`` | directories, **top first**, separated by ``:``; behind ``::`` those that only hold data |
| ``lowerdir+``, ``datadir+`` | one more of them below the others; nothing in it is escaped |
| ``upperdir``, ``workdir`` | one directory each |
| ``userxattr`` | marks are ``user.overlay.*`` |

A backslash takes the meaning of the next character away, of ``,`` between options and of ``:`` between directories.
mountinfo writes blanks, commas, backslashes and newlines as ``\\`` and three octal digits, on top of that.
Source: Linux fs/overlayfs/params.c, fs/overlayfs/super.c; overlayfs.rst, "Multiple lower layers", "Data-only lower
layers"; tried on Linux 6.18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from layerscope.errors import UsageError
from layerscope.formats.escape import escape

MOST_LOWER = 500
"""As many as the kernel stacks (OVL_MAX_STACK)."""
_MOST_BYTES = 1 << 20
_OCTAL = re.compile(r"\\([0-7]{3})")


class MountOptions(Struct, frozen=True):
    """The directories of an overlay as they were typed. ``lower`` and ``data`` are top first."""

    lower: tuple[str, ...]
    data: tuple[str, ...] = ()
    upper: str | None = None
    work: str | None = None
    user_xattr: bool = False


def parse_options(text: str) -> MountOptions:
    """The options of a mount, as mount(8) takes them behind ``-o``; others than those above are passed over.

    Raises:
        UsageError: there is no lower directory, an empty one, or more than the kernel would take.
    """
    if len(text) > _MOST_BYTES:
        raise UsageError(f"the options of the overlay are longer than {_MOST_BYTES} characters")
    return _joined(_split(text, ","))


def parse_shown_options(text: str) -> MountOptions:
    """The same from the super block's options in mountinfo. Raises as :func:`parse_options`."""
    # A comma inside of a value is octal there, and so is every backslash of its own.
    return _joined(_OCTAL.sub(lambda match: chr(int(match[1], 8)), option) for option in text.split(","))


def _joined(options: Iterator[str]) -> MountOptions:
    lower: list[str] = []
    data: list[str] = []
    upper = work = None
    user_xattr = False
    for option in options:
        key, _, value = option.partition("=")
        if key == "lowerdir":
            lower, data = _lower(value)
        elif key == "lowerdir+":
            lower.append(value)
        elif key == "datadir+":
            data.append(value)
        elif key == "upperdir":
            upper = _unescaped(value)
        elif key == "workdir":
            work = _unescaped(value)
        elif key == "userxattr":
            user_xattr = True
    if not lower:
        raise UsageError("an overlay needs a lower directory: overlay:lowerdir=TOP:…:BASE[,upperdir=U][,workdir=W]")
    if len(lower) + len(data) > MOST_LOWER:
        raise UsageError(f"{len(lower) + len(data)} lower directories: the kernel takes at most {MOST_LOWER}")
    if not all((*lower, *data)) or upper == "":
        raise UsageError("an overlay has an empty name for a directory; lower ones are separated by one colon each")
    return MountOptions(tuple(lower), tuple(data), upper, work, user_xattr)


def _lower(value: str) -> tuple[list[str], list[str]]:
    """The directories of ``lowerdir``, and those behind the first ``::``, one of which stands before each of them."""
    names = list(_split(value, ":"))
    marks = [index for index, name in enumerate(names) if not name]
    if not marks:
        return [_unescaped(name) for name in names], []
    first = marks[0]
    data = names[first:]
    if len(data) % 2 or any(data[::2]) or not all(data[1::2]):
        raise UsageError(f"lowerdir={escape(value)[:200]}: behind :: only further ::DIRECTORY can follow")
    return [_unescaped(name) for name in names[:first]], [_unescaped(name) for name in data[1::2]]


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that no backslash stands before; backslashes stay."""
    part: list[str] = []
    escaped = False
    for char in text:
        if char == separator and not escaped:
            yield "".join(part)
            part = []
            continue
        escaped = char == "\\" and not escaped
        part.append(char)
    yield "".join(part)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
