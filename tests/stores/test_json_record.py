"""Decoding of JSON records: as much as possible, with one sentence about the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layerscope.stores.records.json_record import parse


class Inner(msgspec.Struct):
    label: str | None = None
    count: int | None = None


class Record(msgspec.Struct):
    name: str | None = None
    inner: Inner | None = None
    rows: list[Inner | None] | None = None
    labels: dict[str, str] | None = None


def test_a_sound_record_keeps_unknown_fields() -> None:
    record = parse(b'{"name":"a","inner":{"label":"x","more":1},"other":[1]}', Record)
    assert record.typed == Record(name="a", inner=Inner(label="x"))
    assert record.raw == {"name": "a", "inner": {"label": "x", "more": 1}, "other": [1]}
    assert (record.faults, record.refused) == ((), False)


def test_null_is_absent() -> None:
    record = parse(b'{"name":null,"inner":null,"rows":[null],"labels":null}', Record)
    assert record.typed == Record(rows=[None]) and not record.faults


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b" \n", "white space"),
        (b"{", "isn't JSON"),
        (b'{"name":"a" "b"}', "isn't JSON"),
        (b"[1]", "a list"),
        (b'"x"', "text"),
        (b"17", "a number"),
        (b"{" * 100_000, "isn't JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
    ],
)
def test_what_is_no_record(data: bytes, what: str) -> None:
    record = parse(data, Record)
    assert record.typed == Record() and record.raw == {}
    assert what in record.what and record.refused


@pytest.mark.parametrize(
    ("data", "name", "refused"),
    [
        (b'{"name":"a\xffb"}', "a\ufffdb", False),
        (b'{"name":"a\\ud800b"}', "a\ufffdb", False),
        (b'{"name":"\\ud83d\\ude00"}', "\U0001f600", False),
        (b'{"name":"a"} trailing', "a", False),
        (b'{"name":"a\tb"}', "a\tb", True),
        (b'{"name":"a","x":NaN}', "a", True),
    ],
)
def test_loose_json_is_read_once_more(data: bytes, name: str, refused: bool) -> None:
    """``refused`` as Go's decoder, reading a file, behaves."""
    record = parse(data, Record)
    assert record.typed.name == name
    assert record.refused is refused
    assert bool(record.faults) == (b"ude00" not in data)


CASES: list[tuple[bytes, Record, Any]] = [
    (b'{"name":7,"inner":{"label":"x"}}', Record(inner=Inner(label="x")), "name"),
    (b'{"name":"a","inner":{"label":1,"count":2}}', Record(name="a", inner=Inner(count=2)), "inner.label"),
    (b'{"name":"a","inner":[1]}', Record(name="a"), "inner"),
    (b'{"labels":{"a":"1","b":2}}', Record(labels={"a": "1"}), "labels.b"),
    (
        b'{"rows":[{"count":1},{"count":"x","label":"y"},5]}',
        Record(rows=[Inner(count=1), Inner(label="y"), None]),
        "rows",
    ),
]


@pytest.mark.parametrize(("data", "typed", "where"), CASES, ids=[str(case[2]) for case in CASES])
def test_a_field_of_the_wrong_type_costs_itself(data: bytes, typed: Record, where: str) -> None:
    record = parse(data, Record)
    assert record.typed == typed
    assert record.refused and where in record.what


def test_places_in_a_list_stay() -> None:
    assert parse(b'{"rows":[5,{"label":"second"}]}', Record).typed.rows == [None, Inner(label="second")]


def test_misfits_are_taken_out_of_the_raw_record() -> None:
    record = parse(b'{"name":7,"labels":{"a":"1","b":2},"other":true}', Record)
    assert record.raw == {"labels": {"a": "1"}, "other": True}
