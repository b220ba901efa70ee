"""What damage leaves of an answer is what the exit code says.

1: there is an answer, and beside it what is damaged; 3: what was asked for can't be read, and nothing is written;
4: a file that was to be written is refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import containerd_roots
import pytest
from thin_samples import unpacked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices of the samples need root")

RECORDS = "image/overlay2"
APP = "8151edbac7a37c6423525f91495a3ee538cc89191961f039a6901af584c57c30"
EDITOR = "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e"
IMAGE, CONTAINER = f"image:{APP}", f"container:{EDITOR}"

Damage = Callable[[Path], object]


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def config(root: Path) -> Path:
    return root / RECORDS / "imagedb/content/sha256" / APP


def chains(root: Path) -> list[Path]:
    """The records of the layers below the container, base first."""
    found: list[Path] = []
    parent = root / RECORDS / "layerdb/mounts" / EDITOR / "parent"
    while parent.exists():
        found.append(root / RECORDS / "layerdb/sha256" / parent.read_text().strip().removeprefix("sha256:"))
        parent = found[-1] / "parent"
    return found[::-1]


def lose_layers(root: Path, count: int) -> None:
    """The directories of the lowest layers, and the records of their tars."""
    for chain in chains(root)[:count]:
        remove(root / "overlay2" / (chain / "cache-id").read_text().strip())
        (chain / "tar-split.json.gz").unlink()


def mount_id(root: Path) -> str:
    return (root / RECORDS / "layerdb/mounts" / EDITOR / "mount-id").read_text().strip()


DAMAGES: dict[str, Damage] = {
    "none": lambda root: None,
    "a config that is no JSON": lambda root: config(root).write_text("{"),
    "no config": lambda root: config(root).unlink(),
    "a config that is a directory": lambda root: (config(root).unlink(), config(root).mkdir()),
    "no base layer": lambda root: lose_layers(root, 1),
    "no layers": lambda root: lose_layers(root, 9),
    "no writable layer": lambda root: remove(root / "overlay2" / mount_id(root)),
    "no mount record": lambda root: remove(root / RECORDS / "layerdb/mounts" / EDITOR),
}
UNREADABLE_CONFIGS = [name for name in DAMAGES if "config" in name]

OF_AN_IMAGE = (
    "history I|stack I|ls I|cat I:/etc/motd|blame I:/etc/motd|explain I:/etc/motd|find motd I|waste I|diff I C|"
    "export I -o OUT|extract I:/etc OUT|cp I:/etc/motd OUT"
)
CODES: list[tuple[str, str, int]] = [
    ("none", OF_AN_IMAGE, 0),
    ("none", "cat I:/nowhere|blame I:/nowhere|explain I:/nowhere|ls I:/nowhere|extract I:/nowhere OUT", 2),
    *((name, OF_AN_IMAGE, 3) for name in UNREADABLE_CONFIGS),
    *((name, "inspect I|inspect C|images|info|verify I|doctor|ls C|cat C:/etc/motd", 1) for name in UNREADABLE_CONFIGS),
    *((name, "save I -o OUT", 4) for name in UNREADABLE_CONFIGS),
    ("no base layer", "ls I|stack I|export I -o OUT|diff I C|find motd I|waste I|verify I|cat I:/etc/motd", 1),
    ("no base layer", "cat I:/bin/tl|blame I:/bin/tl|explain I:/bin/tl|ls I:/bin|extract I:/bin OUT", 3),
    ("no base layer", "save I -o OUT", 4),
    ("no layers", "ls I|export I -o OUT|diff I C|find motd I|waste I|cat I:/etc/motd|extract I:/ OUT", 3),
    ("no layers", "stack I|verify I|ls C", 1),
    ("no layers", "inspect I|inspect C", 0),
    ("no writable layer", "diff C|cat C:/data/sub/new|blame C:/data/sub/new", 3),
    ("no writable layer", "ls C|stack C|cat C:/bin/tl|export C -o OUT|diff I C", 1),
    ("no mount record", "diff C|cat C:/data/sub/new|explain C:/data/sub/new", 3),
    ("no mount record", "ls C|stack C|inspect C|ps", 1),
]


def asked(ask: Any, root: Path, words: str, out: Path) -> Any:
    """The answer, which must be there and whole, or not there at all."""
    found = [word.replace("OUT", str(out)) for word in words.split()]
    answer = ask(*found, root=root)
    assert answer.code < 3 or (answer.out == b"" and not out.exists() and answer.err.count("\n") == 1), answer
    return answer


@pytest.mark.parametrize(("damage", "questions", "code"), CODES, ids=lambda value: str(value)[:40])
def test_damage_of_a_docker_root(
    ask: Any, overlay2_root: Path, tmp_path: Path, damage: str, questions: str, code: int
) -> None:
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
    DAMAGES[damage](root)
    found = {}
    for number, question in enumerate(questions.split("|")):
        words = " ".join(
            word.replace("I", IMAGE, 1)
            if word[:1] == "I"
            else word.replace("C", CONTAINER, 1)
            if word[:1] == "C"
            else word
            for word in question.split()
        )
        found[question] = asked(ask, root, words, tmp_path / f"out{number}").code
    assert found == dict.fromkeys(found, code)


# ---------------------------------------------------------------------- archives
@pytest.fixture(scope="module")
def archive(overlay2_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from layerscope.cli.main import run

    target = tmp_path_factory.mktemp("archive") / "app.tar"
    assert run(["save", "layerscope/app:1.0", "-o", str(target), "--root", str(overlay2_root)]) == 0
    return target


ARCHIVE_VERBS = (
    "info|images|history X|inspect X|stack X|ls X|cat X:/etc/motd|find motd|waste X|verify|doctor|"
    "export X -o OUT|save X -o OUT"
)


@pytest.mark.parametrize("question", ARCHIVE_VERBS.split("|"))
def test_an_archive_that_is_cut_short(ask: Any, archive: Path, tmp_path: Path, question: str) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:100_000])
    words = question.replace("X", "layerscope/app:1.0")
    assert asked(ask, archive, words, tmp_path / "whole").code == 0
    assert asked(ask, cut, words, tmp_path / "out").code == 3


def test_a_layer_of_an_archive_that_is_damaged(ask: Any, archive: Path, tmp_path: Path) -> None:
    """Its first entry is whole, what comes behind it is lost."""
    import tarfile

    data = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        layers = [member for member in tar if member.isreg() and member.size > 5000]
        assert layers
        for member in layers:
            data[member.offset_data + 1536 : member.offset_data + 2048] = b"\xff" * 512
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(data)
    name = "layerscope/app:1.0"
    assert asked(ask, damaged, f"ls {name}", tmp_path / "out").code == 1
    for verb in ("cat", "blame", "explain"):
        assert asked(ask, damaged, f"{verb} {name}:/bin/tl", tmp_path / "out").code == 3


# ---------------------------------------------------------------------- scans
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: data, 0),
        (lambda data: data[:-7], 3),
        (lambda data: data[: len(data) // 2], 3),
        (lambda data: data + b"x", 3),
        (lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :], 3),
        (lambda data: b"no scan at all\n", 2),
        (lambda data: b"", 2),
    ],
)
def test_a_damaged_scan(
    ask: Any, overlay2_root: Path, tmp_path: Path, damage: Callable[[bytes], bytes], code: int
) -> None:
    scan, damaged = tmp_path / "one.scan", tmp_path / "other.scan"
    assert ask("scan", "-o", str(scan), root=overlay2_root).code == 0
    damaged.write_bytes(damage(scan.read_bytes()))
    for pair in ((scan, damaged), (damaged, scan)):
        answer = ask("diff-scan", *map(str, pair))
        assert (answer.code, answer.out == b"") == (code, code != 0)


# ---------------------------------------------------------------------- other stores
def test_a_containerd_root_without_records_of_snapshots(ask: Any, containerd_samples: Path, tmp_path: Path) -> None:
    containerd_roots.copy(containerd_samples / "root", tmp_path / "root")
    (tmp_path / "root/containerd" / containerd_roots.SNAPSHOTTER / "metadata.db").unlink()
    root, name, out = tmp_path / "root/docker", "demo/app:also", tmp_path / "out"
    for question in (f"ls {name}", f"export {name} -o OUT", f"find sh {name}", f"waste {name}", f"diff {name} run1"):
        assert asked(ask, root, question, out).code == 3
    for question in ("diff run1", "ls run1", "cat run1:/bin/sh"):
        assert asked(ask, root, question, out).code == 3
    for question in ("images", "info", f"stack {name}", f"inspect {name}", "inspect run1"):
        assert asked(ask, root, question, out).code == 1


@pytest.mark.parametrize("database", [containerd_roots.META, f"{containerd_roots.SNAPSHOTTER}/metadata.db"])
def test_a_containerd_root_whose_databases_are_damaged(
    ask: Any, containerd_samples: Path, tmp_path: Path, database: str
) -> None:
    containerd_roots.copy(containerd_samples / "root", tmp_path / "root")
    containerd_roots.tear_newest(tmp_path / "root/containerd" / database, both=True)
    for question in ("images", "ps", "info", "doctor", "inspect run1", "stack run1"):
        assert asked(ask, tmp_path / "root/docker", question, tmp_path / "out").code == 1


@pytest.mark.parametrize("size", [0, 8192])
def test_a_pool_whose_metadata_is_damaged(ask: Any, tmp_path: Path, size: int) -> None:
    root = unpacked("ext4", tmp_path / "root")
    os.truncate(root / "devicemapper/devicemapper/metadata", size)
    for question in ("blocks c1", "blocks c1 5", "diff c1", "cat c1:/bin/busybox"):
        assert asked(ask, root, question, tmp_path / "out").code == 3
    assert asked(ask, root, "save lab/a:1 -o OUT", tmp_path / "out").code == 4
    for question in ("stack c1", "doctor", "info"):
        assert asked(ask, root, question, tmp_path / "out").code == 1
