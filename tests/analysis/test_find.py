"""The search for names against what lies in the layers' directories, and a naive model of what is in view."""

from __future__ import annotations

import os
import random
import stat as modes
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from random_layers import make_layer

from layerscope.analysis.find.names import Hit, Run, find_runs
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.entry import EntryState
from layerscope.model.found import Wanted
from layerscope.overlay import MergedView, ViewLevel

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted.* attributes need root"),
]


def every(folder: str, names: Collection[str]) -> Iterable[str]:
    return names


def view_of(layers: list[Path]) -> MergedView:
    return MergedView(
        [ViewLevel(n, Directory.open_root(layer), layer.name, dialect=TRUSTED) for n, layer in enumerate(layers, 1)]
    )


def find_entries(views: Sequence[MergedView], wanted: Wanted) -> Iterator[Hit]:
    """What is found, one by one."""
    for found in find_runs(views, wanted):
        if isinstance(found, Run):
            yield from found.hits()
        else:
            yield found


def stored(layer: Path) -> set[str]:
    """Everything in a directory, by walking it."""
    return {
        str(Path(folder, name).relative_to(layer))
        for folder, folders, files in os.walk(layer)
        for name in folders + files
    }


def is_whiteout(path: Path) -> bool:
    stat = path.lstat()
    if modes.S_ISCHR(stat.st_mode) and stat.st_rdev == 0:
        return True
    return modes.S_ISREG(stat.st_mode) and "trusted.overlay.whiteout" in os.listxattr(path)


def in_view(layers: list[Path]) -> set[str]:
    """The paths in view, directories too: layer after layer is laid over what was there before."""
    seen: dict[str, bool] = {}
    for number, layer in enumerate(layers):
        for path in sorted(stored(layer), key=lambda path: path.split("/")):
            place = layer / path
            if is_whiteout(place):
                replaced, kept = True, False
            else:
                is_folder = place.is_dir() and not place.is_symlink()
                opaque = is_folder and _opaque(place) == b"y"
                replaced, kept = not is_folder or (opaque and number > 0) or seen.get(path) is False, True
            if replaced:
                seen = {known: kind for known, kind in seen.items() if not f"{known}/".startswith(f"{path}/")}
            if kept:
                seen[path] = place.is_dir() and not place.is_symlink()
    return set(seen)


def _opaque(path: Path) -> bytes | None:
    return os.getxattr(path, "trusted.overlay.opaque") if "trusted.overlay.opaque" in os.listxattr(path) else None


def places(hits: Iterable[Hit]) -> list[tuple[int, str]]:
    return [(hit.entry.level, hit.entry.path) for hit in hits]


@pytest.mark.parametrize("block", range(3))
def test_random_stacks(tmp_path: Path, block: int) -> None:
    gone_somewhere = 0
    for seed in range(block * 15, block * 15 + 15):
        rng = random.Random(seed)
        layers = [tmp_path / f"{seed}-{number}" for number in range(1, rng.randint(2, 5))]
        for layer in layers:
            make_layer(layer, rng, marks=())
        view = view_of(layers)
        hits = list(find_entries([view], Wanted(every)))
        everything = {(number, path) for number, layer in enumerate(layers, 1) for path in stored(layer)}
        assert Counter(places(hits)) == Counter(everything), seed
        order = [(os.fsencode(hit.entry.path), -hit.entry.level) for hit in hits]
        assert order == sorted(order), seed
        for hit in hits:
            assert hit.entry.stat.st_ino == (layers[hit.entry.level - 1] / hit.entry.path).lstat().st_ino

        seen = in_view(layers)
        ghosts = {path for _, path in everything if any(_ghost(layer / path) for layer in layers)}
        deleted = {
            (number, path)
            for number, path in everything
            if path not in seen and not is_whiteout(layers[number - 1] / path)
        }
        found = set(places(find_entries([view], Wanted(every, deleted=True))))
        assert {place for place in found if place[1] not in ghosts} == {
            place for place in deleted if place[1] not in ghosts
        }, seed
        gone_somewhere += len(deleted)
        visible = {path for _, path in places(find_entries([view], Wanted(every, visible=True)))}
        assert visible - ghosts == seen - ghosts, seed
    assert gone_somewhere > 50


def _ghost(path: Path) -> bool:
    """An xattr whiteout in a directory that doesn't announce such: listed by the kernel, but not there."""
    return os.path.lexists(path) and is_whiteout(path) and _opaque(path.parent) != b"x" and path.is_file()


def test_layers_shared_by_stacks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    layers = [tmp_path / str(number) for number in range(6)]
    for layer in layers:
        make_layer(layer, rng, marks=())
    base, second, *tops = layers
    stacks = [[base], [base, second], *([base, second, top] for top in tops)]
    reads: Counter[tuple[int, int]] = Counter()
    scan = Directory.scan

    def counted(directory: Directory) -> object:
        stat = directory.stat_self()
        reads[stat.st_dev, stat.st_ino] += 1
        return scan(directory)

    monkeypatch.setattr(Directory, "scan", counted)
    hits = list(find_entries([view_of(stack) for stack in stacks], Wanted(every)))
    folders = {
        (stat.st_dev, stat.st_ino)
        for layer in layers
        for stat in (layer.lstat(), *((layer / path).lstat() for path in stored(layer)))
        if modes.S_ISDIR(stat.st_mode)
    }
    assert reads == dict.fromkeys(folders, 1)
    assert Counter(hit.entry.path for hit in hits) == Counter(path for layer in layers for path in stored(layer))
    for hit in hits:
        named = {number for number, stack in enumerate(stacks) if len(stack) >= hit.entry.level}
        if hit.entry.level < 3:
            assert set(hit.stacks) == named
        else:
            assert len(hit.stacks) == 1


def test_a_path_gone_in_one_stack_only(tmp_path: Path) -> None:
    base, top = tmp_path / "base", tmp_path / "top"
    base.mkdir()
    top.mkdir()
    (base / "file").write_bytes(b"x")
    os.mknod(top / "file", modes.S_IFCHR, 0)
    views = [view_of([base]), view_of([base, top])]
    (hit,) = find_entries(views, Wanted(every, deleted=True))
    assert (hit.entry.path, hit.entry.level, hit.entry.hidden_by, hit.stacks, hit.gone) == ("file", 1, 2, (1,), True)
    hits = list(find_entries(views, Wanted(every)))
    assert [(hit.entry.level, hit.entry.hidden, hit.stacks) for hit in hits] == [(2, True, (1,)), (1, False, (0, 1))]


def test_filters(tmp_path: Path) -> None:
    base, top = tmp_path / "base", tmp_path / "top"
    base.mkdir()
    top.mkdir()
    (base / "tool").write_bytes(b"#!" * 10)
    (base / "tool").chmod(0o4755)
    (base / "group").write_bytes(b"g")
    (base / "group").chmod(0o2755)
    (base / "ping").write_bytes(b"p" * 30)
    os.chown(base / "ping", 5, 6)  # which drops capabilities
    os.setxattr(base / "ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.symlink("tool", base / "link")
    os.mkfifo(base / "pipe")
    (top / "tool").write_bytes(b"#?" * 10)
    (top / "group").write_bytes(b"g")
    os.mknod(top / "pipe", modes.S_IFCHR, 0)
    view = view_of([base, top])

    def found(wanted: Wanted) -> list[tuple[int, str]]:
        return places(find_entries([view], wanted))

    assert found(Wanted(every, setuid=True)) == [(1, "tool")]
    assert found(Wanted(every, setgid=True)) == [(1, "group")]
    assert found(Wanted(every, capabilities=True)) == [(1, "ping")]
    assert found(Wanted(every, uid=5)) == found(Wanted(every, gid=6)) == [(1, "ping")]
    assert found(Wanted(every, types=frozenset({"symlink"}))) == [(1, "link")]
    assert found(Wanted(every, types=frozenset({"fifo"}))) == [(1, "pipe")]
    assert found(Wanted(every, types=frozenset({"char"}))) == []
    assert found(Wanted(every, types=frozenset({"whiteout"}))) == [(2, "pipe")]
    assert found(Wanted(every, sizes=(21, None))) == [(1, "ping")]
    assert found(Wanted(every, sizes=(20, 20))) == [(2, "tool"), (1, "tool")]
    assert found(Wanted(every, sizes=(None, 1))) == [(2, "group"), (1, "group"), (1, "pipe")]
    assert found(Wanted(every, states=frozenset({EntryState.MODIFIED}))) == [(2, "tool")]
    assert found(Wanted(every, states=frozenset({EntryState.METADATA}))) == [(2, "group")]
    assert found(Wanted(every, states=frozenset({EntryState.WHITEOUT}))) == [(2, "pipe")]
    assert found(Wanted(every, deleted=True)) == [(1, "pipe")]


def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer" / "closed").mkdir(parents=True)
    view = view_of([tmp_path / "layer"])
    scan = Directory.scan

    def refused(directory: Directory) -> object:
        if directory.path.endswith("closed"):
            raise PermissionError(13, "no")
        return scan(directory)

    monkeypatch.setattr(Directory, "scan", refused)
    assert places(find_entries([view], Wanted(every))) == [(1, "closed")]
    assert [problem.path for problem in view.problems] == ["closed"]


def test_deeper_than_any_stack_of_calls(tmp_path: Path) -> None:
    top = tmp_path / "layer"
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    wanted = Wanted(lambda folder, names: [name for name in names if name == "bottom"])
    (hit,) = find_entries([view_of([top])], wanted)
    assert hit.entry.path == "d/" * 1500 + "bottom"
    subprocess.run(["rm", "-rf", str(top)], check=True)  # pytest's own clean-up goes down by recursion


def test_what_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    for folder in ("a", "b", "c"):
        (layer / folder).mkdir(parents=True)
        (layer / folder / "file").write_bytes(b"x")

    def select(folder: str, names: Collection[str]) -> Iterable[str]:
        if folder == "b":
            (layer / "b" / "file").unlink()
            (layer / "b").rmdir()
            (layer / "c" / "file").unlink()
        return names

    view = view_of([layer])
    assert places(find_entries([view], Wanted(select))) == [(1, "a"), (1, "a/file"), (1, "b"), (1, "c")]
    assert view.problems == []
