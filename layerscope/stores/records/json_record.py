"""JSON records written by somebody else: typed where the types hold, and as much as possible where they don't.

A record is decoded with msgspec into a plain mapping and from there into a :class:`msgspec.Struct` whose fields are
all optional. What is wrong becomes one sentence in ``faults``, and the rest is kept:

* bytes that strict JSON refuses are read once more, leniently;
* a field of the wrong type is left out, its siblings stay.

``refused`` tells whether docker, too, would refuse the record: its decoder accepts invalid UTF-8 and, reading files,
bytes after the value, but no wrong type (Go, encoding/json). Null is the same as absent.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from layerscope.formats.json_values import VALUES, has_more_values
from layerscope.formats.nesting import NESTING, deeper_than
from layerscope.stores.records.files import shown

LIMIT = 16 << 20
"""Bytes of the largest record that is read; docker itself refuses image configs above 4 MiB."""
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
    if has_more_values(data):
        return Parsed(kind(), {}, (f"has more than {VALUES} values, which no such record has, and was not read",))
    faults: list[str] = []
    refused = False
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        from layerscope.formats.lenient_json import read_leniently  # here: hardly ever needed

        lenient = read_leniently(data, str(error))
        value, refused = lenient.value, lenient.refused
        faults.extend(lenient.faults)
    if not isinstance(value, dict):
        if value is not None:
            faults.append(f"holds {_name_of(value)}, expected an object")
            refused = True
        return Parsed(kind(), {}, tuple(faults), refused)
    if data.count(b"[") + data.count(b"{") > NESTING and deeper_than(value, NESTING):
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
