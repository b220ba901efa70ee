"""Which IDs a user may give to the namespaces that he makes: ``/etc/subuid`` and ``/etc/subgid``.

One range a line, ``OWNER:FIRST:COUNT`` in decimal; the owner is a user's name or ID, in subgid too. Lines of another
form count for nothing. Source: subuid(5); containers/storage pkg/idtools/parser.go, idtools.go ``parseSubidFile``.
"""

from __future__ import annotations

import re

_LINE = re.compile(rb"([^:]+):(\d{1,10}):(\d{1,10})")
_MOST_IDS = 1 << 32
_MOST_LINES = 10_000


def subordinate_ranges(text: bytes, user: int, name: bytes | None) -> list[tuple[int, int]]:
    """First ID and count of each range of the user, in the order of the lines; ``name`` None: it isn't known."""
    wanted = {str(user).encode(), *(() if name is None else (name,))}
    found = []
    for line in text.split(b"\n", _MOST_LINES)[:_MOST_LINES]:
        match = _LINE.fullmatch(line.strip())
        if match is not None and match[1] in wanted:
            first, count = int(match[2]), int(match[3])
            if count and first + count <= _MOST_IDS:
                found.append((first, count))
    return found
