"""Roots made by an attacker: whoever can write a root can put anything in it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_roots import DATA, unpack
from spoiled import SECRET, Answer, Ask, Root

from layerscope.cli.main import run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of this folder need root."""
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker("root")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="device nodes, owners and trusted.* attributes need root"))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """The sample to spoil."""
    outside = tmp_path / "outside"
    for folder in ("diff", "etc"):
        (outside / folder).mkdir(parents=True)
    for name in ("secret", "passwd", "diff/secret", "etc/passwd", "config.v2.json", "link", "lower"):
        (outside / name).write_bytes(SECRET)
    path = unpack(DATA / "overlay2" / "root.tar.gz", tmp_path / "root")
    yield Root(path, outside)
    # By a program that knows no depth that is too deep.
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def ask(root: Root, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """``ask(word, …)``: the answer of a verb on the root; never a traceback, never the secret."""

    def call(*words: str) -> Answer:
        capsysbinary.readouterr()
        started = time.monotonic()
        code = run(["--root", str(root.path), *words])
        captured = capsysbinary.readouterr()
        assert time.monotonic() - started < 20
        assert code in (0, 1, 2, 3), captured
        assert SECRET not in captured.out + captured.err
        assert b"Traceback" not in captured.err and b"internal error" not in captured.err, captured.err
        assert captured.err.count(b"\n") <= 8
        return Answer(code, captured.out, captured.err.decode())

    return call
