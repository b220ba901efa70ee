"""Names of users and groups, and users' homes, by id, out of ``passwd`` and ``group``, as Go's ``os/user`` has them.

One record a line, fields divided by colons: ``NAME:…:ID:…``, seven fields in passwd (six are enough), four in group.
The first line with an id counts. Left out are comments, names that begin with ``+`` or ``-`` (NIS), ids that aren't
plain decimal numbers, and users whose group isn't one.

Source: Go os/user lookup_unix.go; passwd(5), group(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ID = re.compile(rb"0|[1-9]\d{0,9}")
_NUMBER = re.compile(rb"[+-]?\d{1,19}")


def user_names(passwd: bytes) -> dict[int, bytes]:
    """User id to name."""
    names: dict[int, bytes] = {}
    for fields in _records(passwd, 6):
        if _NUMBER.fullmatch(fields[3]):
            names.setdefault(int(fields[2]), fields[0])
    return names


def home_of(passwd: bytes, user: int) -> bytes | None:
    """The home directory of the user with this id; None if there is no such user."""
    return next((fields[5] for fields in _records(passwd, 6) if int(fields[2]) == user), None)


def group_names(group: bytes) -> dict[int, bytes]:
    """Group id to name."""
    names: dict[int, bytes] = {}
    for fields in _records(group, 4):
        names.setdefault(int(fields[2]), fields[0])
    return names


def _records(text: bytes, least: int) -> Iterator[list[bytes]]:
    for line in text.split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= least and fields[0][:1] not in (b"", b"#", b"+", b"-") and _ID.fullmatch(fields[2]):
            yield fields
