"""A JSON value as the items of a foldable tree: each member under its position, since its key may hold anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from layerscope.tui.widgets.rows.tree_rows import Item

_LONGEST_TEXT = 4096
_MOST_SEARCHED = 200_000

JsonKind = Literal["object", "array", "text", "number", "word"]


class JsonRow(Struct, frozen=True):
    """One member. ``key`` is its name in an object, or its position in an array (None: the root); both raw.

    ``text`` is its value: of objects and arrays the number of members, of a text the text itself, cut if it is long.
    """

    key: str | int | None
    kind: JsonKind
    text: str

    @property
    def foldable(self) -> bool:
        """Whether it holds members."""
        return self.kind in ("object", "array")

    def contains(self, wanted: str) -> bool:
        """Whether key or value has ``wanted`` (lower case) in it."""
        return wanted in str(self.key).lower() or (not self.foldable and wanted in self.text.lower())


class JsonItems:
    """Gives :class:`TreeRows` its children: paths are positions, joined by slashes."""

    def __init__(self, value: object) -> None:
        self.value = value

    def children(self, path: str) -> Sequence[Item[JsonRow]]:
        """The members of the value at ``path``."""
        value = self.at(path)
        return [
            Item(str(place), row.foldable and bool(_members(member)), row)
            for place, (key, member) in enumerate(_members(value))
            for row in (json_row(key, member),)
        ]

    def at(self, path: str) -> object:
        """The value at ``path``."""
        value = self.value
        for place in path.split("/") if path else ():
            value = _members(value)[int(place)][1]
        return value

    def keys(self, path: str) -> list[str | int]:
        """The keys from the root to ``path``."""
        value, found = self.value, []
        for place in path.split("/") if path else ():
            key, value = _members(value)[int(place)]
            found.append(key)
        return found

    def walk(self) -> Iterator[tuple[str, JsonRow]]:
        """Every member with its path, in the order in which they are shown; at most 200,000. No recursion."""
        pending: list[tuple[str, str | int, object]] = [
            (str(place), key, member) for place, (key, member) in reversed(list(enumerate(_members(self.value))))
        ]
        count = 0
        while pending and count < _MOST_SEARCHED:
            path, key, value = pending.pop()
            count += 1
            yield path, json_row(key, value)
            below = list(enumerate(_members(value)))
            pending.extend((f"{path}/{place}", inner, member) for place, (inner, member) in reversed(below))


def _members(value: object) -> Sequence[tuple[str | int, object]]:
    if isinstance(value, Mapping):
        return [(str(key), member) for key, member in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(enumerate(value))
    return ()


def json_row(key: str | int | None, value: object) -> JsonRow:
    """One member of a JSON document."""
    if isinstance(value, Mapping):
        return JsonRow(key, "object", _count(len(value), "member"))
    if isinstance(value, str):
        return JsonRow(key, "text", value[:_LONGEST_TEXT])
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return JsonRow(key, "array", _count(len(value), "item"))
    if value is None or isinstance(value, bool):
        return JsonRow(key, "word", json.dumps(value))
    if isinstance(value, int | float):
        # An int of more than 4,300 digits can't be written in decimal.
        return JsonRow(key, "number", hex(value) if isinstance(value, int) and value.bit_length() > 64 else str(value))
    return JsonRow(key, "text", str(value)[:_LONGEST_TEXT])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def small_containers(items: JsonItems, most_rows: int) -> set[str]:
    """The paths to unfold at first: from the top down, while all rows together are at most ``most_rows``."""
    opened: set[str] = set()
    level, rows = [""], 0
    while level:
        deeper: list[str] = []
        for path in level:
            members = items.children(path)
            if path and rows + len(members) > most_rows:
                continue
            rows += len(members)
            if path:
                opened.add(path)
            deeper.extend(f"{path}/{item.name}" if path else item.name for item in members if item.foldable)
        level = deeper
    return opened
