"""docker's words for sizes and durations: from its own tables, and from the examples its library documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.formats.units import human_duration, human_size

DATA = Path(__file__).parents[1] / "data"
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def sizes_as_docker_prints_them(truth: Path) -> Iterator[tuple[int, int, str]]:
    """Bytes by the API, digits, and the text of the client's table, of one daemon."""
    api = json.loads((truth / "api-system-df.json").read_text())
    table = json.loads((truth / "system-df-v.json").read_text())
    images = {image["ID"]: image for image in table["Images"]}
    for image in api["Images"]:
        row = images[image["Id"]]
        yield image["Size"], 3, row["Size"]
        yield image["SharedSize"], 4, row["SharedSize"]
        yield image["Size"] - image["SharedSize"], 4, row["UniqueSize"]
    containers = {container["ID"]: container["Size"] for container in table["Containers"]}
    for container in api["Containers"]:
        yield container.get("SizeRw", 0), 3, containers[container["Id"]]
    volumes = {volume["Name"]: volume["Size"] for volume in table["Volumes"]}
    for volume in api["Volumes"]:
        yield volume["UsageData"]["Size"], 4, volumes[volume["Name"]]
    records = {record["ID"]: record["Size"] for record in table["BuildCache"]}
    for record in api["BuildCache"] or []:
        yield record["Size"], 4, records[record["ID"]]


@pytest.mark.parametrize("truth", ["overlay2/truth", "overlay2/truth-26.1", "overlay2-buildkit/truth"])
def test_sizes_are_those_of_dockers_tables(truth: str) -> None:
    compared = list(sizes_as_docker_prints_them(DATA / truth))
    assert [human_size(size, digits) for size, digits, _text in compared] == [text for _size, _digits, text in compared]
    assert len({text for _size, _digits, text in compared}) > 8


@pytest.mark.parametrize(
    ("size", "digits", "text"),
    [
        (0, 3, "0B"),
        (1000, 4, "1kB"),
        (1024, 4, "1.024kB"),
        (1_000_000, 4, "1MB"),
        (1_048_576, 4, "1.049MB"),
        (3_420_000_000, 4, "3.42GB"),
        (5_372_000_000_000, 4, "5.372TB"),
        (2_220_000_000_000_000, 4, "2.22PB"),
        (10_000_000_000_000 * 10**12, 4, "10YB"),
        (10**30, 4, "1e+06YB"),
        (999_999, 3, "1e+03kB"),
        (999_999, 4, "1000kB"),
        (-1, 4, "-1B"),
    ],
)
def test_sizes_of_the_librarys_own_examples(size: float, digits: int, text: str) -> None:
    assert human_size(size, digits) == text


@given(st.integers(min_value=1, max_value=10**18 - 1))
def test_a_size_is_off_by_half_a_digit_at_most(size: int) -> None:
    text = human_size(size, 4)
    number = text.rstrip("BkMGTPE")
    shown = float(number) * 1000.0 ** ["B", "kB", "MB", "GB", "TB", "PB", "EB"].index(text[len(number) :])
    assert abs(shown - size) <= size * 0.0005 * 1.0001


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (-5 * SECOND, "Less than a second"),
        (450_000_000, "Less than a second"),
        (SECOND, "1 second"),
        (45 * SECOND, "45 seconds"),
        (59 * SECOND + 999_999_999, "59 seconds"),
        (60 * SECOND, "About a minute"),
        (119 * SECOND, "About a minute"),
        (3 * MINUTE, "3 minutes"),
        (35 * MINUTE + 40 * SECOND, "35 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 29 * MINUTE, "About an hour"),
        (HOUR + 45 * MINUTE, "2 hours"),
        (3 * HOUR, "3 hours"),
        (3 * HOUR + 59 * MINUTE, "4 hours"),
        (24 * HOUR, "24 hours"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
        (7 * DAY, "7 days"),
        (13 * DAY + 5 * HOUR, "13 days"),
        (14 * DAY, "2 weeks"),
        (18 * DAY, "2 weeks"),
        (21 * DAY, "3 weeks"),
        (28 * DAY, "4 weeks"),
        (31 * DAY, "4 weeks"),
        (30 * DAY, "4 weeks"),
        (44 * DAY, "6 weeks"),
        (60 * DAY, "2 months"),
        (97 * DAY, "3 months"),
        (164 * DAY, "5 months"),
        (390 * DAY, "13 months"),
        (690 * DAY, "23 months"),
        (720 * DAY, "24 months"),
        (734 * DAY, "2 years"),
        (1155 * DAY, "3 years"),
    ],
)
def test_durations_are_cut_and_rounded_as_the_library_does(nanoseconds: int, text: str) -> None:
    assert human_duration(nanoseconds) == text
