"""``zfs list -Hp`` of a real pool, and what is not that."""

from __future__ import annotations

import json

import pytest
from sample_roots import DATA

from layerscope.errors import CorruptError
from layerscope.formats.zfs_list import COLUMNS, parse_zfs_list

LISTED = DATA / "zfs" / "truth" / "zfs-list.tsv"
CONTAINERS = DATA / "zfs" / "truth" / "inspect-containers.json"


def test_a_real_list() -> None:
    """The figures are those of the lines themselves: a container's dataset, and its init layer's with a snapshot."""
    lines = [line.split("\t") for line in LISTED.read_text().splitlines()]
    found = parse_zfs_list(LISTED.read_text())
    assert set(found) == {line[0].rpartition("/")[2] for line in lines if "@" not in line[0]}
    for container in json.loads(CONTAINERS.read_text()):
        name = container["GraphDriver"]["Data"]["Dataset"].rpartition("/")[2]
        (own,) = [line for line in lines if line[0].endswith("/" + name)]
        assert (found[name].referenced, found[name].usedbydataset) == (int(own[2]), int(own[3]))
        snapshots = [line for line in lines if f"/{name}@" in line[0]]
        assert found[name].written == int(own[6]) + sum(int(line[6]) for line in snapshots)
        assert found[name].origin == f"{name}-init"


@pytest.mark.parametrize(
    "text",
    [
        "tank/docker\t531456\n",
        "\t".join("x" for _ in COLUMNS),
        "\t".join(["tank/a", "1", "5.3M", "1", "0", "0", "1", "-", "-", "1.00", "1", "0", "legacy"]),
        "\t".join(["tank/a", "1", "9" * 30, "1", "0", "0", "1", "-", "-", "1.00", "1", "0", "legacy"]),
        "\t".join(["tank/a", "1", "٣", "1", "0", "0", "1", "-", "-", "1.00", "1", "0", "legacy"]),
    ],
)
def test_what_is_no_such_list(text: str) -> None:
    with pytest.raises(CorruptError, match=r"^line 1"):
        parse_zfs_list(text)


def test_nothing_is_nothing() -> None:
    assert parse_zfs_list("") == {}
