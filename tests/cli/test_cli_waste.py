"""``waste`` on real roots: docker's own sizes, the kernel's own mounts, shapes, rules and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import stat as modes
import tempfile
from pathlib import Path
from typing import Any

import pytest
from random_layers import kernel_overlay
from sample_roots import truth

WASTE = "paid_bytes visible_bytes wasted_bytes efficiency causes items hidden_bytes levels dive rules name kind id cut"
ITEM = "path cause bytes level hidden_by created_by stored_by remedy same_as"
CAUSES = ["overwritten", "deleted", "metadata", "opaque", "same-content"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")
COMMITTED = "layerscope/committed:1.0"


def test_shape(ask: Any, overlay2_root: Path) -> None:
    answer = ask("waste", COMMITTED, "--json", root=overlay2_root)
    assert (answer.code, answer.err) == (0, "")
    waste = answer.json
    assert set(waste) == set(WASTE.split())
    assert [cause["cause"] for cause in waste["causes"]] == CAUSES
    for cause in waste["causes"]:
        items = [item for item in waste["items"] if item["cause"] == cause["cause"]]
        assert (cause["bytes"], cause["count"]) == (sum(item["bytes"] for item in items), len(items))
    for item in waste["items"]:
        assert set(item) == set(ITEM.split())
        assert item["path"].startswith("/") and item["remedy"]
        assert (item["hidden_by"] is None) == (item["cause"] == "same-content") == (item["same_as"] is not None)
        assert item["hidden_by"] is None or item["hidden_by"] > item["level"]
    assert waste["efficiency"] == waste["visible_bytes"] / waste["paid_bytes"]
    assert [level["level"] for level in waste["levels"]] == [5, 4, 3, 2, 1]
    assert sum(level["wasted_bytes"] for level in waste["levels"]) == waste["wasted_bytes"]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit"])
def test_paid_bytes_are_dockers_image_sizes(ask: Any, unpacked: Any, sample: str) -> None:
    sizes = {image["Id"]: image["Size"] for image in truth(sample, "api-images")}
    paid = {waste["id"]: waste["paid_bytes"] for waste in ask("waste", "--json", root=unpacked(sample)).json}
    assert len(sizes) > 3 and {image: paid[image] for image in sizes} == sizes


@needs_root
@pytest.mark.root
@pytest.mark.overlayfs
def test_visible_bytes_are_those_of_the_kernels_mount(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    for ref in (COMMITTED, "layerscope/app:1.0", "editor", "writer"):
        levels = ask("stack", ref, "--no-counts", "--json", root=overlay2_root).json
        lowers = [overlay2_root / level["path"] for level in levels]
        with kernel_overlay(lowers, tmp_path / "merged", "redirect_dir=off") as merged:
            inodes = {}
            for folder, folders, files in os.walk(merged):
                for name in folders + files:
                    stat = os.lstat(f"{folder}/{name}")
                    if modes.S_ISREG(stat.st_mode) or modes.S_ISLNK(stat.st_mode):
                        inodes[stat.st_ino] = stat.st_size
        waste = ask("waste", ref, "--json", root=overlay2_root).json
        assert waste["visible_bytes"] == sum(inodes.values()), ref


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("sample", ["overlay2", "vfs", "btrfs", "overlay", "fuse-overlayfs"])
def test_the_same_image_in_every_driver(ask: Any, unpacked: Any, sample: str) -> None:
    """The engine built the same images; what a level stored for nothing doesn't depend on how it is stored."""
    for ref in (COMMITTED, "layerscope/app:1.0"):
        waste = ask("waste", ref, "--json", root=unpacked(sample)).json
        wanted = ask("waste", ref, "--json", root=unpacked("overlay2")).json
        big = {(item["path"], item["bytes"], item["level"]) for item in waste["items"] if item["bytes"] > 1000}
        assert big == {(item["path"], item["bytes"], item["level"]) for item in wanted["items"] if item["bytes"] > 1000}
        assert ("/data/sparse", 65536, 1) in big or ref != COMMITTED
        assert abs(waste["wasted_bytes"] - wanted["wasted_bytes"]) < 100  # a link's length here, a broken link there


@needs_root
@pytest.mark.root
def test_aufs_and_containerd(ask: Any, unpacked: Any, containerd_samples: Path) -> None:
    (waste,) = [one for one in ask("waste", "--json", root=unpacked("aufs")).json if one["name"] == "lab/a:1"]
    assert [(item["cause"], item["bytes"]) for item in waste["items"]] == [("deleted", 33), ("overwritten", 17)]
    found = ask("waste", "--json", root=containerd_samples / "root/docker").json
    assert found and all(one["paid_bytes"] - one["visible_bytes"] == one["hidden_bytes"] for one in found)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_an_archive_wastes_what_its_root_wastes(ask: Any, overlay2_root: Path, tmp_path: Path, form: str) -> None:
    archive = tmp_path / "image.tar"
    assert ask("save", COMMITTED, "-o", str(archive), "--format", form, root=overlay2_root).code == 0
    mine, wanted = (ask("waste", COMMITTED, "--json", root=root).json for root in (archive, overlay2_root))
    assert mine["items"] == wanted["items"] and mine["levels"] == wanted["levels"]
    assert mine["efficiency"] == wanted["efficiency"] and mine["dive"] == wanted["dive"]


@needs_root
@pytest.mark.root
def test_what_a_container_hides(ask: Any, overlay2_root: Path) -> None:
    items = ask("waste", "editor", "--json", root=overlay2_root).json["items"]
    by_container = [item for item in items if item["hidden_by"] == 6 and item["level"] < 5]
    assert by_container and all("container's own layer" in item["remedy"] for item in by_container)


@needs_root
@pytest.mark.root
def test_a_cut_and_the_empty_cut(ask: Any, overlay2_root: Path) -> None:
    first = ask("waste", f"{COMMITTED}@1", "--json", root=overlay2_root).json
    assert first["hidden_bytes"] == 0 and len(first["levels"]) == 1
    assert ask("waste", f"{COMMITTED}@0", "--json", root=overlay2_root).json["paid_bytes"] == 0


@needs_root
@pytest.mark.root
def test_text(ask: Any, overlay2_root: Path) -> None:
    answer = ask("waste", COMMITTED, root=overlay2_root)
    assert answer.code == 0
    assert answer.lines[0] == f"{COMMITTED}: 269kB stored, 204kB of it in view"
    assert any("/data/sparse  (overwritten by level 5)" in line for line in answer.lines)
    table = ask("waste", root=overlay2_root).lines
    assert table[0].split() == ["IMAGE", "STORED", "IN", "VIEW", "WASTED", "EFFICIENCY", "DIVE"] and len(table) == 9
    short = ask("waste", COMMITTED, "--all", root=overlay2_root).lines
    assert not any("more: --all" in line for line in short)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--max-waste", "1kB"), 1),
        (("--max-waste", "67414"), 0),
        (("--max-waste", "67413"), 1),
        (("--max-waste", "66KiB"), 0),
        (("--min-efficiency", "0.9"), 1),
        (("--min-efficiency", "75%"), 0),
        (("--max-waste", "lots"), 2),
        (("--min-efficiency", "2"), 2),
        (("--rules", "/nowhere/rules"), 2),
    ],
)
def test_rules_end_with_their_code(ask: Any, overlay2_root: Path, words: tuple[str, ...], code: int) -> None:
    answer = ask("waste", COMMITTED, *words, root=overlay2_root)
    assert answer.code == code, answer.err
    assert (answer.err == "") == (code == 0)


@needs_root
@pytest.mark.root
def test_rules_file(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("# ours\nmax-deleted: 1MB\nmax-overwritten: 10\n\nmin-efficiency: 50%\nmax-waste-percent: 20\n")
    answer = ask("waste", COMMITTED, "--rules", str(rules), "--json", root=overlay2_root)
    assert answer.code == 1
    assert [(rule["rule"], rule["ok"]) for rule in answer.json["rules"]] == [
        ("max-deleted", True),
        ("max-overwritten", False),
        ("min-efficiency", True),
        ("max-waste-percent", False),
    ]
    assert "max-overwritten: 65573 bytes, at most 10 allowed" in answer.err
    rules.write_text("max-everything: 1\n")
    answer = ask("waste", COMMITTED, "--rules", str(rules), root=overlay2_root)
    assert answer.code == 2 and "line 1" in answer.err and "max-everything" in answer.err


@needs_root
@pytest.mark.root
def test_a_dive_ci_file_serves_as_it_is(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    rules = tmp_path / ".dive-ci"
    rules.write_text(
        "rules:\n  # as dive's own README has them\n  lowestEfficiency: 0.95\n"
        '  highestWastedBytes: "20MB"\n  highestUserWastedPercent: disabled\n'
    )
    answer = ask("waste", COMMITTED, "--rules", str(rules), "--json", root=overlay2_root)
    assert answer.code == 1
    assert [(rule["rule"], rule["ok"]) for rule in answer.json["rules"]] == [
        ("lowestEfficiency", False),
        ("highestWastedBytes", True),
    ]


@needs_root
@pytest.mark.root
def test_same_content_everywhere(ask: Any, overlay2_root: Path) -> None:
    """Whatever is in view and lies with the same bytes in a layer of something else, found by hashing all layers."""
    own = {level["cache_id"] for level in ask("stack", COMMITTED, "--no-counts", "--json", root=overlay2_root).json}
    elsewhere = {
        hashlib.sha256(path.read_bytes()).digest()
        for layer in (overlay2_root / "overlay2").iterdir()
        if layer.name not in {*own, "l"}
        for path in (layer / "diff").rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    seen = ask("find", "*", COMMITTED, "--visible", "--type", "f", "--size", "+0", "--json", root=overlay2_root).json
    wanted = set()
    for entry in seen:
        place = overlay2_root / "overlay2" / entry["cache_id"] / f"diff{entry['path']}"
        if entry["nlink"] == 1 and hashlib.sha256(place.read_bytes()).digest() in elsewhere:
            wanted.add((entry["path"], entry["level"]))
    items = ask("waste", COMMITTED, "--everywhere", "--json", root=overlay2_root).json["items"]
    told = {(item["path"], item["level"]) for item in items if item["same_as"] and item["same_as"]["in"]}
    assert wanted and wanted <= told
    for item in items:
        if item["same_as"] and item["same_as"]["in"]:
            mine = ask("cat", f"{COMMITTED}:{item['path']}", root=overlay2_root).out
            there = f"{item['same_as']['in']}@{item['same_as']['level']}:{item['same_as']['path']}"
            assert ask("cat", there, root=overlay2_root).out == mine
    assert ask("waste", "--everywhere", root=overlay2_root).code == 2


def test_temporary_files_are_not_made_below_the_root(
    ask: Any, overlay2_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(overlay2_root / "image"))
    answer = ask("waste", COMMITTED, root=overlay2_root)
    assert answer.code == 2 and "TMPDIR" in answer.err


def test_no_such_ref(ask: Any, overlay2_root: Path) -> None:
    assert ask("waste", "nothing", root=overlay2_root).code == 2


@needs_root
@pytest.mark.root
def test_hostile_names(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    from containerd_roots import copy

    root = copy(overlay2_root, tmp_path / "copy")
    levels = ask("stack", "editor", "--no-counts", "--json", root=root).json
    name = b"\xff\x1b[2J\n"
    top, base = (root / levels[where]["path"] for where in (0, -1))
    Path(os.fsdecode(os.fsencode(base) + b"/" + name)).write_bytes(b"h" * 77_777)
    os.mknod(os.fsencode(top) + b"/" + name, modes.S_IFCHR, 0)
    item = json.loads(ask("waste", "editor", "--json", root=root).out)["items"][0]
    assert (item["bytes"], item["cause"]) == (77_777, "deleted")
    assert item["path"] == "/\ufffd\x1b[2J\n" and item["path_base64"]
