"""What the verbs print equals what docker printed about the same root."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data"
SAMPLES = ["overlay2", "overlay2-buildkit"]
needs_marks = pytest.mark.skipif(
    os.geteuid() != 0, reason="trusted.* xattrs, which hold opaque marks, can't be unpacked or read without root"
)


@pytest.fixture
def root_of(overlay2_root: Path, buildkit_root: Path) -> dict[str, Path]:
    return {"overlay2": overlay2_root, "overlay2-buildkit": buildkit_root}


def lines_of(sample: str, name: str) -> list[Any]:
    text = (DATA / sample / "truth" / name).read_text()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@needs_marks
@pytest.mark.parametrize("sample", SAMPLES)
def test_diff_prints_dockers_lines(ask: Any, root_of: dict[str, Path], sample_truth: Any, sample: str) -> None:
    truth = sample_truth(sample, "diff")
    assert truth
    for container, lines in truth.items():
        answer = ask("diff", container, root=root_of[sample])
        assert answer.code == 0, answer.err
        assert answer.lines == sorted(lines, key=lambda line: line[2:].encode())
        told = ask("diff", container, "--json", root=root_of[sample]).json
        assert [f"{change['kind']} {change['path']}" for change in told] == answer.lines


@needs_marks
@pytest.mark.parametrize(("sample", "seconds_later"), [("overlay2", 0.1), ("overlay2-buildkit", 2.1)])
def test_ps_prints_dockers_cells(
    ask: Any, root_of: dict[str, Path], monkeypatch: pytest.MonkeyPatch, sample: str, seconds_later: float
) -> None:
    """At the moment at which the engine was asked: that long after the sample's last container was made."""
    truth = lines_of(sample, "ps-as.jsonl")
    newest = max(item["created"] for item in ask("ps", "--json", root=root_of[sample]).json)
    asked_at = _nanoseconds(newest) + int(seconds_later * 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: asked_at)
    answer = ask("ps", "--no-trunc", root=root_of[sample])
    header, *lines = answer.lines
    titles = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "SIZE"]
    keys = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"]
    starts = [header.index(title) for title in titles]
    cells = [
        {key: line[start:end].rstrip() for key, start, end in zip(keys, starts, [*starts[1:], None], strict=True)}
        for line in lines
    ]
    assert cells == [{key: item[key] for key in keys} for item in truth]


def _nanoseconds(text: str) -> int:
    from datetime import datetime

    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


@pytest.mark.parametrize("sample", SAMPLES)
def test_images_prints_dockers_rows(ask: Any, root_of: dict[str, Path], sample: str) -> None:
    truth = lines_of(sample, "images-a.jsonl")
    answer = ask("images", "-a", "--no-trunc", root=root_of[sample])
    header, *lines = answer.lines
    starts = [header.index(title) for title in ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE")]
    found = [tuple(line[start:end].rstrip() for start, end in pairwise(starts)) for line in lines]
    rows = [(repository, tag, identity, size) for repository, tag, identity, _, size in found]
    assert sorted(rows) == sorted((item["Repository"], item["Tag"], item["ID"], item["Size"]) for item in truth)
    # docker sorts by the second of creation, and leaves those of one second in any order.
    second = {item["ID"]: item["CreatedAt"] for item in truth}
    assert [second[row[2]] for row in rows] == [item["CreatedAt"] for item in truth]


@pytest.mark.parametrize("sample", SAMPLES)
def test_image_sizes_are_those_of_system_df(ask: Any, root_of: dict[str, Path], sample_truth: Any, sample: str) -> None:
    truth = {item["Id"]: item for item in sample_truth(sample, "api-system-df")["Images"]}
    listed = ask("images", "--json", root=root_of[sample]).json
    assert {item["id"] for item in listed} == set(truth)
    for item in listed:
        told = truth[item["id"]]
        assert (item["size"], item["shared_size"], item["containers"]) == (
            told["Size"],
            told["SharedSize"],
            told["Containers"],
        )
        assert item["unique_size"] == told["Size"] - told["SharedSize"]
        assert item["repo_tags"] == (told["RepoTags"] or [])


@pytest.mark.parametrize("sample", SAMPLES)
def test_history_prints_dockers_rows(ask: Any, root_of: dict[str, Path], sample_truth: Any, sample: str) -> None:
    for image, rows in sample_truth(sample, "history").items():
        told = ask("history", image, "--json", root=root_of[sample]).json
        assert [(row["created_by"], row["size"], row["comment"]) for row in told] == [
            (row["CreatedBy"], row["Size"], row["Comment"]) for row in rows
        ]
        ids = ask("history", image, "--no-trunc", "-q", root=root_of[sample]).lines
        assert ids == [row["Id"] for row in rows]


@needs_marks
def test_sizes_of_containers_are_the_engines(ask: Any, overlay2_root: Path, sample_truth: Any) -> None:
    truth = {item["Id"]: item for item in sample_truth("overlay2", "api-containers")}
    for item in ask("ps", "--json", root=overlay2_root).json:
        told = truth[item["id"]]
        assert (item["size_rw"], item["size_root_fs"]) == (told.get("SizeRw", 0), told["SizeRootFs"])
        assert (item["image"], item["image_id"], item["command"]) == (told["Image"], told["ImageID"], told["Command"])
        assert (item["state"], item["labels"]) == (told["State"], told["Labels"])


@needs_marks
def test_cat_and_ls_serve_what_docker_exported(ask: Any, overlay2_root: Path, sample_truth: Any) -> None:
    from hashlib import sha256

    kinds = {"0": "file", "1": "file", "2": "symlink", "3": "char", "5": "dir", "6": "fifo"}
    exported = {"/" + item["name"].rstrip("/"): item for item in sample_truth("overlay2", "export")["editor"]}
    entries = {entry["path"]: entry for entry in ask("ls", "editor", "-R", "--json", root=overlay2_root).json}
    assert set(entries) == set(exported)
    read = 0
    for path, item in exported.items():
        entry = entries[path]
        assert entry["type"] == kinds[item["type"]]
        owner = (entry["uid"], entry["gid"])
        assert (int(entry["mode"], 8), *owner) == (int(item["mode"], 8) & 0o7777, item["uid"], item["gid"])
        if item.get("sha256") and item["type"] == "0":
            assert sha256(ask("cat", f"editor:{path}", root=overlay2_root).out).hexdigest() == item["sha256"]
            read += 1
    assert read > 10
