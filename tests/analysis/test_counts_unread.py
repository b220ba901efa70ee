"""Counting what a level did where this user may list a directory of a level below, and not look at what is in it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerscope import open_root

CONTAINER = "editor"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a right away from another user")
def test_a_directory_that_may_only_be_listed_costs_what_is_in_it(
    overlay2_root: Path, nobody: Callable[[], Any]
) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder, "root")
        subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        with open_root(root) as session:
            levels = session.levels(session.find(CONTAINER))
            places = [root / session.root.path / str(level.path) / "etc" for level in levels]
        below = [place for place in places[:-1] if place.is_dir()]
        assert below and places[-1].is_dir()
        for place in below:
            place.chmod(0o744)
        name = sorted(os.listdir(below[0]))[0]
        with nobody(), open_root(root) as session:
            with pytest.raises(PermissionError):
                os.lstat(below[0] / name)
            stack = session.stack(session.find(CONTAINER))
            told = [problem for problem in session.problems() if problem.path == "etc"]
    assert len(stack) == len(levels) and all(level.counts is not None for level in stack)
    assert told and all("cannot read this directory" in problem.what for problem in told)
