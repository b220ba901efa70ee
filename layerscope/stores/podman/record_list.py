"""Lists of records in one JSON file: each record is read by itself, so a damaged one costs nothing but itself.

::

    [{"id": "<64 digits>", …}, {"id": …}, …]      one line, no white space, written anew and renamed at each change

The engine refuses a file that isn't JSON as a whole, and with it everything. Here such a file is searched for what
begins like a record. Source: containers/storage layers.go, images.go, containers.go ``load``; seen with podman 4.3
and 5.8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from layerscope.formats.json_values import has_more_values
from layerscope.hostfs import Directory
from layerscope.model.digest import is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault, read_bytes, shown
from layerscope.stores.records.json_record import Parsed, parse

FILE_LIMIT = 64 << 20
"""Bytes of the longest list; a record has a few hundred."""
_MOST_VALUES = 1_000_000
_MOST_RECORDS = 100_000
_MOST_FAULTS = 100
"""How often a search for the next record may fail."""
_BEGINNING = re.compile(r'\{\s*"id"\s*:')
_WHOLE = msgspec.json.Decoder(list[msgspec.Raw]).decode


class HasID(msgspec.Struct):
    """What every record has. Its subclasses bear the fields of one list, all optional."""

    id: str | None = None


_Record = TypeVar("_Record", bound=HasID)


class Listed(Struct, Generic[_Record], frozen=True):
    """One record of a list: its ID, valid as a name; its fields; the faults; ``path`` is the list's own.

    ``volatile``: it is of the list of those that needn't survive a crash.
    """

    id: str
    parsed: Parsed[_Record]
    path: str
    volatile: bool

    @property
    def fields(self) -> _Record:
        """The record's fields."""
        return self.parsed.typed

    @property
    def raw(self) -> dict[str, Any]:
        """The whole record."""
        return self.parsed.raw

    def problems(self, what: str, effect: str) -> list[Problem]:
        """The faults of the record itself, as those of the ``what`` of this ID."""
        if not self.parsed.faults:
            return []
        told = f"{what} {self.id[:12]}: {self.parsed.what}"
        return [Problem(self.path, told, effect, severity=Severity.WARNING)]


class RecordList(Struct, Generic[_Record]):
    """The records of a list and its volatile companion, in their order, and what is wrong with the files.

    ``complete``: no record is known to be missing. ``present``: there is a file at all.
    """

    records: dict[str, Listed[_Record]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    present: bool = False

    @property
    def is_absent(self) -> bool:
        """Whether there is no file at all, as far as that can be told."""
        return self.complete and not self.present


def read_list(folder: Directory, name: str, kind: type[_Record], effect: str) -> RecordList[_Record]:
    """``<name>.json`` and ``volatile-<name>.json`` in ``folder``; of two records with one ID the first counts.

    ``effect`` says what is missing where a file can't be read.
    """
    found: RecordList[_Record] = RecordList()
    for file in (f"{name}.json", f"volatile-{name}.json"):
        path = f"{folder.path}/{file}"
        data = read_bytes(folder, file, FILE_LIMIT)
        if isinstance(data, Fault):
            if not data.absent:
                found.problems.append(data.problem(path, effect))
                found.complete = False
            continue
        found.present = True
        for parsed in _records(data, kind, path, effect, found):
            _add(found, parsed, path, volatile=file != f"{name}.json")
    return found


def state_of(folder: Directory, kind: str) -> tuple[object, ...]:
    """What tells whether a list, or its volatile companion, was written anew: it is renamed into its place."""
    found: list[object] = []
    for name in (f"{kind}.json", f"volatile-{kind}.json"):
        try:
            stat = folder.stat_or_none(name)
        except OSError:
            stat = None
        found.append(None if stat is None else (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _add(found: RecordList[_Record], parsed: Parsed[_Record], path: str, volatile: bool) -> None:
    identifier = parsed.typed.id
    if identifier is None or not is_hex64(identifier):
        what = f"has a record with the ID {shown(identifier)}, expected 64 hexadecimal digits"
        if identifier is None:
            what = f"has a record without an ID{': it ' + parsed.what if parsed.faults else ''}"
        found.problems.append(Problem(path, what, "it is left out"))
        found.complete = False
    elif identifier in found.records:
        what = f"has a second record with the ID {identifier}"
        found.problems.append(Problem(path, what, "the first one counts", severity=Severity.WARNING))
    else:
        found.records[identifier] = Listed(identifier, parsed, path, volatile)


def _records(
    data: bytes, kind: type[_Record], path: str, effect: str, found: RecordList[_Record]
) -> Iterable[Parsed[_Record]]:
    if has_more_values(data, _MOST_VALUES):
        found.problems.append(Problem(path, f"has more than {_MOST_VALUES} values, which no such list has", effect))
        found.complete = False
        return ()
    try:
        raw_records = _WHOLE(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        complaint = str(error).partition(" - at ")[0]
    else:
        if len(raw_records) > _MOST_RECORDS:
            what = f"has {len(raw_records)} records"
            found.problems.append(Problem(path, what, f"only the first {_MOST_RECORDS} are read"))
            found.complete = False
        return (parse(bytes(raw), kind) for raw in raw_records[:_MOST_RECORDS])
    records = list(_search(data.decode("utf-8", "replace"), kind))
    what = "is empty" if not data else f"is damaged: {complaint}"
    told = f"{effect}; {len(records)} records could be read" if records else effect
    found.problems.append(Problem(path, what, told))
    found.complete = False
    return records


def _search(text: str, kind: type[_Record]) -> list[Parsed[_Record]]:
    """Whatever begins like a record and can be read to its end, in its order."""
    decoder = json.JSONDecoder(strict=False)
    records: list[Parsed[_Record]] = []
    position = faults = 0
    while len(records) < _MOST_RECORDS and (match := _BEGINNING.search(text, position)) is not None:
        try:
            _value, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            position = match.end()
            faults += 1
            if faults >= _MOST_FAULTS:
                break
            continue
        records.append(parse(text[match.start() : end].encode("utf-8", "replace"), kind))
        position = end
    return records
