"""Every field of every JSON shape is there, on a real root, and the conventions hold."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

INFO = "root store driver drivers engine daemon xattr_prefix unseen counts features problems"
IMAGE = (
    "id repo_tags repo_digests parent created size shared_size unique_size containers dangling architecture os layers"
    " diff_ids problems"
)
CONTAINER = (
    "id name image image_id command created started_at finished_at state unclean exit_code driver size_rw size_root_fs"
    " log_size log_path mounts labels mount_id init_id chain_id problems"
)
HISTORY_ROW = "created created_by comment author size empty_layer level diff_id chain_id cache_id"
STACK_LEVEL = "level role chain_id diff_id cache_id path size created_by added modified metadata deleted opaque"
CHANGE = "kind path reason size size_below level level_below"
ENTRY = (
    "path name type mode uid gid size mtime nlink link_to target rdev xattrs level chain_id cache_id state hidden"
    " hidden_by"
)
BLAME = "path visible served_by paid_bytes steps"
STEP = "level role created_by event fields size sha256"
OWNER = "kind id names chain_id diff_id cache_id path claimed_by"

LISTS = [
    (("images",), IMAGE),
    (("images", "-a"), IMAGE),
    (("images", "--tree"), IMAGE),
    (("ps",), CONTAINER),
    (("history", "layerscope/app:1.0"), HISTORY_ROW),
    (("stack", "editor"), STACK_LEVEL),
    (("stack", "editor", "--no-counts"), STACK_LEVEL),
    (("stack", "layerscope/app:1.0"), STACK_LEVEL),
    (("diff", "editor"), CHANGE),
    (("diff", "editor", "--corrected"), CHANGE),
    (("diff", "layerscope/base:1.0", "editor"), CHANGE),
    (("diff", "editor@2", "editor@0"), CHANGE),
    (("ls", "editor"), ENTRY),
    (("ls", "editor", "-R", "--all"), ENTRY),
    (("ls", "editor:/data/perm/mode"), ENTRY),
    (("whose", "editor"), OWNER),
]


@pytest.mark.parametrize(
    ("words", "fields"), LISTS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_lists_have_every_field(ask: Any, overlay2_root: Path, words: tuple[str, ...], fields: str) -> None:
    answer = ask(*words, "--json", root=overlay2_root)
    assert answer.code == 0, answer.err
    assert answer.json, "a sample with nothing to show tests nothing"
    for element in answer.json:
        assert set(fields.split()) <= set(element)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("info",), INFO),
        (("blame", "editor:/etc/motd"), BLAME),
        (("explain", "editor:/etc/motd"), "path text"),
    ],
)
def test_objects_have_every_field(ask: Any, overlay2_root: Path, words: tuple[str, ...], fields: str) -> None:
    answer = ask(*words, "--json", root=overlay2_root)
    assert answer.code == 0, answer.err
    assert set(fields.split()) <= set(answer.json)


def test_nested_shapes_have_every_field(ask: Any, overlay2_root: Path) -> None:
    info = ask("info", "--json", root=overlay2_root).json
    assert set(info["daemon"]) == {"held", "evidence"}
    assert info["daemon"]["held"] in (True, False, None)
    steps = ask("blame", "editor:/etc/motd", "--json", root=overlay2_root).json["steps"]
    assert [set(STEP.split()) <= set(step) for step in steps] == [True, True, True]
    writer = next(item for item in ask("ps", "--json", root=overlay2_root).json if item["name"] == "writer")
    assert {frozenset(mount) for mount in writer["mounts"]} == {
        frozenset({"type", "name", "source", "destination", "rw"})
    }


def test_problems_have_every_field(ask: Any, records_copy: Path) -> None:
    (records_copy / "image/overlay2/repositories.json").write_text("")
    answer = ask("info", "--json", root=records_copy)
    assert answer.code == 1
    problems = answer.json["problems"]
    assert problems
    assert all({"severity", "path", "what", "effect", "hint"} <= set(problem) for problem in problems)
    assert any(problem["path"] == "image/overlay2/repositories.json" for problem in problems)


def test_counts_are_null_when_not_wanted(ask: Any, overlay2_root: Path) -> None:
    for level in ask("stack", "editor", "--no-counts", "--json", root=overlay2_root).json:
        assert [level[name] for name in ("added", "modified", "metadata", "deleted", "opaque")] == [None] * 5


def test_inspect_is_json_with_and_without_the_option(ask: Any, overlay2_root: Path) -> None:
    plain = ask("inspect", "editor", root=overlay2_root)
    assert plain.code == 0
    assert plain.json == ask("inspect", "editor", "--json", root=overlay2_root).json
    assert "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e" in json.dumps(plain.json)


def test_entries_keep_the_conventions(ask: Any, overlay2_root: Path) -> None:
    entries = ask("ls", "editor", "-R", "--json", root=overlay2_root).json
    paths = [os.fsencode(entry["path"]) for entry in entries]
    assert paths == sorted(paths)
    for entry in entries:
        assert entry["path"].startswith("/")
        assert entry["path"].endswith("/" + entry["name"])
        assert re.fullmatch(r"[0-7]{4}", entry["mode"])
        assert (entry["rdev"] is not None) == (entry["type"] in ("char", "block"))
        assert (entry["target"] is not None) == (entry["type"] == "symlink")
    by_path = {entry["path"]: entry for entry in entries}
    assert by_path["/data/hard3"]["link_to"] == "/data/hard1"
    assert by_path["/data/hard1"]["link_to"] is None


def test_listed_order_is_newest_first(ask: Any, overlay2_root: Path) -> None:
    assert [item["name"] for item in ask("ps", "--json", root=overlay2_root).json] == ["idle", "writer", "editor"]
    created = [item["created"] for item in ask("images", "-a", "--json", root=overlay2_root).json]
    assert created == sorted(created, reverse=True)
    levels = [item["level"] for item in ask("stack", "editor", "--json", root=overlay2_root).json]
    assert levels == sorted(levels, reverse=True)


def test_times_are_utc_with_the_digits_of_the_record(ask: Any, overlay2_root: Path, sample_truth: Any) -> None:
    told = {item["Name"].lstrip("/"): item for item in sample_truth("overlay2", "inspect-cli")}
    for item in ask("ps", "--json", root=overlay2_root).json:
        truth = told[item["name"]]
        assert item["created"] == truth["Created"]
        for field, key in (("started_at", "StartedAt"), ("finished_at", "FinishedAt")):
            recorded = truth["State"][key]
            assert item[field] == (None if recorded.startswith("0001") else recorded)


def test_a_name_that_is_not_utf8_has_its_bytes_beside_it(ask: Any, records_copy: Path, overlay2_root: Path) -> None:
    mount = next((overlay2_root / "image/overlay2/layerdb/mounts").glob("a846d6cd2c28*"))
    layer = records_copy / "overlay2" / (mount / "mount-id").read_text()
    for name in os.listdir(overlay2_root / "overlay2"):
        (records_copy / "overlay2" / name / "diff").mkdir(parents=True, exist_ok=True)
    (layer / "diff" / os.fsdecode(b"caf\xe9")).write_text("x")
    found = [entry for entry in ask("ls", "idle", "--json", root=records_copy).json if "path_base64" in entry]
    assert [(entry["path"], entry["path_base64"], entry["name"]) for entry in found] == [
        ("/caf\ufffd", "L2NhZuk=", "caf\ufffd")
    ]
    assert b"A /caf\xe9\n" in ask("diff", "idle", root=records_copy).out
