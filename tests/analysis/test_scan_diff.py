"""What grew between two scans, held against du and find before and after."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat as modes
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import scan_facts
from ledger_facts import du

from layerscope.analysis.scan.difference import differences
from layerscope.errors import CorruptError
from layerscope.formats.scan.reader import ScanReader
from layerscope.formats.scan.writer import ScanWriter
from layerscope.model.scan import LAYER, ROOT, ScanEnd, ScanEntry, ScanHeader, ScanRow, ScanSubject, ScanTree
from layerscope.model.scan_difference import Growth, PathGrowth, ScanDifference

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")


def compared(old: bytes, new: bytes, limit: int | None = None) -> tuple[ScanDifference, list[PathGrowth]]:
    with ExitStack() as stack:
        readers = [ScanReader(io.BytesIO(data), name) for name, data in (("old", old), ("new", new))]
        found = differences(readers[0], readers[1], limit, stack)
        return found, list(found.paths)


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(overlay2_root), str(tmp_path / "root")], check=True)
    return tmp_path / "root"


def upper_of(root: Path, container: str) -> Path:
    for record in (root / "containers").iterdir():
        if f'"Name":"/{container}"' in (record / "config.v2.json").read_text():
            mount = (root / "image/overlay2/layerdb/mounts" / record.name / "mount-id").read_text()
            return root / "overlay2" / mount / "diff"
    raise AssertionError(container)


@needs_root
def test_nothing_differs_in_the_same_root(root: Path) -> None:
    one, other = scan_facts.scan_of(root)[0], scan_facts.scan_of(root)[0]
    found, paths = compared(one, other)
    assert not (found.classes or found.owners or found.layers or found.counts or paths or found.notes)


@needs_root
def test_what_a_container_a_volume_and_a_log_did(root: Path) -> None:
    upper, volume = upper_of(root, "editor"), root / "volumes/vol1/_data"
    (upper / "old").write_bytes(b"x" * 30_000)
    (volume / "shrinks").write_bytes(b"x" * 90_000)
    (volume / "gone").write_bytes(b"x" * 20_000)
    (volume / "same").write_bytes(b"x" * 20_000)
    old, before = scan_facts.scan_of(root)[0], scan_facts.found(root)
    total, volume_before = du(root), du(root / "volumes/vol1")
    (upper / "old").write_bytes(b"x" * 70_000)
    (upper / os.fsdecode(b"new\xff")).write_bytes(b"x" * 200_000)
    with (volume / "shrinks").open("r+b") as file:
        file.truncate(10_000)
    (volume / "gone").unlink()
    (volume / "same").write_bytes(b"y" * 20_000)
    log = next(root.glob("containers/*/*-json.log"))
    log.write_bytes(b"{}\n" * 40_000)
    new, after = scan_facts.scan_of(root)[0], scan_facts.found(root)
    found, paths = compared(old, new)

    told = {os.fsencode(one.path): (one.old_disk, one.new_disk) for one in paths}
    truth = {
        path: (before[path][5] if path in before else None, after[path][5] if path in after else None)
        for path in {*before, *after}
        if (before[path][5] if path in before else None) != (after[path][5] if path in after else None)
    }
    assert told == truth
    assert len(told) == 5
    sizes = [abs(one.grown_disk) for one in paths]
    assert sizes == sorted(sizes, reverse=True)
    growth = {one.path.rpartition("/")[2]: one.growth for one in paths}
    assert growth == {
        os.fsdecode(b"new\xff"): Growth.ADDED,
        "old": Growth.GROWN,
        "shrinks": Growth.SHRUNK,
        "gone": Growth.REMOVED,
        log.name: Growth.GROWN,
    }
    first = paths[0]
    assert (first.inside, first.subject) == ("/" + os.fsdecode(b"new\xff"), ScanSubject("container-rw", "editor"))
    assert first.layer in {path.name for path in (root / "containers").iterdir()}

    grown = du(root) - total
    assert found.old.total_disk == total
    assert found.new.total_disk == total + grown
    assert sum(one.grown_disk for one in found.classes) == grown
    assert sum(one.grown_disk for one in found.owners) == grown
    assert sum(one.grown_disk for one in found.counts) == grown
    assert {one.category for one in found.classes} == {"container-rw", "volume", "log"}
    owners = {(one.kind, one.owner): one for one in found.owners}
    assert owners["volume", "vol1"].old_disk == volume_before
    assert owners["volume", "vol1"].new_disk == du(root / "volumes/vol1")
    counts = {one.growth: one.paths for one in found.counts}
    differ = sum(after[path] != before[path] for path in {*before} & {*after})
    assert sum(counts.values()) == differ + len({*before} ^ {*after})
    assert not found.layers


@needs_root
def test_a_container_that_went_and_one_that_came(root: Path) -> None:
    """Layers are told as one; what a container wrote also path by path, what an image brought isn't."""
    full = scan_facts.scan_of(root)[0]
    identifier = next(
        path.name for path in (root / "containers").iterdir() if '"/editor"' in (path / "config.v2.json").read_text()
    )
    upper = upper_of(root, "editor")
    bytes_of_upper, entries = du(upper), len(scan_facts.found(upper))
    biggest = max(facts[5] or 0 for facts in scan_facts.found(upper).values())  # type: ignore[type-var]
    total = du(root)
    init = (root / "image/overlay2/layerdb/mounts" / identifier / "init-id").read_text()
    for path in (upper.parent, root / "overlay2" / init):
        (root / "overlay2/l" / (path / "link").read_text()).unlink()
        shutil.rmtree(path)
    shutil.rmtree(root / "containers" / identifier)
    shutil.rmtree(root / "image/overlay2/layerdb/mounts" / identifier)
    less = scan_facts.scan_of(root)[0]
    grown = du(root) - total
    for old, new, growth, sign in ((full, less, Growth.REMOVED, 1), (less, full, Growth.ADDED, -1)):
        found, paths = compared(old, new)
        layers = {one.tree.id: one for one in found.layers}
        assert set(layers) == {identifier, f"{identifier}-init"}
        written = layers[identifier]
        assert (written.growth, written.disk, written.entries) == (growth, bytes_of_upper, entries)
        assert written.subject == ScanSubject("container-rw", "editor")
        assert sum(one.grown_disk for one in found.classes) == sign * grown
        owner = next(one for one in found.owners if one.owner == "editor")
        assert (owner.kind, owner.grown_disk < 0) == ("container", growth is Growth.REMOVED)
        of_layer = [one for one in paths if one.layer == identifier]
        assert sum(one.grown_disk for one in of_layer) == -sign * bytes_of_upper
        assert max(abs(one.grown_disk) for one in of_layer) == biggest
        assert not [one for one in paths if one.layer == f"{identifier}-init"]


@needs_root
def test_a_committed_layer_that_was_changed(root: Path) -> None:
    layer = next(path for path in root.glob("overlay2/*/diff/bin") if path.is_dir()).parent
    old = scan_facts.scan_of(root)[0]
    (layer / "planted").write_bytes(b"x" * 12_288)
    (layer / "planted").chmod(0o4755)
    found, paths = compared(old, scan_facts.scan_of(root)[0])
    assert [(one.inside, one.grown_disk, modes.S_IMODE(one.mode)) for one in paths] == [("/planted", 12_288, 0o4755)]
    assert paths[0].subject.category == "image-layer"
    assert not found.layers


@needs_root
def test_another_name_of_an_image_changes_no_file(root: Path) -> None:
    old = scan_facts.scan_of(root)[0]
    record = root / "image/overlay2/repositories.json"
    record.write_text(record.read_text().replace("layerscope/app:1.0", "layerscope/app:2.0"))
    found, paths = compared(old, scan_facts.scan_of(root)[0])
    assert not paths
    assert [(one.growth, one.paths) for one in found.counts] == [(Growth.CHANGED, 1)]


# ---------------------------------------------------------------------- scans made by hand
SUBJECT = ScanSubject("volume", "data")


def header(**facts: object) -> ScanHeader:
    plain = {"host": "web-1", "root": "/r", "scanned_at_ns": 5, "store": "docker", "driver": "vfs", "drivers": ()}
    return ScanHeader(**{**plain, "engine": "", "total_disk": 0, "version": "", **facts})  # type: ignore[arg-type]


def made(trees: list[tuple[ScanTree, list[ScanRow]]], entries: list[ScanEntry] | None = None, **facts: object) -> bytes:
    out = io.BytesIO()
    writer = ScanWriter(out.write)
    writer.begin(header(**facts), entries or ())
    for tree, rows in trees:
        writer.tree(tree, rows)
    writer.finish(ScanEnd(len(trees), sum(len(rows) for _, rows in trees), 0, 0))
    return out.getvalue()


def row(path: str, disk: int, size: int = 0, mtime: int = 0) -> ScanRow:
    directory, _, name = path.rpartition("/")
    names = (directory.encode(), name.encode())
    return ScanRow(*names, SUBJECT, 0o100644, 0, 0, size, disk, mtime, 1, 0, 0, b"")


def by_order(rows: list[ScanRow]) -> list[ScanRow]:
    return sorted(rows, key=lambda one: (one.directory.split(b"/") if one.directory else [], one.name))


@pytest.mark.parametrize("seed", range(20))
def test_any_two_trees(seed: int) -> None:
    """Random trees, compared by dictionaries."""
    source = random.Random(seed)
    names = ["a", "a-b", "a.b", "b", "ab", "c"]
    sides: list[dict[str, int]] = []
    for _ in range(2):
        paths = {"/".join(source.choices(names, k=source.randint(1, 3))) for _ in range(60)}
        sides.append({path: source.choice((0, 4096, 8192)) for path in paths})
    scans = [made([(ScanTree(ROOT, ""), by_order([row(*one) for one in side.items()]))]) for side in sides]
    found, paths = compared(scans[0], scans[1])
    old, new = sides
    truth = {path for path in {*old, *new} if old.get(path, 0) != new.get(path, 0)}
    assert {one.path: (one.old_disk, one.new_disk) for one in paths} == {
        path: (old.get(path), new.get(path)) for path in truth
    }
    counts = {one.growth: (one.paths, one.grown_disk) for one in found.counts}
    added, removed = {*new} - {*old}, {*old} - {*new}
    assert counts.get(Growth.ADDED, (0, 0)) == (len(added), sum(new[path] for path in added))
    assert counts.get(Growth.REMOVED, (0, 0)) == (len(removed), -sum(old[path] for path in removed))
    some = compared(scans[0], scans[1], limit=5)[1]
    assert [abs(one.grown_disk) for one in some] == sorted((abs(one.grown_disk) for one in paths), reverse=True)[:5]


def test_lengths_where_blocks_arent_known() -> None:
    tree = ScanTree(LAYER, "sha256:x", role="image", has_disk=False, in_root=False)
    scans = [made([(tree, [row("a", 0, size)])], total_disk=None) for size in (10, 500)]
    found, paths = compared(scans[0], scans[1])
    assert [(one.old_disk, one.new_disk, one.growth) for one in paths] == [(10, 500, Growth.GROWN)]
    assert any("has no ledger" in note for note in found.notes)


def test_scans_of_different_hosts_are_told() -> None:
    one = made([], host="web-1", root="/r", scanned_at_ns=9)
    other = made([], host="web-2", root="/s", scanned_at_ns=3, driver="overlay2")
    notes = " ".join(compared(one, other)[0].notes)
    assert "two hosts, web-1 and web-2" in notes
    assert "two roots, /r and /s" in notes
    assert "named first is the newer" in notes
    assert "docker with vfs" in notes


def test_owners_with_several_entries_are_summed() -> None:
    web, log, volume = ScanSubject("container-rw", "web"), ScanSubject("log", "web"), ScanSubject("volume", "web")

    def entries(*sizes: int) -> list[ScanEntry]:
        subjects = (web, log, volume)
        return [ScanEntry(one, "p", size, 0, 1, "") for one, size in zip(subjects, sizes, strict=True) if size]

    found, _ = compared(made([], entries(10, 20, 5)), made([], entries(15, 0, 5)))
    assert [(one.kind, one.owner, one.old_disk, one.new_disk) for one in found.owners] == [("container", "web", 30, 15)]
    assert {one.category: one.grown_disk for one in found.classes} == {"container-rw": 5, "log": -20}


def test_damage_behind_the_beginning_is_told() -> None:
    whole = made([(ScanTree(ROOT, ""), [row("a", 1)])])
    with pytest.raises(CorruptError, match="the scan new"):
        compared(whole, whole[:-5])
