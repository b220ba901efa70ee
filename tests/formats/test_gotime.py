"""Go's times against Python's own parser, and against times that docker and containerd wrote."""

from __future__ import annotations

import json
import struct
import tarfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.formats.boltdb import Database
from layerscope.formats.gotime import format_rfc3339, parse_binary, parse_rfc3339, to_datetime

DATA = Path(__file__).parents[1] / "data"
YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.just(UTC))


def test_created_times_of_the_records_are_those_of_the_api() -> None:
    for truth in (DATA / "overlay2" / "truth", DATA / "overlay2" / "truth-26.1", DATA / "overlay2-buildkit" / "truth"):
        for records, listing in (("inspect-containers", "api-containers"), ("inspect-images", "api-images")):
            created = {item["Id"]: item["Created"] for item in json.loads((truth / f"{listing}.json").read_text())}
            inspected = json.loads((truth / f"{records}.json").read_text())
            for record in inspected.values() if isinstance(inspected, dict) else inspected:
                if record["Id"] not in created:
                    continue
                nanoseconds = parse_rfc3339(record["Created"])
                assert nanoseconds is not None
                assert nanoseconds // 1_000_000_000 == created.pop(record["Id"])
                assert format_rfc3339(nanoseconds) == record["Created"]
            assert not created


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T22:30:00-01:30", 0),
        ("1969-12-31T23:59:59.9Z", -100_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
        ("1970-01-01T00:00:00.1234567891234Z", 123_456_789),
    ],
)
def test_text_is_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert parse_rfc3339(text) == nanoseconds


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z", "0001-01-01T01:00:00+01:00"])
def test_the_zero_time_is_no_time(text: str) -> None:
    assert parse_rfc3339(text) is None
    assert parse_binary(b"\x01" + bytes(12) + b"\xff\xff") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-02",
        "2024-01-02 03:04:05Z",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04:05.Z",
        "2024-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-02T24:00:00Z",
        "2024-01-02T03:60:00Z",
        "2024-01-02T03:04:60Z",
        "2024-01-02T03:04:05+0100",
        "2024-01-02T03:04:05+01:60",
        "12024-01-02T03:04:05Z",
        "२०२४-01-02T03:04:05Z",
        "2024-01-02T03:04:05Z\n",
        "2024-01-02T03:04:05." + "0" * 100_000 + "Z",
        None,
        1704164645,
        b"2024-01-02T03:04:05Z",
    ],
)
def test_what_is_no_time_is_none(text: object) -> None:
    assert parse_rfc3339(text) is None


@given(MOMENTS, st.integers(min_value=-23 * 60, max_value=23 * 60))
def test_text_of_any_zone_is_the_same_instant_as_for_python(moment: datetime, offset: int) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(minutes=offset)))
    nanoseconds = parse_rfc3339(elsewhere.isoformat())
    assert nanoseconds is not None
    assert nanoseconds == (moment - YEAR_1970) // timedelta(microseconds=1) * 1000
    assert to_datetime(nanoseconds) == moment


@given(MOMENTS, st.integers(min_value=0, max_value=999))
def test_text_that_is_written_is_read_back(moment: datetime, nanoseconds: int) -> None:
    whole = (moment - YEAR_1970) // timedelta(microseconds=1) * 1000 + nanoseconds
    text = format_rfc3339(whole)
    assert text is not None
    assert not text.endswith(("0Z", ".Z")) or "." not in text
    assert parse_rfc3339(text) == whole
    assert to_datetime(whole) == moment


@pytest.mark.parametrize("nanoseconds", [10**30, -(10**30), 253_402_300_800 * 10**9, -62_135_596_801 * 10**9])
def test_years_that_no_calendar_has_are_none(nanoseconds: int) -> None:
    assert to_datetime(nanoseconds) is None
    assert format_rfc3339(nanoseconds) is None


@given(MOMENTS, st.integers(min_value=0, max_value=999), st.integers(min_value=-720, max_value=720))
def test_binary_counts_seconds_from_year_one(moment: datetime, nanoseconds: int, offset: int) -> None:
    seconds = (moment - YEAR_1) // timedelta(seconds=1)
    data = struct.pack(">Bqih", 1, seconds, moment.microsecond * 1000 + nanoseconds, offset)
    expected = (moment - YEAR_1970) // timedelta(microseconds=1) * 1000 + nanoseconds
    assert parse_binary(data) == expected
    assert parse_binary(b"\x02" + data[1:] + b"\x1e") == expected


def test_binary_times_of_a_real_database_follow_the_text_beside_them() -> None:
    with tarfile.open(DATA / "overlay2-buildkit" / "root.tar.gz") as root:
        file = root.extractfile("./buildkit/containerdmeta.db")
        assert file is not None
        leases = Database.parse(file.read()).root.walk(b"v1", b"buildkit", b"leases")
    assert leases is not None
    compared = 0
    for _id, lease in leases.buckets():
        labels = lease.bucket(b"labels")
        assert labels is not None
        label = labels.get(b"containerd.io/gc.flat")
        assert label is not None
        before, created = parse_rfc3339(label.decode()), parse_binary(lease.get(b"createdat"))
        assert before is not None
        assert created is not None
        assert 0 < created - before < 10_000_000  # the label is made first, within the same call
        compared += 1
    assert compared == 10


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\x01" + bytes(13),
        b"\x01" + bytes(15),
        b"\x02" + bytes(14),
        b"\x03" + bytes(14),
        struct.pack(">Bqih", 1, 0, -1, -1),
        struct.pack(">Bqih", 1, 0, 1_000_000_000, -1),
    ],
)
def test_binary_of_another_form_is_none(data: bytes | None) -> None:
    assert parse_binary(data) is None


def test_binary_beyond_the_calendar_is_still_a_number() -> None:
    latest = parse_binary(struct.pack(">Bqih", 1, (1 << 63) - 1, 0, -1))
    assert latest is not None
    assert to_datetime(latest) is None
