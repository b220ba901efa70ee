"""JSON records written by somebody else: typed where the types hold, and as much as possible where they don't.

A record is decoded with msgspec into a plain mapping and from there into a :class:`msgspec.Struct` whose fields are
all optional. What is wrong becomes one sentence in ``faults``, and the rest is kept:

* bytes that strict JSON refuses are read once more with :mod:`json`, invalid UTF-8 replaced;
* a field of the wrong type is left out, its siblings stay.

``refused`` tells whether docker, too, would refuse the record: its decoder accepts invalid UTF-8 and, reading files,
bytes after the value, but no wrong type (Go, encoding/json). Null is the same as absent.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from layerscope.stores.docker.record import shown

LIMIT = 16 << 20
"""Bytes of the largest record that is read; docker itself refuses image configs above 4 MiB."""
NESTING = 64
"""How deep objects and lists may lie in each other; docker's own records need fewer than ten."""
_FAULTS_TOLD = 3
_FAULTS_KEPT = 1000

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_MISFIT: Any = object()
_decode = msgspec.json.Decoder().decode


class Parsed(Struct, Generic[_Struct], frozen=True):
    """One record: ``typed`` fields, the whole ``raw`` mapping (misfits in objects are taken out), the faults."""

    typed: _Struct
    raw: dict[str, Any]
    faults: tuple[str, ...] = ()
    refused: bool = False

    @property
    def what(self) -> str:
        """The faults as one sentence; the first three in full."""
        told = "; ".join(self.faults[:_FAULTS_TOLD])
        more = len(self.faults) - _FAULTS_TOLD
        return f"{told}; and {more} more" if more > 0 else told


def parse(data: bytes, kind: type[_Struct]) -> Parsed[_Struct]:
    """``data`` as a record of ``kind``; an empty one with its fault where nothing can be made of it."""
    faults: list[str] = []
    refused = False
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        value, refused = _read_again(data, str(error), faults)
    if not isinstance(value, dict):
        if value is not _MISFIT and value is not None:
            faults.append(f"holds {_name_of(value)}, expected an object")
            refused = True
        return Parsed(kind(), {}, tuple(faults), refused)
    if data.count(b"[") + data.count(b"{") > NESTING and _depth_exceeds(value, NESTING):
        return Parsed(kind(), {}, (*faults, f"is nested more than {NESTING} deep and was not read"), True)
    try:
        typed = msgspec.convert(value, kind)
    except (msgspec.MsgspecError, ValueError):
        typed = _salvage_fields(value, kind, "", faults)
        refused = True
    return Parsed(typed, value, tuple(faults), refused)


def _name_of(value: object) -> str:
    names = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "something")


def _depth_exceeds(value: object, limit: int) -> bool:
    """Whether containers lie in each other more than ``limit`` deep; without recursion."""
    level: list[Any] = [value]
    for _ in range(limit):
        below: list[Any] = []
        for container in level:
            members = container.values() if isinstance(container, dict) else container
            below.extend(member for member in members if isinstance(member, dict | list))
        if not below:
            return False
        level = below
    return True


# ---------------------------------------------------------------------- bytes that strict JSON refuses
def _read_again(data: bytes, complaint: str, faults: list[str]) -> tuple[Any, bool]:
    """The value as :mod:`json` sees it (``_MISFIT`` if it doesn't), and whether docker would refuse the bytes."""
    if not data.strip():
        faults.append("is empty" if not data else "holds nothing but white space")
        return _MISFIT, True
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
            faults.append("is nested too deep and was not read")
            return _MISFIT, True
        except json.JSONDecodeError as error:
            faults.append(f"isn't JSON: {error.msg} at character {error.pos}")
            return _MISFIT, True
        except ValueError:
            faults.append(f"isn't JSON: {complaint}")
            return _MISFIT, True
        faults.append("has control characters inside a text")
    if constants:
        refused = True
        faults.append(f"isn't JSON: {constants[0]} is no number")
    rest = text[end:].strip(" \t\r\n")
    if rest:
        faults.append(f"has {len(rest)} characters after its end")
    if _depth_exceeds([value], NESTING + 1):
        faults.append(f"is nested more than {NESTING} deep and was not read")
        return _MISFIT, True
    cleaned = _without_surrogates(value)
    if not faults:
        faults.append("has half a surrogate pair" if cleaned != value else f"isn't strict JSON: {complaint}")
    return cleaned, refused


def _without_surrogates(value: Any) -> Any:
    """``value`` with U+FFFD for each lone surrogate; its depth was checked before."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(member) for member in value]
    return value


# ---------------------------------------------------------------------- fields of the wrong type
def _salvage_fields(value: dict[str, Any], kind: type[_Struct], where: str, faults: list[str]) -> _Struct:
    """The fields of ``value`` that fit ``kind``; those that don't are taken out of ``value``, too."""
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in value:
            fitting = _salvage(value[name], field.type, f"{where}{name}", faults)
            if fitting is _MISFIT:
                del value[name]
            else:
                kept[field.name] = fitting
    return kind(**kept)


def _salvage(value: Any, kind: Any, where: str, faults: list[str]) -> Any:
    """``value`` as ``kind`` with the misfits inside left out, or ``_MISFIT``.

    The depth of the recursion is that of the type, not of the value.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, ValueError) as error:
        complaint = str(error).partition(" - at ")[0].replace("`", "")
    for arm in _arms(kind):
        origin, arguments = get_origin(arm), get_args(arm)
        if isinstance(value, dict) and isinstance(arm, type) and issubclass(arm, msgspec.Struct):
            return _salvage_fields(value, arm, f"{where}.", faults)
        if isinstance(value, dict) and origin is dict:
            return _salvage_members(value, arguments[1], where, faults)
        if isinstance(value, list) and origin is list:
            # A place in a list means something (history rows meet layers by it): a misfit leaves an empty place.
            members = [_salvage(member, arguments[0], where, faults) for member in value]
            return [None if member is _MISFIT else member for member in members]
    if len(faults) < _FAULTS_KEPT:
        faults.append(f"{shown(where)}: {complaint}")
    return _MISFIT


def _salvage_members(value: dict[str, Any], kind: Any, where: str, faults: list[str]) -> dict[str, Any]:
    kept = {}
    for name in list(value):
        fitting = _salvage(value[name], kind, f"{where}.{name}", faults)
        if fitting is _MISFIT:
            del value[name]
        else:
            kept[name] = fitting
    return kept


def _arms(kind: Any) -> Iterator[Any]:
    """The types of a union, or the type itself."""
    yield from get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
