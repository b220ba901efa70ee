"""JSON as Go's ``encoding/json`` writes it, so that digests over it come out as the engine's.

No blanks; ``<``, ``>``, ``&``, U+2028 and U+2029 as ``\\uXXXX``; other text raw; bytes that aren't UTF-8 as U+FFFD.
Objects keep the order of their keys: those of a Go struct stand in the order of its fields, those of a Go map sorted.
Source: Go encoding/json encode.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from layerscope.formats.tar.split_writer import go_string

_SURROGATE = re.compile("[\ud800-\udfff]")


def go_json(value: Any, *, short_escapes: bool = False) -> bytes:
    """``value`` (of what JSON can hold) as UTF-8.

    Args:
        value: objects as mappings, in the order wanted; nesting of at most a few hundred levels.
        short_escapes: write backspace and form feed as engines built with Go 1.22 and later do.
    """
    return _encoded(value, short_escapes).encode()


def sorted_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` in the order in which Go writes a map: by the keys' bytes."""
    return dict(sorted(value.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass")))


def _encoded(value: Any, short_escapes: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return go_string(_clean(value), short_escapes=short_escapes)
    if isinstance(value, Mapping):
        members = (f"{_encoded(str(key), short_escapes)}:{_encoded(value[key], short_escapes)}" for key in value)
        return "{" + ",".join(members) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(_encoded(member, short_escapes) for member in value) + "]"
    raise TypeError(f"{type(value).__name__} has no place in such a record")


def _clean(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
