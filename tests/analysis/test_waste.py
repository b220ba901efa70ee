"""Waste against a naive model: the whole tree as it was after each layer, and for every copy the layer that hid it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat as modes
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from random_layers import kernel_overlay, make_layer, make_stack

from layerscope.analysis.waste.stack import WasteReport, measure_waste
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.waste import Cause, WasteItem
from layerscope.overlay import MergedView, ViewLevel

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted.* attributes need root")

Place = tuple[int, str]


# ---------------------------------------------------------------------- the model
def entries_of(layer: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Everything in a layer's directory, parents first."""
    for folder, folders, files in os.walk(layer):
        for name in sorted(folders + files):
            path = Path(folder, name)
            yield str(path.relative_to(layer)), path, path.lstat()


def attribute(path: Path, key: str) -> bytes | None:
    try:
        return os.getxattr(path, f"trusted.overlay.{key}", follow_symlinks=False)
    except OSError:
        return None


def kind_of(path: Path, stat: os.stat_result) -> str:
    """``whiteout``, ``opaque``, ``dir`` or ``other``, by what overlayfs documents."""
    if modes.S_ISCHR(stat.st_mode) and stat.st_rdev == 0:
        return "whiteout"
    if modes.S_ISREG(stat.st_mode) and not stat.st_size and attribute(path, "whiteout") is not None:
        return "whiteout"
    if modes.S_ISDIR(stat.st_mode):
        return "opaque" if attribute(path, "opaque") == b"y" else "dir"
    return "other"


def without(tree: dict[str, Place], path: str) -> dict[str, Place]:
    return {known: place for known, place in tree.items() if known != path and not known.startswith(f"{path}/")}


def trees_of(layers: list[Path]) -> list[dict[str, Place]]:
    """The non-directories in view after each layer, with the copy that serves each."""
    tree: dict[str, Place] = {}
    found = []
    for number, layer in enumerate(layers, 1):
        for path, place, stat in entries_of(layer):
            kind = kind_of(place, stat)
            if kind == "dir":
                tree.pop(path, None)
            elif number > 1 or kind == "other":
                tree = without(tree, path)
                if kind == "other":
                    tree[path] = (number, path)
        found.append(dict(tree))
    return found


def cause_of(layers: list[Path], held: Place, number: int) -> Cause:
    """Why layer ``number`` hides a copy: the topmost thing on the way to it that does."""
    level, path = held
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        ancestor = "/".join(parts[:count])
        place = layers[number - 1] / ancestor
        if not os.path.lexists(place):
            break
        kind = kind_of(place, place.lstat())
        if kind == "whiteout":
            return Cause.DELETED
        if count == len(parts):
            return Cause.METADATA if same(layers[level - 1] / path, place) else Cause.OVERWRITTEN
        if kind != "dir":
            return Cause.OPAQUE if kind == "opaque" else Cause.OVERWRITTEN
    raise AssertionError("nothing hides it")


def same(one: Path, other: Path) -> bool:
    left, right = one.lstat(), other.lstat()
    if modes.S_IFMT(left.st_mode) != modes.S_IFMT(right.st_mode):
        return False
    if modes.S_ISLNK(left.st_mode):
        return os.readlink(one) == os.readlink(other)
    return modes.S_ISREG(left.st_mode) and one.read_bytes() == other.read_bytes()


def expected(layers: list[Path]) -> tuple[int, int, list[dict[str, tuple[object, ...]]], int]:
    """Paid and visible bytes, hidden items, bytes of content in view again.

    An item is its names with (cause, bytes, level, hidden_by) of each: which name of an inode is told is left open.
    """
    trees = trees_of(layers)
    paid = visible = 0
    items: list[dict[str, tuple[object, ...]]] = []
    contents: Counter[tuple[str, int]] = Counter()
    inodes: dict[tuple[int, int], list[tuple[Place, os.stat_result]]] = {}
    for number, layer in enumerate(layers, 1):
        for path, place, stat in entries_of(layer):
            if kind_of(place, stat) == "other" and (modes.S_ISREG(stat.st_mode) or modes.S_ISLNK(stat.st_mode)):
                inodes.setdefault((number, stat.st_ino), []).append(((number, path), stat))
    for (number, _), names in inodes.items():
        size = names[0][1].st_size
        paid += size
        seen = [held for held, _ in names if trees[-1].get(held[1]) == held]
        if seen:
            visible += size
            if modes.S_ISREG(names[0][1].st_mode) and size:
                digest = hashlib.sha256((layers[number - 1] / seen[0][1]).read_bytes()).hexdigest()
                contents[digest, size] += 1
            continue
        if size:
            choices: dict[str, tuple[object, ...]] = {}
            for held, _ in names:
                hider = next(
                    level for level in range(number + 1, len(layers) + 1) if trees[level - 1].get(held[1]) != held
                )
                choices[held[1]] = (cause_of(layers, held, hider), size, number, hider)
            items.append(choices)
    again = sum(size * (count - 1) for (_, size), count in contents.items())
    return paid, visible, items, again


def view_of(layers: list[Path]) -> MergedView:
    return MergedView(
        [ViewLevel(n, Directory.open_root(layer), str(n), dialect=TRUSTED) for n, layer in enumerate(layers, 1)]
    )


def enrich(layers: list[Path], rng: random.Random) -> None:
    """Copies of lower files with other metadata or the same names, and hard links inside layers."""
    for number, layer in enumerate(layers):
        below = [entry for lower in layers[:number] for entry in entries_of(lower)]
        for path, place, stat in below:
            if not modes.S_ISREG(stat.st_mode) or kind_of(place, stat) != "other":
                continue
            for target, share in ((layer / path, 0.3), ((layer / path).with_name("copied"), 0.1)):
                if rng.random() < share and target.parent.is_dir() and not os.path.lexists(target):
                    shutil.copyfile(place, target)
        own = [entry for entry in entries_of(layer) if kind_of(entry[1], entry[2]) == "other"]
        files = [place for _, place, stat in own if modes.S_ISREG(stat.st_mode)]
        folders = [layer, *(place for place in layer.rglob("*") if place.is_dir() and not place.is_symlink())]
        for place in files:
            target = rng.choice(folders) / rng.choice(("a", "b", "linked"))
            if rng.random() < 0.3 and not os.path.lexists(target):
                os.link(place, target)


def hidden_of(report: WasteReport) -> list[WasteItem]:
    return [item for item in report.items() if item.cause is not Cause.SAME_CONTENT]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("block", range(4))
def test_random_stacks_equal_the_model(tmp_path: Path, block: int) -> None:
    seen: Counter[Cause] = Counter()
    for seed in range(block * 15, block * 15 + 15):
        rng = random.Random(seed)
        layers = [tmp_path / f"{seed}-{number}" for number in range(rng.randint(2, 5))]
        for layer in layers:
            make_layer(layer, rng, marks=())
        enrich(layers, rng)
        paid, visible, hidden, again = expected(layers)
        with measure_waste(view_of(layers)) as report:
            waste = report.waste
            assert (waste.paid_bytes, waste.visible_bytes) == (paid, visible), seed
            found = list(report.items())
            told = hidden_of(report)
            for item in told:
                fact = (item.cause, item.bytes, item.level, item.hidden_by)
                choice = next((choice for choice in hidden if choice.get(item.path) == fact), None)
                assert choice is not None, (seed, item)
                hidden.remove(choice)
            assert not hidden, seed
            assert sum(item.bytes for item in found if item.cause is Cause.SAME_CONTENT) == again, seed
            assert waste.wasted_bytes == paid - visible + again == sum(item.bytes for item in found)
            assert waste.efficiency == (visible / paid if paid else 1.0)
            assert [(one.cause, one.bytes, one.count) for one in waste.causes] == [
                (cause, sum(i.bytes for i in found if i.cause is cause), sum(i.cause is cause for i in found))
                for cause in Cause
            ]
            order = [(-item.bytes, os.fsencode(item.path), -item.level) for item in found]
            assert order == sorted(order)
            seen.update(item.cause for item in found)
    assert all(seen[cause] for cause in Cause), seen


@needs_root
@pytest.mark.root
@pytest.mark.overlayfs
def test_visible_bytes_with_redirects_are_those_of_the_kernels_mount(tmp_path: Path) -> None:
    compared = 0
    for seed in range(200, 240):
        home = tmp_path / str(seed)
        home.mkdir()
        layers, view = make_stack(home, random.Random(seed), marks=("redirect_dir",))
        with kernel_overlay(layers[::-1], home / "merged", "redirect_dir=on") as merged:
            inodes: dict[int, int] = {}
            refused: list[OSError] = []
            for folder, folders, files in os.walk(merged, onerror=refused.append):
                for name in folders + files:
                    try:
                        stat = os.lstat(f"{folder}/{name}")
                    except FileNotFoundError:
                        continue  # listed, but an xattr whiteout
                    if modes.S_ISREG(stat.st_mode) or modes.S_ISLNK(stat.st_mode):
                        inodes[stat.st_ino] = stat.st_size
        assert not refused
        with measure_waste(view, same_content=False) as report:
            assert report.waste.visible_bytes == sum(inodes.values()), seed
        compared += bool(inodes)
    assert compared > 30


# ---------------------------------------------------------------------- single facts
class Stack:
    """Layers written by hand, base first."""

    def __init__(self, home: Path, count: int) -> None:
        self.layers = [home / f"layer{number}" for number in range(1, count + 1)]
        for layer in self.layers:
            layer.mkdir()

    def write(self, level: int, path: str, data: bytes) -> Path:
        place = self.layers[level - 1] / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def whiteout(self, level: int, path: str) -> None:
        place = self.layers[level - 1] / path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(place, modes.S_IFCHR, 0)

    def items(self) -> list[tuple[str, str, int, int, int | None]]:
        with measure_waste(view_of(self.layers)) as report:
            return [(item.path, item.cause.value, item.bytes, item.level, item.hidden_by) for item in report.items()]


@needs_root
@pytest.mark.root
def test_removing_one_name_of_an_inode_frees_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 3)
    os.link(stack.write(1, "a", b"x" * 100), stack.layers[0] / "b")
    stack.whiteout(2, "a")
    assert stack.items() == []
    stack.whiteout(3, "b")
    assert stack.items() == [("a", "deleted", 100, 1, 2)]


@needs_root
@pytest.mark.root
def test_whiteouts_that_are_links_of_one_inode_are_no_files(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 2)
    for name in "ab":
        stack.write(1, name, b"y" * 10 + name.encode())
    stack.whiteout(2, "a")
    os.link(stack.layers[1] / "a", stack.layers[1] / "b")
    assert stack.items() == [("a", "deleted", 11, 1, 2), ("b", "deleted", 11, 1, 2)]


@needs_root
@pytest.mark.root
def test_of_n_copies_all_but_one_count(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 3)
    for level, path in ((1, "one"), (2, "two"), (2, "dir/three"), (3, "dir/two"), (1, "other size")):
        stack.write(level, path, b"z" * (1000 if path != "other size" else 999))
    stack.write(3, "one", b"z" * 1000).chmod(0o600)
    found = stack.items()
    assert [item[:2] for item in found] == [
        ("dir/two", "same-content"),
        ("one", "same-content"),
        ("one", "metadata"),
        ("two", "same-content"),
    ]


@needs_root
@pytest.mark.root
def test_metadata_only_copy_needs_the_same_bytes(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 2)
    stack.write(1, "same", b"q" * 50)
    stack.write(2, "same", b"q" * 50).chmod(0o600)
    stack.write(1, "other", b"q" * 40)
    stack.write(2, "other", b"r" * 40)
    assert stack.items() == [("same", "metadata", 50, 1, 2), ("other", "overwritten", 40, 1, 2)]


@needs_root
@pytest.mark.root
def test_opaque_directory_and_what_an_earlier_level_had_hidden_already(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 4)
    stack.write(1, "d/a", b"1" * 5)
    stack.write(2, "d/a", b"2" * 6)
    stack.write(1, "d/sub/b", b"3" * 7)
    (stack.layers[2] / "d").mkdir()
    os.setxattr(stack.layers[2] / "d", "trusted.overlay.opaque", b"y")
    stack.whiteout(4, "d")
    assert stack.items() == [
        ("d/sub/b", "opaque", 7, 1, 3),
        ("d/a", "opaque", 6, 2, 3),
        ("d/a", "overwritten", 5, 1, 2),
    ]


@needs_root
@pytest.mark.root
def test_hostile_names(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 2)
    names = [b"\xff\xfe", b"new\nline", b"\x1b[31mred", b".wh.name", b" ", b"-rf", b"$(x)"]
    for number, name in enumerate(names, 1):
        stack.write(1, os.fsdecode(name), b"n" * number)
        stack.whiteout(2, os.fsdecode(name))
    assert stack.items() == [
        (os.fsdecode(name), "deleted", number, 1, 2) for number, name in reversed(list(enumerate(names, 1)))
    ]


@needs_root
@pytest.mark.root
def test_a_metacopy_stores_nothing_and_needs_what_is_below(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 2)
    stack.write(1, "file", b"d" * 6000)
    place = stack.write(2, "file", b"")
    os.truncate(place, 6000)
    os.setxattr(place, "trusted.overlay.metacopy", b"")
    with measure_waste(view_of(stack.layers)) as report:
        assert (report.waste.paid_bytes, report.waste.visible_bytes, list(report.items())) == (6000, 6000, [])


@needs_root
@pytest.mark.root
def test_dives_numbers(tmp_path: Path) -> None:
    """By dive's rule: ``big`` 100 and 40 (least 40), ``gone`` 30 and a whiteout (least 0), ``d`` its 7 bytes twice."""
    stack = Stack(tmp_path, 3)
    stack.write(1, "big", b"1" * 100)
    stack.write(1, "gone", b"2" * 30)
    stack.write(1, "d/x", b"3" * 7)
    stack.write(2, "big", b"4" * 40)
    stack.whiteout(2, "gone")
    stack.whiteout(3, "d")
    stack.write(3, "new", b"5" * 60)
    with measure_waste(view_of(stack.layers)) as report:
        dive = report.waste.dive
    least, every = 40 + 0 + 7 + 7 + 60, 140 + 30 + 7 + 7 + 60
    assert dive.efficiency == least / every
    assert dive.wasted_bytes == 140 + 30
    assert dive.wasted_user_percent == (140 + 30) / (40 + 60)


def test_an_empty_stack_is_efficient() -> None:
    with measure_waste(MergedView([])) as report:
        assert (report.waste.paid_bytes, report.waste.efficiency, list(report.items())) == (0, 1.0, [])


def test_a_cancelled_walk_ends(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "d").mkdir(parents=True)
    (layer / "d" / "f").write_bytes(b"1")
    with measure_waste(view_of([layer]), cancelled=lambda: True) as report:
        assert report.waste.paid_bytes == 0


@needs_root
@pytest.mark.root
def test_same_content_however_its_blocks_are_stored(tmp_path: Path) -> None:
    """Zeros that are written and zeros that are a hole are the same bytes; where the data lies counts."""
    stack = Stack(tmp_path, 1)
    data = b"d" * 1000
    for name, start, tail in (("late", 700_000, 300_000), ("early", 100_000, 900_000), ("end", 1_000_000, 0)):
        whole = bytes(start) + data + bytes(tail)
        stack.write(1, f"written-{name}", whole)
        sparse = stack.write(1, f"sparse-{name}", b"")
        with open(sparse, "r+b") as file:
            file.truncate(len(whole))
            file.seek(start)
            file.write(data)
    assert [item[0] for item in stack.items()] == ["written-early", "written-end", "written-late"]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("marked", [False, True], ids=["holes only", "with data at the end"])
def test_huge_sparse_files_take_no_time(tmp_path: Path, marked: bool) -> None:
    stack = Stack(tmp_path, 1)
    for name in ("one", "two"):
        place = stack.write(1, name, b"")
        os.truncate(place, 1 << 41)
        if marked:
            with open(place, "r+b") as file:
                file.seek((1 << 41) - 3)
                file.write(name.encode())
    start = time.monotonic()
    assert [item[:3] for item in stack.items()] == ([] if marked else [("two", "same-content", 1 << 41)])
    stack.layers.append(tmp_path / "layer2")
    stack.layers[1].mkdir()
    os.truncate(stack.write(2, "two", b""), 1 << 41)
    assert ("two", "overwritten" if marked else "metadata", 1 << 41, 1, 2) in stack.items()
    assert time.monotonic() - start < 5
