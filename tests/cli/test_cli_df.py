"""``df`` and ``reclaim`` on a real root: their shapes, forms and ends."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from ledger_facts import du

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

LEDGER = "root total_disk accounted_disk unaccounted_disk classes entries"
CLASS = "class disk apparent count"
ENTRY = "path class owner disk apparent reason stored measured cause count"
RECLAIM = "asked frees_disk kept commands"
KEPT = "path disk because"


def test_the_ledger_has_every_field(ask: Any, buildkit_root: Path) -> None:
    answer = ask("df", "--json", root=buildkit_root)
    assert answer.code == 0, answer.err
    found = answer.json
    assert set(LEDGER.split()) <= set(found)
    assert all(set(CLASS.split()) <= set(one) for one in found["classes"])
    assert all(set(ENTRY.split()) <= set(one) for one in found["entries"])
    assert found["total_disk"] == du(buildkit_root) == sum(one["disk"] for one in found["entries"])
    assert [(-one["disk"], one["path"]) for one in found["entries"]] == sorted(
        (-one["disk"], one["path"]) for one in found["entries"]
    )
    assert {one["class"] for one in found["classes"]} >= {"image-layer", "build-cache", "container-rw", "record", "log"}


def test_the_table_adds_up(ask: Any, overlay2_root: Path) -> None:
    answer = ask("df", root=overlay2_root)
    assert answer.code == 0
    assert answer.lines[0].split() == ["CLASS", "DISK", "APPARENT", "ENTRIES"]
    assert any(line.startswith("total") and "1.843MB" in line for line in answer.lines)
    assert len(ask("df", "-v", root=overlay2_root).lines) > len(answer.lines)


def test_gauges_have_the_form_of_the_textfile_collector(ask: Any, overlay2_root: Path) -> None:
    lines = ask("df", "--prometheus", root=overlay2_root).lines
    samples = [line for line in lines if not line.startswith("#")]
    form = re.compile(r'layerscope_[a-z_]+\{root="[^"]*"(,class="[a-z-]+")?\} [0-9]+')
    assert all(form.fullmatch(line) for line in samples)
    values = [int(line.split()[-1]) for line in samples if line.startswith("layerscope_disk_bytes")]
    assert sum(values) == du(overlay2_root)
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert {line.partition("{")[0] for line in samples} == set(types)


def test_docker_df_has_dockers_numbers(ask: Any, overlay2_root: Path, sample_truth: Any) -> None:
    truth = sample_truth("overlay2", "api-system-df")
    lines = ask("df", "--docker", root=overlay2_root).lines
    assert [line for line in lines if "usage" in line and "CACHE ID" not in line] == [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage: 0B",
    ]
    for image in truth["Images"]:
        assert any(image["Id"].removeprefix("sha256:")[:12] in line for line in lines)
    for volume in truth["Volumes"]:
        name, links, size = volume["Name"], volume["UsageData"]["RefCount"], volume["UsageData"]["Size"]
        assert any(line.split() == [name, str(links), f"{size}B"] for line in lines)


def test_three_answers_at_once_are_refused(ask: Any, overlay2_root: Path) -> None:
    assert ask("df", "--json", "--prometheus", root=overlay2_root).code == 2


def test_something_nobody_claims_is_told(ask: Any, records_copy: Path) -> None:
    (records_copy / "image/strange\nname").write_text("x" * 5000)
    found = ask("df", "--json", root=records_copy).json
    assert found["unaccounted_disk"] == 8192
    assert [one["path"] for one in found["entries"] if one["class"] == "unknown"] == ["image/strange\nname"]


# ---------------------------------------------------------------------- reclaim
def test_reclaim_has_every_field(ask: Any, overlay2_root: Path) -> None:
    answer = ask("reclaim", "layerscope/committed:1.0", "--json", root=overlay2_root)
    assert answer.code == 0, answer.err
    found = answer.json
    assert set(RECLAIM.split()) <= set(found)
    assert found["asked"] == ["layerscope/committed:1.0"]
    assert found["commands"] == ["docker rmi layerscope/committed:1.0"]
    assert found["frees_disk"] > 300_000
    assert found["kept"]
    assert all(set(KEPT.split()) <= set(one) and one["because"] for one in found["kept"])


def test_candidates_without_a_thing(ask: Any, overlay2_root: Path) -> None:
    found = ask("reclaim", "--json", root=overlay2_root).json
    sizes = [one["frees_disk"] for one in found["candidates"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0
    assert {one["kind"] for one in found["candidates"]} >= {"image", "container", "log"}
    assert found["frees_disk"] == 0


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("layerscope/base:1.0",), "container writer"),
        (("layerscope/app:1.0",), "container idle"),
        (("volume:vol1",), "container writer"),
    ],
)
def test_what_keeps_it_is_named(ask: Any, overlay2_root: Path, words: tuple[str, ...], because: str) -> None:
    found = ask("reclaim", *words, "--json", root=overlay2_root).json
    assert found["frees_disk"] == 0
    assert any(because in one["because"] for one in found["kept"])


def test_everything_together_frees_more_than_its_parts(ask: Any, overlay2_root: Path) -> None:
    def frees(*words: str) -> int:
        return int(ask("reclaim", *words, "--json", root=overlay2_root).json["frees_disk"])

    groups = ["stopped-containers", "unused-images", "build-cache"]
    assert frees(*groups) > sum(frees(group) for group in groups)
    assert frees("logs", "stopped-containers") == frees("stopped-containers")


def test_a_plan_frees_enough_and_says_how(ask: Any, overlay2_root: Path) -> None:
    answer = ask("reclaim", "--free", "300kB", "--json", root=overlay2_root)
    assert answer.code == 0
    found = answer.json
    assert found["frees_disk"] >= found["wanted"] == 300_000
    assert found["exact"] and found["enough"] and found["bound"] == found["frees_disk"]
    assert found["commands"]
    assert not [line for line in found["commands"] if "volume" in line]


def test_a_plan_that_cant_be_is_told(ask: Any, overlay2_root: Path) -> None:
    answer = ask("reclaim", "--free", "10TB", root=overlay2_root)
    assert answer.code == 1
    assert "less than 10TB" in answer.err


@pytest.mark.parametrize("words", [("nobody",), ("volume:none",), ("editor:/etc",), ("--free", "much"), ("log:none",)])
def test_what_names_nothing_is_refused(ask: Any, overlay2_root: Path, words: tuple[str, ...]) -> None:
    assert ask("reclaim", *words, root=overlay2_root).code == 2
