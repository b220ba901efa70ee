"""What differs between docker engines in the tar that a commit makes, and in the record that is kept of it.

| from engine | change | how known |
| --- | --- | --- |
| 23 | owner and group names are empty; before, the daemon's host was asked for them | its tar code, built and run |
| 24 | the mode field has no file type bits | 24.0.9 built and run; daemons 26.1.5, 28.5.2, 29.7.2 |
| 25 | no empty segment ends the tar-split record | absent in 26.1.5, 28.5.2, 29.7.2 |
| 28 | ``\\b`` and ``\\f`` in JSON strings are short (built with Go 1.22 or later) | Go 1.22 release notes |

Everything else of a commit's tar is the same from 20.10 to 29.7.
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.errors import UsageError

ENGINES = ("20.10", "23", "24")
"""One name for each group of engines whose tars differ: the oldest of the group."""
_VERSION = re.compile(r"(\d{1,4})(?:\.\d{1,4}){0,3}(?:[-+~][0-9A-Za-z.+~-]{1,64})?")


class EngineRules(Struct, frozen=True):
    """How one engine writes.

    ``owner_names``: uname and gname are those of the host. ``type_bits``: the mode field holds the file type too.
    ``empty_last_segment``: the tar-split record ends in a segment even if nothing is left for it.
    ``short_escapes``: JSON strings have ``\\b`` and ``\\f`` instead of ``\\u0008`` and ``\\u000c``.
    """

    owner_names: bool
    type_bits: bool
    empty_last_segment: bool
    short_escapes: bool


def rules_of(version: str) -> EngineRules:
    """The rules of an engine by its version: ``20.10``, ``23``, ``24.0.9``, ``28.5.2+dfsg4``. Older than 23 is 20.10.

    Raises:
        UsageError: it is no version.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise UsageError(f"engine version {version!a:.80}: expected a number such as {', '.join(ENGINES)} or 28.5.2")
    major = int(found[1])
    return EngineRules(
        owner_names=major < 23,
        type_bits=major < 24,
        empty_last_segment=major < 25,
        short_escapes=major >= 28,
    )
