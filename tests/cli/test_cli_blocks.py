"""The verb ``blocks`` on a real devicemapper root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from thin_samples import dump_path, read_dump, unpacked, without_pool


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("ext4", tmp_path_factory.mktemp("cli-blocks"))


def test_the_map_in_json(ask: Any, root: Path) -> None:
    answer = ask("blocks", "c1", "--json", root=root)
    assert (answer.code, answer.err) == (0, "")
    found = answer.json
    assert found["device"] == {
        "level": 5,
        "role": "rw",
        "cache_id": "02dcc7b9f375b079eb13d55bb184be04a6547ee00b9c27966d25aba971a063f3",
        "device_id": 20,
        "size": 314572800,
    }
    assert found["block_size"] == 65536
    pool = {"time": 23, "transaction": 36, "data_blocks": 16384, "allocated_blocks": 567, "needs_check": False}
    assert found["pool"] == pool
    assert [level["device_id"] for level in found["levels"]] == [20, 19, 7, 4, 2, 1]
    assert [level["role"] for level in found["levels"]] == ["rw", "init", "image", "image", "image", "base"]
    blocks = {
        run["virtual"] + offset: (run["data"] + offset, run["time"])
        for run in found["runs"]
        for offset in range(run["length"])
    }
    assert blocks == read_dump(dump_path("ext4"))[20].blocks
    assert {run["state"] for run in found["runs"]} == {"here", "inherited"}
    assert all(run["shared"] == (run["uses"] > 1) for run in found["runs"])
    assert sum(run["length"] for run in found["runs"] if run["state"] == "here") == 7
    assert sum(run["length"] for run in found["runs"] if not run["shared"]) == found["levels"][0]["exclusive"]


def test_the_read_path_in_json(ask: Any, root: Path) -> None:
    for number in ("0x94f", "0X94F", "2383"):
        found = ask("blocks", "c1", number, "--json", root=root).json
        assert (found["virtual"], found["data"], found["owner"], found["mapped"]) == (0x94F, 0x267, 5, True)
        assert found["data_offset"] == 0x267 * 65536
        assert [step["note"] for step in found["steps"]] == ["written here", *["older copy"] * 4, "not mapped"]
        assert found["holds"] == [{"kind": "file", "path": "/opt/app/big.dat", "in_layer": True}]


def test_a_cut_names_a_level_below(ask: Any, root: Path) -> None:
    found = ask("blocks", "lab/a:1@1", "--json", root=root).json
    assert [level["device_id"] for level in found["levels"]] == [2, 1]


def test_the_text_says_the_same(ask: Any, root: Path) -> None:
    lines = ask("blocks", "c1", "0x94f", root=root).lines
    assert lines[0] == "virtual block 0x94f (bytes 156172288 to 156237823) read in device 20"
    assert lines[2].split() == ["5", "rw", "20", "0x267", "19", "1", "<-", "written", "here"]
    assert lines[3].split() == ["4", "init", "19", "0x1ef", "1", "10", "older", "copy"]
    assert lines[-2:] == ["data block 0x267 begins at byte 40304640 of the pool's data", "holds file /opt/app/big.dat"]
    assert ask("blocks", "c1", "4000", root=root).lines[-1] == "not mapped: it reads as zeros"
    lines = ask("blocks", "c1", root=root).lines
    assert lines[0].startswith("device 20: 314572800 bytes in blocks of 65536; pool: 567 of 16384 data blocks in use")
    assert ["0x94f", "0x267", "1", "19", "1", "5", "here"] in [line.split() for line in lines]


@pytest.mark.parametrize("text", ["x", "", "-1", "0x", "1_0", "9" * 30, "0xfffffffffffffffff"])
def test_what_is_no_block_number_is_refused(ask: Any, root: Path, text: str) -> None:
    answer = ask("blocks", "c1", "--", text, root=root)
    assert answer.code == 2
    assert answer.out == b""


def test_a_block_past_the_end_is_refused(ask: Any, root: Path) -> None:
    answer = ask("blocks", "c1", "4800", root=root)
    assert answer.code == 2
    assert "c1 has blocks 0 to 0x12bf, there is no block 0x12c0" in answer.err


def test_a_pool_outside_of_the_root_is_told(ask: Any, root: Path, tmp_path: Path) -> None:
    answer = ask("blocks", "c1", root=without_pool(root, tmp_path / "root"))
    assert (answer.code, answer.out) == (3, b"")
    assert "the pool's metadata device lies outside of the root; give --thin-metadata" in answer.err


def test_other_drivers_have_no_blocks(ask: Any, records_copy: Path) -> None:
    name = ask("ps", "--json", root=records_copy).json[0]["name"]
    answer = ask("blocks", name, root=records_copy)
    assert answer.code == 2
    assert "layers of overlay2 are directories: only those of devicemapper have a block map" in answer.err
