"""The writing engine against the kernel's overlayfs: random operations, same errno, same view, same upper directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]
PROGRAM = Path(__file__).with_name("engine_cases.py")


def run_cases(folder: Path, first: int, last: int, *features: str) -> None:
    """The cases run in a mount namespace in which everything but their folder is read-only."""
    folder = folder.resolve()
    command = ["unshare", "--mount", sys.executable, str(PROGRAM), str(folder), str(first), str(last), "40", *features]
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


@pytest.mark.full
def test_engine_equals_kernel_full(tmp_path: Path) -> None:
    run_cases(tmp_path, 10_000, 12_000)


@pytest.mark.full
@pytest.mark.parametrize("feature", ["redirect_dir", "metacopy"])
def test_engine_equals_kernel_with_features_full(tmp_path: Path, feature: str) -> None:
    run_cases(tmp_path, 20_000, 20_500, feature)
