"""Records that are no files: each of podman's and containerd's replaced in turn; none is opened, each is named."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import containerd_roots
import podman_roots
import pytest

from layerscope import open_root
from layerscope.services.doctor import examine

SECONDS = 20
LAYERS_OWN = ("/diff", "/fs", "/work", "vfs/dir")
"""Below these lie the files of layers."""
KINDS: dict[str, Callable[[Path, Path], None]] = {
    "FIFO": lambda path, fifo: os.mkfifo(path),
    "symlink": lambda path, fifo: path.symlink_to(fifo),
    "directory": lambda path, fifo: path.mkdir(),
}


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Whoever opens a FIFO for reading waits until somebody writes into it: for ever, here."""

    def over(*_: object) -> None:
        raise TimeoutError("something was waited for")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one_of_each(root: Path) -> list[str]:
    """The paths of records, one of those that differ in identifiers alone."""
    found: dict[str, str] = {}
    for folder, directories, files in os.walk(root):
        place = os.path.relpath(folder, root)
        directories[:] = [one for one in directories if not f"{place}/{one}".endswith(LAYERS_OWN)]
        for name in files:
            path = os.path.normpath(f"{place}/{name}")
            if not (root / path).is_symlink() and (root / path).is_file():
                found.setdefault(re.sub(r"[0-9a-f]{64}|=.*", "*", path), path)
    return sorted(found.values())


def told(root: Path) -> dict[str, str]:
    """What is told of each path."""
    with open_root(root) as session:
        return {one.path.removeprefix(f"{root}/"): one.what for one in examine(session, layers=False)}


def each_is_named(root: Path, fifo: Path, of_engine: int) -> None:
    before = told(root)
    records = one_of_each(root)
    assert len(records) >= of_engine, records
    for path in records:
        for what, make in KINDS.items():
            kept = fifo.with_name("kept")
            (root / path).rename(kept)
            make(root / path, fifo)
            with ends_in_time():
                found = told(root)
            assert path in found, (path, what)
            assert path not in before
            (root / path).rmdir() if what == "directory" else (root / path).unlink()
            kept.rename(root / path)
    assert told(root) == before


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.root
@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_records_of_podman(podman_samples: dict[str, Path], driver: str, tmp_path: Path, fifo: Path) -> None:
    each_is_named(podman_roots.copy(podman_samples[driver], tmp_path / "root"), fifo, 15)


@pytest.mark.root
@pytest.mark.parametrize("place", ["root/docker", "root/containerd", "root-managed/docker", "root-k8s/containerd"])
def test_records_of_containerd(containerd_samples: Path, place: str, tmp_path: Path, fifo: Path) -> None:
    sample, _, half = place.partition("/")
    copy = containerd_roots.copy(containerd_samples / sample, tmp_path / "roots")
    each_is_named(copy / half, fifo, 4)


def test_what_engines_make_is_not_told(podman_samples: dict[str, Path], containerd_samples: Path) -> None:
    """Their own links, sockets, FIFOs and devices are where they belong."""
    containerds = [containerd_samples / name / "containerd" for name in ("root", "root-k8s")]
    for root in (*podman_samples.values(), *containerds):
        with open_root(root) as session:
            rules = {one.rule for one in examine(session, layers=False)}
        assert "record of a strange kind" not in rules
