"""Sample roots, unpacked once, and copies of their records to damage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"


def unpack(archive: Path, target: Path) -> Path:
    """``archive`` unpacked by GNU tar into ``target``: all of it as root, else without owners and xattrs."""
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "-xf", str(archive), "-C", str(target)]
    if os.geteuid() == 0:
        subprocess.run([*command, "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*"], check=True)
    else:
        # Device nodes other than whiteouts are refused without privilege; the records are what counts then.
        subprocess.run([*command, "--no-same-owner"], check=False, stderr=subprocess.DEVNULL)
        assert (target / "image").is_dir(), f"{archive} could not be unpacked"
    return target


def truth(sample: str, name: str, folder: str = "truth") -> Any:
    """What the engine itself answered about a sample: ``name`` without ``.json``."""
    return json.loads((DATA / sample / folder / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def overlay2_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample root ``overlay2``. Shared by all tests: read only."""
    return unpack(DATA / "overlay2" / "root.tar.gz", tmp_path_factory.mktemp("overlay2"))


@pytest.fixture(scope="session")
def buildkit_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample root ``overlay2-buildkit``. Shared by all tests: read only."""
    return unpack(DATA / "overlay2-buildkit" / "root.tar.gz", tmp_path_factory.mktemp("overlay2-buildkit"))


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
