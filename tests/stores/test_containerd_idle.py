"""Whether the containerd that a docker daemon started for itself names anything: only then are its records read."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from containerd_roots import DATA, META, copy, tear_newest

from layerscope.hostfs import Directory
from layerscope.services.opening.root import open_root
from layerscope.stores.containerd.idle import is_idle

DATABASE = f"containerd/daemon/{META}"


@pytest.fixture
def with_idle(records_copy: Path) -> Path:
    """A root of a graph driver whose daemon started a containerd of its own."""
    database = records_copy / DATABASE
    database.parent.mkdir(parents=True)
    database.write_bytes(gzip.decompress((DATA / "idle/meta.db.gz").read_bytes()))
    return records_copy


def idle(docker: Path) -> bool:
    root = Directory.open_root(docker)
    try:
        return is_idle(root)
    finally:
        root.close()


def test_one_that_names_nothing_is_idle(with_idle: Path) -> None:
    assert idle(with_idle)


@pytest.mark.parametrize("sample", ["root/containerd", "root-k8s/containerd", "root-managed/docker/containerd/daemon"])
def test_one_that_names_images_is_not(with_idle: Path, containerd_samples: Path, sample: str) -> None:
    shutil.copy(containerd_samples / sample / META, with_idle / DATABASE)
    assert not idle(with_idle)


def test_one_that_cannot_be_read_may_name_something(with_idle: Path) -> None:
    database = with_idle / DATABASE
    whole = database.read_bytes()
    tear_newest(database, both=True)
    assert not idle(with_idle)
    database.write_bytes(whole + bytes(1 << 20))
    assert not idle(with_idle), "longer than any that names nothing"
    for damaged in (b"", whole[:4096], whole[:8192]):
        database.write_bytes(damaged)
        assert not idle(with_idle)
    database.unlink()
    assert not idle(with_idle)
    database.symlink_to("/dev/null")
    assert not idle(with_idle)


def test_an_idle_one_is_told_and_changes_nothing_else(with_idle: Path) -> None:
    with open_root(with_idle) as session:
        found, features = session.info(), session.info().features
        names = [container.container.name for container in session.containers(sizes=False)]
    shutil.rmtree(with_idle / "containerd")
    with open_root(with_idle) as session:
        expected = session.info()
        assert names == [container.container.name for container in session.containers(sizes=False)]
    assert set(features) - set(expected.features) == {"containerd/daemon (a containerd root of its own)"}
    assert (found.drivers, found.counts, found.problems) == (expected.drivers, expected.counts, expected.problems)


def test_only_one_that_names_something_is_read(with_idle: Path, containerd_samples: Path, tmp_path: Path) -> None:
    """Told by what is loaded: the modules that read containerd's records."""
    script = (
        "import sys; from layerscope import open_root; open_root(sys.argv[1]).close(); "
        "sys.exit(10 + ('layerscope.stores.containerd.metadata' in sys.modules))"
    )

    def ended(root: Path) -> int:
        return subprocess.run([sys.executable, "-c", script, str(root)], timeout=60, check=False).returncode

    assert ended(with_idle) == 10
    managed = copy(containerd_samples / "root-managed/docker", tmp_path / "managed")
    assert ended(managed) == 11
    shutil.copy(managed / DATABASE, with_idle / DATABASE)
    assert ended(with_idle) == 11
