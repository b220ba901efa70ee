"""What the storage drivers of docker say of layers that are damaged, missing, or not where they used to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tree_facts
from sample_roots import truth

from layerscope import open_root
from layerscope.errors import UnsupportedError
from layerscope.services import Session

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices of the samples are lost without root"),
]
Copied = Callable[[str], Path]


@pytest.fixture
def copied(unpacked: Copied, tmp_path: Path) -> Copied:
    """A sample root to change at will."""

    def copy(sample: str) -> Path:
        subprocess.run(["cp", "-a", str(unpacked(sample)), str(tmp_path / sample)], check=True)
        return tmp_path / sample

    return copy


def cache_ids(root: Path, name: str) -> list[str]:
    """Of each level, base first."""
    with open_root(root) as session:
        return [str(level.cache_id) for level in session.levels(session.find(name))]


def told(session: Session) -> list[tuple[str, str]]:
    """Path and text of every problem, after everything was looked at."""
    return [(problem.path, problem.what) for problem in session.info().problems]


# ---------------------------------------------------------------------- overlay
@pytest.mark.parametrize("damage", ["missing", "empty", "wrong"])
def test_overlay_without_a_lower_id(copied: Copied, damage: str) -> None:
    """The container is shown over the image that the layer records name."""
    root = copied("overlay")
    *_, init, upper = cache_ids(root, "editor")
    record = root / "overlay" / upper / "lower-id"
    record.unlink()
    if damage != "missing":
        record.write_text("" if damage == "empty" else init)
    with open_root(root) as session:
        wanted = tree_facts.of_export_truth(truth("overlay", "export")["editor"])
        assert tree_facts.of_session(session, session.find("editor")) == wanted
        assert [path for path, _ in told(session)] == [f"overlay/{upper}/lower-id"]
        changes = session.changes(session.find("editor"))
        assert {f"{change.kind} /{change.path}" for change in changes} == set(truth("overlay", "diff")["editor"])


def test_overlay_without_contents(copied: Copied) -> None:
    root = copied("overlay")
    *_, upper = cache_ids(root, "editor")
    shutil.rmtree(root / "overlay" / upper / "upper")
    with open_root(root) as session:
        assert (f"overlay/{upper}", "contents missing: neither root nor upper") in told(session)
        with pytest.raises(UnsupportedError, match="writable layer of editor can't be read"):
            session.changes(session.find("editor"))
        usage = next(usage for usage in session.containers() if usage.container.name == "editor")
        assert usage.size_rw is None


# ---------------------------------------------------------------------- vfs
def test_vfs_without_a_layer(copied: Copied) -> None:
    root = copied("vfs")
    base, *_, upper = cache_ids(root, "editor")
    for gone in (base, upper):
        shutil.rmtree(root / "vfs/dir" / gone)
    with open_root(root) as session:
        assert {(f"vfs/dir/{gone}", "contents missing") for gone in (base, upper)} <= set(told(session))
        names = {entry.path for entry in session.entries(session.find("layerscope/app:1.0"), recursive=True)}
        assert "bin/tl" in names
        with pytest.raises(UnsupportedError, match="writable layer of editor can't be read"):
            session.changes(session.find("editor"))
        assert next(usage for usage in session.containers() if usage.container.name == "editor").size_rw is None


# ---------------------------------------------------------------------- aufs
def test_aufs_mounts_what_its_own_record_says(copied: Copied) -> None:
    """The order of ``layers/`` wins over that of the layer records, and that is told."""
    root = copied("aufs")
    base, second, third, init, upper = cache_ids(root, "c1")
    record = root / "aufs/layers" / upper
    assert record.read_text().split() == [init, third, second, base]
    record.write_text("\n".join([init, second, third, base]) + "\n")
    with open_root(root) as session:
        assert [level.cache_id for level in session.levels(session.find("c1"))] == [base, third, second, init, upper]
        assert [path for path, _ in told(session)] == [f"aufs/layers/{upper}"]


@pytest.mark.parametrize("text", [None, "../../etc\n", "0" * 64 + "\n"], ids=["missing", "no name", "names nothing"])
def test_aufs_with_a_damaged_record(copied: Copied, text: str | None) -> None:
    root = copied("aufs")
    ids = cache_ids(root, "c1")
    record = root / "aufs/layers" / ids[-1]
    record.unlink()
    if text is not None:
        record.write_text(text)
    with open_root(root) as session:
        found = told(session)
        assert {path for path, _ in found} == {f"aufs/layers/{ids[-1]}"}
        if text is None or ".." in text:
            assert [str(level.cache_id) for level in session.levels(session.find("c1"))] == ids


def test_aufs_without_a_layer(copied: Copied) -> None:
    root = copied("aufs")
    _, second, *_ = cache_ids(root, "lab/a:1")
    shutil.rmtree(root / "aufs/diff" / second)
    with open_root(root) as session:
        assert f"aufs/diff/{second}" in {path for path, _ in told(session)}


# ---------------------------------------------------------------------- zfs
@contextmanager
def mounted(point: Path) -> Iterator[Path]:
    """An empty file system of its own."""
    point.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "dataset", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_zfs_without_its_pool_says_so_once(unpacked: Copied) -> None:
    with open_root(unpacked("zfs")) as session:
        problems = session.info().problems
        assert [(problem.path, problem.severity) for problem in problems] == [("zfs/graph", "warning")]
        assert "pool" in problems[0].what and "mount" in problems[0].hint
        levels = session.stack(session.find("c1"))
        assert [(str(level.level.role), level.size is None) for level in levels] == [
            ("rw", True),
            ("init", True),
            *[("image", False)] * 3,
        ]


def test_zfs_with_mounted_datasets(copied: Copied) -> None:
    """A mounted dataset is a whole tree, an empty one too; what isn't mounted is known by name."""
    root = copied("zfs")
    base, *_ = cache_ids(root, "lab/base:1")
    with mounted(root / "zfs/graph" / base) as point:
        with open_root(root) as session:
            assert list(session.entries(session.find("lab/base:1"), "/")) == []
        (point / "hello").write_text("text")
        with open_root(root) as session:
            assert [entry.path for entry in session.entries(session.find("lab/base:1"), "/")] == ["hello"]
            with session.open_file(session.find("lab/base:1"), "/hello") as file:
                assert file.read() == b"text"
            names = {entry.path for entry in session.entries(session.find("lab/a:1"), recursive=True)}
            assert "hello" in names and "opt/app/hello.txt" in names
            with pytest.raises(UnsupportedError, match="ZFS pool"):
                session.open_file(session.find("lab/a:1"), "/opt/app/hello.txt")


def test_files_that_were_copied_to_the_mount_points_of_zfs(copied: Copied) -> None:
    """The trees of another driver's root, put where datasets are mounted, are whole trees too."""
    root = copied("vfs")
    (root / "zfs").mkdir()
    (root / "vfs/dir").rename(root / "zfs/graph")
    (root / "image/vfs").rename(root / "image/zfs")
    for config in root.glob("containers/*/config.v2.json"):
        config.write_text(json.dumps({**json.loads(config.read_text()), "Driver": "zfs"}))
    with open_root(root) as session:
        assert session.driver == "zfs"
        for name, listed in truth("vfs", "export").items():
            assert tree_facts.of_session(session, session.find(name)) == tree_facts.of_export_truth(listed)
        assert told(session) == []
