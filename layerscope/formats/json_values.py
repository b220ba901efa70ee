"""How many values a JSON text holds, told before it is read: objects take many times the room of their text.

``{},`` is three bytes of a text and seventy of memory: sixteen megabytes of a hostile record became half a gigabyte.
"""

from __future__ import annotations

import re

VALUES = 400_000
"""Values that one record may have; docker's own have some hundreds, and the names of its images three for each name."""
_TEXTS = re.compile(rb'(?:"(?:[^"\\]|\\.)*+"[\s:]*+)++', re.DOTALL)


def has_more_values(data: bytes, limit: int = VALUES) -> bool:
    """Whether ``data`` holds more than ``limit`` values, each counted by the comma or bracket before it."""
    if _signs(data, 0, len(data)) <= limit:
        return False
    found = end = 0
    for texts in _TEXTS.finditer(data):  # signs inside of texts are none
        # Between two texts of JSON stands a sign; where none does, it is none, and is given up as early.
        found += _signs(data, end, texts.start()) or int(texts.start() > end)
        if found > limit:
            return True
        end = texts.end()
    return found + _signs(data, end, len(data)) > limit


def _signs(data: bytes, start: int, end: int) -> int:
    return data.count(b",", start, end) + data.count(b"[", start, end) + data.count(b"{", start, end)
