"""Sample roots, unpacked once, and copies of their records to damage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import containerd_roots
import podman_roots
import pytest
from sample_roots import DATA, truth, unpack


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in this user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("own-cache")))
        yield


@pytest.fixture(scope="session")
def overlay2_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample root ``overlay2``. Shared by all tests: read only."""
    return unpack(DATA / "overlay2" / "root.tar.gz", tmp_path_factory.mktemp("overlay2"))


@pytest.fixture(scope="session")
def buildkit_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample root ``overlay2-buildkit``. Shared by all tests: read only."""
    return unpack(DATA / "overlay2-buildkit" / "root.tar.gz", tmp_path_factory.mktemp("overlay2-buildkit"))


@pytest.fixture(scope="session")
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A sample root by its folder below ``tests/data``, unpacked when it is first asked for. Read only."""
    known = {"overlay2": "overlay2_root", "overlay2-buildkit": "buildkit_root"}
    roots: dict[str, Path] = {}

    def root(sample: str) -> Path:
        if sample in known:
            return request.getfixturevalue(known[sample])  # type: ignore[no-any-return]
        if sample not in roots:
            target = tmp_path_factory.mktemp(sample.replace("/", "-"))
            roots[sample] = unpack(DATA / sample / "root.tar.gz", target)
        return roots[sample]

    return root


@pytest.fixture(scope="session")
def containerd_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples with a containerd store, each in a folder of its own. Shared by all tests: read only."""
    return containerd_roots.unpack_all(tmp_path_factory.mktemp("containerd") / "samples")


@pytest.fixture(scope="session")
def podman_samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The roots of containers/storage by their drivers. Shared by all tests: read only."""
    return podman_roots.unpack_all(tmp_path_factory.mktemp("podman"))


@pytest.fixture
def records_copy(overlay2_root: Path, tmp_path: Path) -> Path:
    """The records of the sample root ``overlay2`` to change at will; its layers are there as empty directories."""
    copy = tmp_path / "root"
    for folder in ("image", "containers", "volumes", "buildkit", "network", "trust"):
        shutil.copytree(overlay2_root / folder, copy / folder)
    for layer in (overlay2_root / "overlay2").iterdir():
        (copy / "overlay2" / layer.name).mkdir(parents=True)
    return copy


@contextmanager
def _nobody() -> Iterator[None]:
    """Be an ordinary user for a while: root's own files of mode 0600 can't be read then."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def nobody() -> Callable[[], AbstractContextManager[None]]:
    """A context in which this process has no privilege."""
    return _nobody


@pytest.fixture
def sample_truth() -> Callable[..., Any]:
    """:func:`truth`, for tests that can't import this file."""
    return truth
