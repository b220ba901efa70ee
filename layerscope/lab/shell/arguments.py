"""Arguments of the small shell's commands: options, modes, owners, sizes."""

from __future__ import annotations

import re
from collections.abc import Collection

from layerscope.errors import CorruptError
from layerscope.formats.passwd import group_names, user_names
from layerscope.lab.shell.interpreter import CommandError
from layerscope.overlay.engine import Overlay

_SIZE = re.compile(r"(\d{1,18})([kKMGT]?)(i?B)?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_LARGEST_ID = (1 << 32) - 2


def options(
    words: list[str], flags: str, valued: Collection[str] = (), least: int = 0
) -> tuple[dict[str, str], list[str]]:
    """Single-letter options before the operands: those given, with their values, and the operands.

    Raises:
        CommandError: an unknown option, a missing value, or fewer than ``least`` operands.
    """
    given: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in valued:
                if not letters and not rest:
                    raise CommandError(f"-{letter} needs a value")
                given[letter], letters = (letters, "") if letters else (rest.pop(0), "")
            elif letter in flags and letter.isalnum():
                given[letter] = ""
            else:
                raise CommandError(f"there is no option -{letter}")
    if len(rest) < least:
        raise CommandError("an operand is missing" if least == 1 else f"at least {least} operands are needed")
    return given, rest


def mode_of(text: str, present: int, is_dir: bool) -> int:
    """Permission bits by ``644`` or ``u+x,go-w``, from those that are there.

    Raises:
        CommandError: it is neither.
    """
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        return int(text, 8)
    mode = present
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise CommandError(f"{text!r} is no mode such as 644 or u+x,go-w")
        who = "ugo" if not found[1] or "a" in found[1] else found[1]
        for operator, what in _ACTION.findall(found[2]):
            mode = _applied(mode, who, operator, what, is_dir)
    return mode


def _applied(mode: int, who: str, operator: str, what: str, is_dir: bool) -> int:
    bits = reach = 0
    for letter in who:
        shift = _SHIFTS[letter]
        reach |= 7 << shift | {"u": 0o4000, "g": 0o2000, "o": 0}[letter]
        if what in _SHIFTS and what:
            bits |= (mode >> _SHIFTS[what] & 7) << shift
            continue
        for sign in what:
            if sign in _BITS:
                bits |= _BITS[sign] << shift
            elif sign == "X" and (is_dir or mode & 0o111):
                bits |= 1 << shift
            elif sign == "s":
                bits |= {"u": 0o4000, "g": 0o2000, "o": 0}[letter]
    if "t" in what:
        bits |= 0o1000
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    kept = 0o6000 if is_dir else 0  # chmod(1) leaves set-id bits of directories alone
    return mode & ~(reach & ~kept | (0o1000 if who == "ugo" else 0)) | bits


def owner_of(overlay: Overlay, text: str) -> tuple[int, int]:
    """User and group id of ``USER``, ``USER:GROUP`` or ``:GROUP``; -1 for what isn't named.

    Raises:
        CommandError: the container's own files know no such name.
    """
    user, _colon, group = text.partition(":")
    if not user and not group:
        raise CommandError(f"{text!r} names no owner")
    return (
        _id_of(user, _names(overlay, "/etc/passwd"), "user") if user else -1,
        _id_of(group, _names(overlay, "/etc/group"), "group") if group else -1,
    )


def _names(overlay: Overlay, path: str) -> dict[bytes, int]:
    try:
        text = overlay.read_bytes(path)
    except (OSError, CorruptError):
        return {}
    found = user_names(text) if path.endswith("passwd") else group_names(text)
    return {name: identity for identity, name in reversed(found.items())}


def _id_of(text: str, names: dict[bytes, int], kind: str) -> int:
    if text.encode("utf-8", "surrogateescape") in names:
        return names[text.encode("utf-8", "surrogateescape")]
    if text.isascii() and text.isdigit() and int(text) <= _LARGEST_ID:
        return int(text)
    raise CommandError(f"the container knows no {kind} {text!r}")


def size_of(text: str) -> int:
    """Bytes by ``10``, ``10K`` (1024), ``10kB`` (1000).

    Raises:
        CommandError: it is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} is no size such as 512, 4K or 10M")
    base = 1000 if found[3] == "B" else 1024
    return int(found[1]) * int(base ** _POWERS[found[2]])
