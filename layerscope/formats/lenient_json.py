"""JSON that strict readers refuse, read for what can be made of it.

Invalid UTF-8 and halves of surrogate pairs are replaced, control characters inside of texts are kept, what follows the
value is left. Go's decoder, docker's, accepts some of that, too (encoding/json): bytes that aren't UTF-8, and, where it
reads a file, bytes after the value.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

from layerscope.formats.nesting import NESTING, deeper_than


class Lenient(Struct, frozen=True):
    """What was made of the bytes: None for nothing, or for a null. ``refused``: docker, too, would refuse them."""

    value: Any
    faults: tuple[str, ...]
    refused: bool


def read_leniently(data: bytes, complaint: str) -> Lenient:
    """The value of ``data``; ``complaint`` is what the strict reader said, told where nothing better is known."""
    if not data.strip():
        return _nothing("is empty" if not data else "holds nothing but white space")
    faults: list[str] = []
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        faults.append(f"isn't UTF-8 at byte {error.start}")
    text = text.lstrip(" \t\r\n")
    constants: list[str] = []
    refused = False
    try:
        value, end = json.JSONDecoder(parse_constant=constants.append).raw_decode(text)
    except (ValueError, RecursionError):
        refused = True
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text)
        except RecursionError:
            return _nothing(*faults, "is nested too deep and was not read")
        except json.JSONDecodeError as error:
            return _nothing(*faults, f"isn't JSON: {error.msg.removesuffix(' at')} at character {error.pos}")
        except ValueError:
            return _nothing(*faults, f"isn't JSON: {complaint}")
        faults.append("has control characters inside a text")
    if constants:
        refused = True
        faults.append(f"isn't JSON: {constants[0]} is no number")
    rest = text[end:].strip(" \t\r\n")
    if rest:
        faults.append(f"has {len(rest)} characters after its end")
    if deeper_than([value], NESTING + 1):
        return _nothing(*faults, f"is nested more than {NESTING} deep and was not read")
    cleaned = _without_surrogates(value)
    if not faults:
        faults.append("has half a surrogate pair" if cleaned != value else f"isn't strict JSON: {complaint}")
    return Lenient(cleaned, tuple(faults), refused)


def _nothing(*faults: str) -> Lenient:
    return Lenient(None, faults, refused=True)


def _without_surrogates(value: Any) -> Any:
    """``value`` with U+FFFD for each lone surrogate; its depth was checked before."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(member) for member in value]
    return value
