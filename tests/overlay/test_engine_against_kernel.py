"""The writing engine against the kernel's overlayfs: random operations, same errno, same view, same upper directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]
PROGRAM = Path(__file__).with_name("engine_cases.py")
REFUSALS = Path(__file__).with_name("refusal_cases.py")
PLAIN = Path(__file__).with_name("plain_cases.py")


def run_cases(
    folder: Path, first: int, last: int, *features: str, program: Path = PROGRAM, namespaces: tuple[str, ...] = ()
) -> None:
    """The cases run in a mount namespace in which everything but their folder is read-only."""
    folder = folder.resolve()
    program_words = [sys.executable, str(program), str(folder), str(first), str(last), "40", *features]
    command = ["unshare", *namespaces, "--mount", *program_words]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{last - first} cases, 0 failed" in done.stdout


@pytest.mark.parametrize("block", range(2))
def test_engine_equals_kernel(tmp_path: Path, block: int) -> None:
    run_cases(tmp_path, block * 50, block * 50 + 50)


@pytest.mark.parametrize("feature", ["redirect_dir", "metacopy"])
def test_engine_equals_kernel_with_features(tmp_path: Path, feature: str) -> None:
    run_cases(tmp_path, 500, 530, feature)


@pytest.mark.parametrize("case", ["flags", "names", "links", "read-only"])
def test_engine_refuses_as_the_kernel(tmp_path: Path, case: str) -> None:
    """Flags of chattr(1), names and paths too long, lists that are none, no upper layer: same errno, same upper."""
    command = ["unshare", "--mount", sys.executable, str(REFUSALS), str(tmp_path.resolve()), case]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" operations\n")


def no_user_namespace() -> bool:
    try:
        return subprocess.run(["unshare", "-Ur", "--mount", "true"], capture_output=True, check=False).returncode != 0
    except OSError:
        return True


needs_user_namespace = pytest.mark.skipif(no_user_namespace(), reason="this machine allows no user namespaces")


@needs_user_namespace
def test_engine_equals_kernel_in_a_user_namespace(tmp_path: Path) -> None:
    run_cases(tmp_path, 0, 100, "userxattr", namespaces=("-Ur",))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach; pytest's own are closed to others each time it starts."""
    folder = Path(tempfile.mkdtemp(prefix="layerscope-cases-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_engine_equals_a_plain_directory_without_privilege(open_folder: Path) -> None:
    run_cases(open_folder, 0, 100, program=PLAIN)


@pytest.mark.full
@needs_user_namespace
def test_engine_equals_kernel_in_a_user_namespace_full(tmp_path: Path) -> None:
    run_cases(tmp_path, 30_000, 32_000, "userxattr", namespaces=("-Ur",))


@pytest.mark.full
def test_engine_equals_a_plain_directory_without_privilege_full(open_folder: Path) -> None:
    run_cases(open_folder, 40_000, 42_000, program=PLAIN)


@pytest.mark.full
def test_engine_equals_kernel_full(tmp_path: Path) -> None:
    run_cases(tmp_path, 10_000, 12_000)


@pytest.mark.full
@pytest.mark.parametrize("feature", ["redirect_dir", "metacopy"])
def test_engine_equals_kernel_with_features_full(tmp_path: Path, feature: str) -> None:
    run_cases(tmp_path, 20_000, 20_500, feature)
