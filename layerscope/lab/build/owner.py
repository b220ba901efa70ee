"""``--chown=USER[:GROUP]``: numbers, or names as the image's own passwd and group have them.

Without a group the same word is looked for there. Source: moby builder/dockerfile/internals_linux.go; 20.10.24.
"""

from __future__ import annotations

import re

from layerscope.errors import CommitError
from layerscope.lab.build.files import Files, resolved

_LIMIT = 16 << 20
_MOST_ID = (1 << 32) - 2


def owner_of(words: str, files: Files) -> tuple[int, int]:
    """User and group ID that the words mean in an image.

    Raises:
        CommitError: there is no such user or group.
    """
    parts = words.split(":")
    if len(parts) > 2:
        raise CommitError(f"--chown={words!r:.80}: expected USER or USER:GROUP")
    user, group = parts[0], parts[-1]
    return _identity(user, files, "etc/passwd", "user"), _identity(group, files, "etc/group", "group")


def _identity(name: str, files: Files, path: str, what: str) -> int:
    if re.fullmatch(r"[+-]?\d{1,20}", name):
        number = int(name)
        if not 0 <= number <= _MOST_ID:
            raise CommitError(f"--chown: {name} is no {what} ID")
        return number
    real = resolved(files, path)
    entry = files.entry(real)
    if entry is None or entry.is_directory:
        raise CommitError(f"--chown: there is no /{path} in the image to find the {what} {name!r:.80} in")
    with files.open(real) as file:
        text = file.read(_LIMIT).decode("utf-8", "surrogateescape")
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) > 2 and fields[0] == name and name and fields[2].isdecimal() and len(fields[2]) < 11:
            return int(fields[2])
    raise CommitError(f"--chown: /{path} of the image has no {what} {name!r:.80}")
