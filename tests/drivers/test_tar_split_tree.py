"""Layers whose files are lost, shown from the records of their tars: against the intact root, and against GNU tar."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import shutil
import stat as modes
import subprocess
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layerscope import open_root
from layerscope.drivers.tar_split_tree import TarSplitDirectory, TarSplitTree
from layerscope.errors import UnsupportedError
from layerscope.formats.whiteout import NAMES
from layerscope.hostfs import Directory
from layerscope.model.level import LayerKind
from layerscope.model.tree import ContentsAbsent, LayerDirectory
from layerscope.overlay import MergedView, ViewLevel
from layerscope.services import Session

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices of the samples are lost without root")
IMAGES = {"aufs": "lab/b:1"}
HOMES = {"overlay2": "overlay2", "vfs": "vfs/dir", "overlay": "overlay", "aufs": "aufs/diff"}


# ---------------------------------------------------------------------- a layer that is lost
def told(session: Session, image: str) -> dict[Any, tuple[Any, ...]]:
    """All that is said of every entry of an image, seen or hidden, but for what only a file on disk has."""
    found = {}
    for entry in session.entries(session.find(image), recursive=True, hidden=True):
        stat = entry.stat
        found[entry.path, entry.level] = (
            None if entry.state == "whiteout" else stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            None if entry.is_dir else stat.st_size,
            None if entry.state == "whiteout" else stat.st_mtime_ns // 1_000_000_000,
            entry.state,
            entry.level_below,
            entry.hidden,
            entry.hidden_by,
            entry.target,
            entry.link_to,
            dict(entry.xattrs or {}) if entry.state != "whiteout" else None,
        )
    return found


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("sample", ["overlay2", "overlay", "vfs", "aufs"])
def test_a_lost_layer_is_shown_by_its_names(sample: str, unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """Whichever layer it is: names, owners, levels and states are those of the intact root, and so are the counts."""
    intact = unpacked(sample)
    image = IMAGES.get(sample, "layerscope/app:1.0")
    with open_root(intact) as session:
        levels = session.levels(session.find(image))
        wanted = told(session, image)
        counts = [level.counts for level in session.stack(session.find(image))]
    for level in levels:
        root = tmp_path / str(level.number)
        shutil.copytree(intact / "image", root / "image")
        shutil.copytree(intact / "containers", root / "containers")
        subprocess.run(["cp", "-a", str(intact / HOMES[sample].split("/")[0]), str(root)], check=True)
        shutil.rmtree(root / HOMES[sample] / str(level.cache_id))
        with open_root(root) as session:
            subject = session.find(image)
            assert told(session, image) == wanted, level.number
            assert [level.counts for level in session.stack(subject)] == counts
            problems = [problem for problem in session.problems() if f"level {level.number}" in problem.what]
            assert [problem.effect for problem in problems] == ["its files are shown by name, not their bytes"]
            snapshots = sample in ("overlay", "vfs")
            for (path, number), facts_ in wanted.items():
                seen = number == level.number and not facts_[7]
                if seen and modes.S_ISREG(facts_[0]) and (not snapshots or number == len(levels)):
                    with pytest.raises(UnsupportedError, match="contents can't be read"):
                        session.open_file(subject, "/" + path)


@pytest.mark.root
@needs_root
def test_a_lost_layer_without_a_record_is_left_out(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(unpacked("overlay2")), str(root)], check=True)
    with open_root(root) as session:
        level = session.levels(session.find("layerscope/app:1.0"))[1]
    shutil.rmtree(root / "overlay2" / str(level.cache_id))
    chain = str(level.chain_id).removeprefix("sha256:")
    (root / f"image/overlay2/layerdb/sha256/{chain}/tar-split.json.gz").unlink()
    with open_root(root) as session:
        entries = list(session.entries(session.find("layerscope/app:1.0"), recursive=True))
        assert 2 not in {entry.level for entry in entries}
        assert any(problem.effect == "its files are not shown" for problem in session.problems())


# ---------------------------------------------------------------------- trees of tars
def record(tar: bytes) -> bytes:
    """A tar-split record of a tar, cut where tarfile says that contents lie."""
    lines: list[dict[str, Any]] = []
    last = 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for member in opened:
            lines.append(segment(tar[last : member.offset_data]))
            size = member.size if member.isreg() else 0
            name = member.name + ("/" if member.isdir() else "")
            entry = {"type": 1, "name_raw": base64.b64encode(os.fsencode(name)).decode(), "size": size}
            lines.append(entry | {"payload": base64.b64encode(bytes(8)).decode() if size else None})
            last = member.offset_data + size
    lines.append(segment(tar[last:]))
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines), 1)


def segment(payload: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(payload).decode()}


def tree_of(data: bytes, why: str = "they are lost") -> TarSplitTree:
    return TarSplitTree(partial(io.BytesIO, data), why, -1)


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for key, value in {"mtime": 1_700_000_000, "mode": 0o755, **facts}.items():
        setattr(info, key, value)
    return info, b"x" * size


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def facts(directory: LayerDirectory, folder: str = "") -> dict[str, tuple[Any, ...]]:
    """Everything below a directory; inodes by the first name that each has."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    pending = [(directory, folder)]
    while pending:
        here, path = pending.pop()
        for name, kind in sorted(here.scan()):
            stat = here.stat(name)
            full = f"{path}/{name}".lstrip("/")
            is_folder = modes.S_ISDIR(stat.st_mode)
            found[full] = (
                kind,
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
                0 if is_folder else stat.st_size,
                stat.st_mtime_ns,
                stat.st_rdev,
                "" if is_folder else first.setdefault(stat.st_ino, full),
                0 if is_folder else stat.st_nlink,
                here.readlink(name) if kind == "l" else "",
            )
            if is_folder:
                pending.append((here.enter(name), full))
    return found


def random_members(rng: random.Random) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A tar as docker writes them: directories before what is in them, links after their files; names come twice.

    A link says of its file what that says itself: else GNU tar keeps the first header's facts, and docker the last's.
    """
    folders, used = [""], set()
    files: dict[str, dict[str, int]] = {}
    members = [member(".", tarfile.DIRTYPE, mode=0o711)]
    for _ in range(rng.randint(5, 40)):
        path = f"{rng.choice(folders)}{rng.choice('abcdefgh')}{rng.randint(0, 9)}"
        if path in used:
            continue
        used.add(path)
        owner = {"uid": rng.choice((0, 1000, 3_000_000)), "gid": rng.choice((0, 50)), "mtime": rng.randint(1, 2**31)}
        dice = rng.random()
        if dice < 0.3:
            folders.append(path + "/")
            members.append(member(path, tarfile.DIRTYPE, mode=rng.choice((0o755, 0o1777, 0o700)), **owner))
        elif dice < 0.6:
            files[path] = {"mode": rng.choice((0o644, 0o4755)), **owner}
            members.append(member(path, size=rng.choice((0, 1, 600)), **files[path]))
        elif dice < 0.75 and files:
            linked = rng.choice(list(files))
            members.append(member(path, tarfile.LNKTYPE, linkname=linked, **files[linked]))
        elif dice < 0.85:
            target = rng.choice(("x", "/a/ü", "../" * 9))
            members.append(member(path, tarfile.SYMTYPE, linkname=target, mode=0o777, **owner))
        elif dice < 0.95:
            members.append(member(path, tarfile.FIFOTYPE, **owner))
        else:
            members.append(member(path, tarfile.CHRTYPE, devmajor=1, devminor=rng.randint(1, 9), **owner))
    return members


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("seed", range(25))
def test_it_is_the_tree_that_gnu_tar_unpacks(tmp_path: Path, seed: int) -> None:
    tar = tar_of(*random_members(random.Random(seed)))
    (tmp_path / "tree").mkdir()
    command = ["tar", "-xf", "-", "-p", "--numeric-owner", "--delay-directory-restore", "-C", str(tmp_path / "tree")]
    subprocess.run(command, input=tar, check=True)
    assert facts(tree_of(record(tar)).top()) == facts(Directory.open_root(tmp_path / "tree"))


def names(tree: TarSplitTree) -> set[str]:
    return set(facts(tree.top()))


def test_directories_that_the_tar_doesnt_have_are_made_up() -> None:
    found = facts(tree_of(record(tar_of(member("a/b/file", size=3)))).top())
    assert {path: (entry[0], oct(entry[1])) for path, entry in found.items()} == {
        "a": ("d", "0o40755"),
        "a/b": ("d", "0o40755"),
        "a/b/file": ("f", "0o100755"),
    }


def test_the_last_entry_of_a_name_counts_and_a_directory_keeps_its_members() -> None:
    tree = tree_of(
        record(
            tar_of(
                member("d", tarfile.DIRTYPE),
                member("d/x"),
                member("d", tarfile.DIRTYPE, mode=0o700),
                member("f", size=1),
                member("f", size=5),
            )
        )
    )
    found = facts(tree.top())
    assert (set(found), oct(found["d"][1]), found["f"][4]) == ({"d", "d/x", "f"}, "0o40700", 5)


def test_no_name_leads_out_and_bookkeeping_of_aufs_is_left_out() -> None:
    tar = tar_of(
        member("../../etc/passwd"),
        member("/abs"),
        member(".wh..wh.plnk", tarfile.DIRTYPE),
        member(".wh..wh.aufs"),
        member("d/.wh..wh..opq"),
        member("d/.wh.gone"),
    )
    assert names(tree_of(record(tar))) == {"etc", "etc/passwd", "abs", "d", "d/.wh..wh..opq", "d/.wh.gone"}


def test_its_marks_count_in_a_stack() -> None:
    lower = tree_of(record(tar_of(member("d/old"), member("d/other"), member("gone"), member("e/old"))))
    upper = tree_of(record(tar_of(member(".wh.gone"), member("d/.wh..wh..opq"), member("d/new"), member("e/.wh.old"))))
    levels = [ViewLevel(n, tree.top(), str(n), LayerKind.DIFF, NAMES) for n, tree in enumerate((lower, upper), 1)]
    seen = {d.path_of(name) for d, listed in MergedView(levels).walk() for name, *_ in listed}
    assert seen == {"d", "d/new", "e"}


def test_there_are_no_contents_and_it_says_why() -> None:
    top = tree_of(record(tar_of(member("file", size=3), member("d", tarfile.DIRTYPE))), "the pool is away").top()
    with pytest.raises(ContentsAbsent, match="the pool is away"):
        top.open("file")
    with pytest.raises(IsADirectoryError):
        top.open("d")
    for name in ("nothing", "file/nothing"):
        with pytest.raises(OSError, match=r"no such entry|not a directory"):
            top.enter(name).scan()
    assert top.stats(["nothing"]) == [None]


def test_a_record_that_is_cut_off_is_told_and_its_beginning_is_shown() -> None:
    data = record(tar_of(*(member(f"file{number}", size=600) for number in range(2000))))
    tree, said = tree_of(data[: len(data) * 2 // 3]), []
    tree.tell = said.append
    assert 0 < len(names(tree)) < 2000
    assert len(said) == 1
    for nothing in (b"", b"no gzip at all"):
        with pytest.raises(OSError, match="record of the layer's tar"):
            tree_of(nothing).top().scan()


def test_impossible_times_are_those_that_docker_sets() -> None:
    info, _ = member("file")
    info.pax_headers = {"mtime": "9223372036854775807"}
    assert tree_of(record(tar_of((info, b"")))).top().stat("file").st_mtime_ns == 0


def test_a_deep_tree_costs_no_stack_and_little_time() -> None:
    tree = tree_of(record(tar_of(member("d/" * 1900 + "file"), member("e/" * 30_000 + "file"))))
    view = MergedView([ViewLevel(1, tree.top(), "1", LayerKind.DIFF, NAMES)])
    start = time.monotonic()
    assert sum(len(listed) for _, listed in view.walk()) == 1901
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("seeds", [range(300), pytest.param(range(300, 10_300), marks=pytest.mark.full)])
def test_damaged_records(seeds: range) -> None:
    """Mutations at random: an OSError, or a tree that can be walked."""
    good = gzip.decompress(record(tar_of(*random_members(random.Random(7)))))
    for seed in seeds:
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[place] = rng.randrange(256)
            else:
                del data[place : place + rng.randint(1, 60)]
        top: TarSplitDirectory = tree_of(gzip.compress(bytes(data), 1)).top()
        try:
            facts(top)
        except OSError:
            continue
