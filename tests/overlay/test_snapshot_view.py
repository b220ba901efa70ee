"""Views over whole trees: which level did what, against a comparison of every file of every tree.

The trees are random stacks of layers, merged by the kernel and copied out, each level as a tree of its own. What is
expected is made from these trees alone, path by path, without any of the shortcuts that a view takes.
"""

from __future__ import annotations

import os
import random
import stat as modes
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from random_layers import kernel_overlay, make_stack

from layerscope.analysis.blame import sightings
from layerscope.analysis.changes.views import docker_change_bytes, docker_changes, exact_changes
from layerscope.analysis.counts import level_counts
from layerscope.formats.whiteout import TRUSTED, UNMARKED
from layerscope.hostfs import Directory
from layerscope.model.entry import Entry, EntryState
from layerscope.model.level import LayerKind
from layerscope.overlay import MergedView, ViewLevel, describe_directory, entries, merged_view, own_entries

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and keeping owners in copies needs root"),
]


class Seen(NamedTuple):
    """One entry of one tree, with all that may differ. Of a directory the size says nothing."""

    kind: int
    metadata: tuple[object, ...]
    mtime_ns: int
    content: object


Tree = dict[str, Seen]


def whole_tree(top: Path) -> Tree:
    found: Tree = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in xattr_names(path)}
            content: object = stat.st_rdev
            if modes.S_ISLNK(stat.st_mode):
                content = os.readlink(path)
            elif modes.S_ISREG(stat.st_mode):
                content = Path(path).read_bytes()
            metadata = (stat.st_mode, stat.st_uid, stat.st_gid, sorted(xattrs.items()))
            found[os.path.relpath(path, top)] = Seen(modes.S_IFMT(stat.st_mode), metadata, stat.st_mtime_ns, content)
    return found


def xattr_names(path: str) -> list[str]:
    return [key for key in os.listxattr(path, follow_symlinks=False) if not key.startswith("trusted.overlay.")]


class World:
    """Random snapshots on disk, the view over them, and what is in each tree."""

    def __init__(self, home: Path, seed: int, hard_links: bool) -> None:
        rng = random.Random(seed)
        home.mkdir()
        layers, _ = make_stack(home, rng, marks=())
        empty = home / "empty"
        empty.mkdir()
        self.trees: list[Tree] = [{}]
        self.tops: list[Path] = []
        for number in range(1, len(layers) + 1):
            top = home / f"snapshot{number}"
            with kernel_overlay([*layers[:number][::-1], empty], home / "merged", "index=off") as merged:
                # The kernel lists some names that it doesn't have: whiteouts in directories that aren't merged.
                subprocess.run(["cp", "-a", str(merged), str(top)], check=False, stderr=subprocess.DEVNULL)
            self.trees.append(whole_tree(top))
            if hard_links and number > 1:
                self._link_unchanged(number)
            self.tops.append(top)
        levels = [
            ViewLevel(number, Directory.open_root(top), str(top), LayerKind.SNAPSHOT, UNMARKED)
            for number, top in enumerate(self.tops, 1)
        ]
        self.view = merged_view(levels)

    def _link_unchanged(self, number: int) -> None:
        """Make unchanged files links of the tree below, as the first overlay driver does."""
        before, after = self.trees[number - 1 :]
        for path, seen in after.items():
            if seen.kind == modes.S_IFREG and before.get(path) == seen:
                folder = self.tops[-1].parent / f"snapshot{number}" / os.path.dirname(path)
                times = os.stat(folder)
                place = folder / os.path.basename(path)
                place.unlink()
                os.link(self.tops[-1] / path, place)
                os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))

    # ------------------------------------------------------------------ what must come out
    def touched(self, number: int, path: str) -> bool:
        """Whether a level changed the entry itself."""
        return self.trees[number].get(path) != self.trees[number - 1].get(path)

    def origin(self, number: int, path: str) -> int:
        """The highest level up to ``number`` that changed the entry."""
        return max(level for level in range(1, number + 1) if self.touched(level, path))

    def state(self, level: int, path: str) -> tuple[EntryState, int | None]:
        """What ``level``, which changed it, did to the entry, and which level's copy it replaced."""
        before, after = self.trees[level - 1].get(path), self.trees[level][path]
        if level == 1:
            return EntryState.PLAIN, None
        if before is None:
            return EntryState.ADDED, None
        below = self.origin(level - 1, path)
        if before.kind != after.kind or before.content != after.content:
            return EntryState.MODIFIED, below
        if before.metadata != after.metadata:
            return EntryState.METADATA, below
        is_directory = after.kind == modes.S_IFDIR
        return (EntryState.UNCHANGED if is_directory else EntryState.METADATA), below

    def visible(self, number: int, folder: str) -> set[tuple[object, ...]]:
        """Path, level, state and replaced level of all entries of a directory at a level."""
        return {
            (path, level, *self.state(level, path))
            for path in self.trees[number]
            if os.path.dirname(path) == folder
            for level in [self.origin(number, path)]
        }

    def gone(self, number: int, folder: str) -> set[tuple[object, ...]]:
        """Path, level, state, and the level that hides it: what isn't seen in a directory that is.

        A name that was taken away while the directory was there is a whiteout. What was in it before it was something
        else, or nothing, is hidden by the level that put an end to it.
        """
        was = [is_folder(tree, folder) for tree in self.trees]
        gaps = [level for level in range(1, number) if not was[level]]
        since = max(gaps, default=0) + 1
        ended = next((level for level in range(since - 1, 0, -1) if was[level - 1] and not was[level]), None)
        found: set[tuple[object, ...]] = set()
        for path in {path for tree in self.trees[:number] for path in tree if os.path.dirname(path) == folder}:
            hider = None
            for level in range(number if path not in self.trees[number] else 0, 0, -1):
                here, below = self.trees[level].get(path), self.trees[level - 1].get(path) if was[level - 1] else None
                if not was[level] or (here is None and below is None):
                    continue
                if here is None:
                    if hider is None and level >= since:
                        hider = level
                        found.add((path, level, EntryState.WHITEOUT, level))
                    elif level < since:
                        found.add((path, level, EntryState.WHITEOUT, hider or ended))
                elif here != below:
                    found.add((path, level, self.plain(level), hider or ended))
        return found

    @staticmethod
    def plain(level: int) -> EntryState:
        return EntryState.PLAIN if level == 1 else EntryState.ADDED

    def within(self, level: int, path: str) -> bool:
        """Whether a level changed anything in or below a directory."""
        paths = self.trees[level].keys() | self.trees[level - 1].keys()
        return any(other.startswith(path + "/") and self.touched(level, other) for other in paths)


def is_folder(tree: Tree, path: str) -> bool:
    return not path or (path in tree and tree[path].kind == modes.S_IFDIR)


def folders(tree: Tree) -> Iterator[str]:
    yield ""
    yield from (path for path, seen in tree.items() if seen.kind == modes.S_IFDIR)


def told(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.level, entry.state, entry.level_below


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.full)])
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    """Every other one with hard links between its trees."""
    home = tmp_path_factory.mktemp("worlds")
    seeds = range(14) if request.param == "few" else range(100, 400)
    return [World(home / str(seed), seed, bool(seed % 2)) for seed in seeds]


def test_every_entry_is_its_makers(worlds: list[World]) -> None:
    compared = 0
    for world in worlds:
        for number in range(1, len(world.tops) + 1):
            view = world.view.cut(number)
            for folder in folders(world.trees[number]):
                directory = view.directory(folder)
                found = entries(directory)
                wanted = world.visible(number, folder)
                assert {told(entry) for entry in found} == wanted, (number, folder)
                compared += len(found)
                for entry in found:
                    assert entry.stat.st_ino == os.lstat(world.tops[number - 1] / entry.path).st_ino
                if folder and (world.state(world.origin(number, folder), folder)[0] is not EntryState.MODIFIED):
                    one = next(
                        entry for entry in entries(view.directory(os.path.dirname(folder))) if entry.path == folder
                    )
                    assert told(describe_directory(directory)) == told(one)
    assert compared > 500


def test_what_is_gone_is_told_with_who_took_it_away(worlds: list[World]) -> None:
    compared = 0
    for world in worlds:
        for number in range(1, len(world.tops) + 1):
            view = world.view.cut(number)
            for folder in folders(world.trees[number]):
                hidden = [entry for entry in entries(view.directory(folder), hidden=True) if entry.hidden]
                found = {(entry.path, entry.level, entry.state, entry.hidden_by) for entry in hidden}
                assert found == world.gone(number, folder), (number, folder)
                compared += len(found)
    assert compared > 50


def test_what_a_level_did_alone(worlds: list[World]) -> None:
    """The entries it changed, the names it removed, and the directories in which it did so, however deep."""
    for world in worlds:
        for number in range(2, len(world.tops) + 1):
            view = world.view.cut(number)
            for folder in folders(world.trees[number]):
                before, after = world.trees[number - 1], world.trees[number]
                here = {path for path in before.keys() | after.keys() if os.path.dirname(path) == folder}
                wanted = {path for path in here & after.keys() if world.touched(number, path)}
                within = {
                    path
                    for path in here & after.keys() - wanted
                    if after[path].kind == modes.S_IFDIR and world.within(number, path)
                }
                removed = here & before.keys() - after.keys()
                if not is_folder(before, folder):
                    removed = set()
                own = own_entries(view.directory(folder))
                assert {entry.path for entry in own if not entry.hidden} == wanted | within, (number, folder)
                assert {entry.path for entry in own if entry.hidden} == removed
                for entry in own:
                    if entry.path in within:
                        assert (entry.state, entry.level_below) == (
                            EntryState.UNCHANGED,
                            world.origin(number - 1, entry.path),
                        )


def test_counts(worlds: list[World]) -> None:
    for world in worlds:
        for number in range(1, len(world.tops) + 1):
            states = [world.state(number, path)[0] for path in world.trees[number] if world.touched(number, path)]
            removed = [
                path
                for path in world.trees[number - 1].keys() - world.trees[number].keys()
                if is_folder(world.trees[number], os.path.dirname(path))
            ]
            counts = level_counts(world.view, number)
            assert (counts.added, counts.modified, counts.metadata, counts.deleted, counts.opaque) == (
                sum(state in (EntryState.PLAIN, EntryState.ADDED) for state in states),
                states.count(EntryState.MODIFIED),
                states.count(EntryState.METADATA),
                len(removed),
                0,
            )


def test_the_life_of_every_path(worlds: list[World]) -> None:
    for world in worlds:
        links = {path for tree in world.trees for path, seen in tree.items() if seen.kind == modes.S_IFLNK}
        for path in set().union(*world.trees):
            if any(path.startswith(link + "/") for link in links):
                continue  # at some level it is another path
            wanted = []
            for level in range(1, len(world.trees)):
                before, after = world.trees[level - 1].get(path), world.trees[level].get(path)
                if after is not None and world.touched(level, path):
                    wanted.append((level, True))
                elif after is None and before is not None:
                    wanted.append((level, False))
            found = [(sighting.level, sighting.sight is not None) for sighting in sightings(world.view, path)]
            assert found == wanted, path


def naive_lines(old: Tree, new: Tree) -> list[str]:
    """Additions with all members, deletions without, ancestors of changes as changed; a directory's time is nothing."""
    changes = dict.fromkeys(new.keys() - old.keys(), "A")
    for path in new.keys() & old.keys():
        one, other = old[path], new[path]
        if one.kind == modes.S_IFDIR:
            one, other = one._replace(mtime_ns=0), other._replace(mtime_ns=0)
        if one != other:
            changes[path] = "C"
    for path in old.keys() - new.keys():
        if is_folder(new, os.path.dirname(path)):
            changes[path] = "D"
    for path in list(changes):
        while path := os.path.dirname(path):
            changes.setdefault(path, "C")
    return sorted((f"{letter} /{path}" for path, letter in changes.items()), key=lambda line: os.fsencode(line[2:]))


def test_changes_between_any_two_levels(worlds: list[World]) -> None:
    for world in worlds:
        count = len(world.tops)
        for old in range(1, count + 1):
            for new in range(1, count + 1):
                found = exact_changes(world.view.cut(old), world.view.cut(new))
                assert [f"{change.kind} /{change.path}" for change in found] == naive_lines(
                    world.trees[old], world.trees[new]
                ), (old, new)
                for change in found:
                    if change.reason == "ancestor":
                        continue
                    if change.kind != "D":
                        assert change.level == world.origin(new, change.path)
                    if change.kind != "A":
                        assert change.level_below == world.origin(old, change.path)


def test_bytes_of_docker_changes(worlds: list[World]) -> None:
    """Every inode once, though a listing of changes has all its names."""
    for world in worlds:
        old, new = world.view.cut(len(world.tops) - 1), world.view
        lines = [change for change in docker_changes(old, new) if change.kind != "D"]
        stats = {os.lstat(world.tops[-1] / change.path) for change in lines}
        inodes = {stat.st_ino: 0 if modes.S_ISDIR(stat.st_mode) else stat.st_size for stat in stats}
        assert docker_change_bytes(old, new) == sum(inodes.values())


def test_only_shows_what_one_level_made(worlds: list[World]) -> None:
    for world in worlds:
        number = len(world.tops)
        wanted = {
            path
            for path, seen in world.trees[number].items()
            if world.touched(number, path) or (seen.kind == modes.S_IFDIR and world.within(number, path))
        }
        shown = {directory.path_of(name) for directory, listed in world.view.only(number).walk() for name, *_ in listed}
        assert shown == wanted


def read(view: MergedView, path: str) -> bytes:
    with view.open(path) as file:
        return file.read()


# ---------------------------------------------------------------------- layers of changes over a whole tree
def test_a_container_over_its_image_and_not_over_its_init_layer(tmp_path: Path) -> None:
    """As the first overlay driver mounts it: the upper begins as a copy of the init layer's."""
    image, init, upper = tmp_path / "image", tmp_path / "init", tmp_path / "upper"
    for folder in (image / "etc", image / "data", init / "etc", init / "dev"):
        folder.mkdir(parents=True)
    (image / "etc/motd").write_text("hello")
    (image / "data/gone").write_text("12345")
    (init / "etc/hosts").touch()
    subprocess.run(["cp", "-a", str(init), str(upper)], check=True)
    (upper / "etc/motd").write_text("changed")
    (upper / "data").mkdir()
    os.mknod(upper / "data/gone", modes.S_IFCHR, os.makedev(0, 0))
    levels = [
        ViewLevel(1, Directory.open_root(image), "image", LayerKind.SNAPSHOT, UNMARKED),
        ViewLevel(2, Directory.open_root(init), "init", LayerKind.DIFF, TRUSTED, over=1),
        ViewLevel(3, Directory.open_root(upper), "upper", LayerKind.DIFF, TRUSTED, over=1),
    ]
    view = merged_view(levels)
    facts = {entry.path: (entry.level, entry.state, entry.level_below) for entry in entries(view.directory("etc"))}
    assert facts == {"etc/hosts": (2, EntryState.ADDED, None), "etc/motd": (3, EntryState.MODIFIED, 1)}
    assert [(e.name, e.level, e.hidden_by) for e in entries(view.directory("data"), hidden=True)] == [
        ("gone", 3, 3),
        ("gone", 1, 3),
    ]
    lines = [(str(c.kind), c.path, c.level, c.level_below) for c in docker_changes(view.cut(2), view)]
    assert lines == [
        ("C", "data", 3, 1),
        ("D", "data/gone", 3, 1),
        ("C", "etc", 3, 2),
        ("C", "etc/motd", 3, 1),
    ]
    assert docker_change_bytes(view.cut(2), view) == len("changed")
    assert (read(view.cut(2), "etc/motd"), read(view, "etc/motd")) == (b"hello", b"changed")


@pytest.mark.parametrize("drops_attributes", [False, True])
def test_attributes_that_a_copy_has_lost(tmp_path: Path, drops_attributes: bool) -> None:
    """Nobody took them away where the driver's own copies lose them; what is new or other was done by somebody."""
    given = {"lost": {"user.a": b"1"}, "kept": {"user.a": b"1"}, "other": {"user.a": b"1"}, "new": {}, "file": {}}
    given["capable"] = {"security.capability": b"\1\0\0\2" + bytes(16)}
    later = {**given, "lost": {}, "other": {"user.a": b"2"}, "new": {"user.b": b""}, "capable": {}}
    levels = []
    for number, attributes in enumerate((given, later), 1):
        top = tmp_path / str(number)
        top.mkdir()
        for name, pairs in attributes.items():
            (top / name).touch()
            for key, value in pairs.items():
                os.setxattr(top / name, key, value)
            os.utime(top / name, ns=(1, 1))
        directory = Directory.open_root(top)
        level = ViewLevel(number, directory, str(number), LayerKind.SNAPSHOT, UNMARKED, None, drops_attributes)
        levels.append(level)
    changed = {entry.name for entry in entries(merged_view(levels).root) if entry.level == 2}
    assert changed == {"other", "new", "capable"} | (set() if drops_attributes else {"lost"})


def test_equal_facts_are_taken_for_equal_contents(tmp_path: Path) -> None:
    """Reading every file of every tree is what a view over snapshots must never do; docker doesn't either."""
    levels = []
    for number, text in enumerate(("one", "two"), 1):
        top = tmp_path / str(number)
        top.mkdir()
        (top / "file").write_text(text)
        os.utime(top / "file", ns=(1, 1))
        os.utime(top, ns=(1, 1))
        levels.append(ViewLevel(number, Directory.open_root(top), str(number), LayerKind.SNAPSHOT, UNMARKED))
    view = merged_view(levels)
    assert [entry.level for entry in entries(view.root)] == [1]
    assert exact_changes(view.cut(1), view) == []
    assert read(view, "file") == b"two"
    strangers = (
        MergedView(levels[:1]),
        merged_view([ViewLevel(1, levels[1].top, "other", LayerKind.SNAPSHOT, UNMARKED)]),
    )
    assert [change.path for change in exact_changes(*strangers)] == ["file"]
