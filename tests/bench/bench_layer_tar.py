"""``layer pack`` and ``unpack`` beside ``tar`` and ``sha256sum`` over the same bytes (pytest -m bench -s)."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from layerscope.formats.engine_rules import rules_of
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer.pack import LayerTar, pack
from layerscope.lab.layer.unpack import unpack
from layerscope.lab.layer.upper import CommitRules
from layerscope.lab.root.abilities import abilities_in

pytestmark = pytest.mark.bench
RULES = CommitRules(rules_of("24"))
SIZE = 1_000_000_000


def seconds(action: Callable[[], object], rounds: int = 2) -> float:
    """The best of a few."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def record() -> TarSplitWriter:
    return TarSplitWriter(io.BytesIO(), empty_last_segment=False)


def test_large_files_take_no_more_than_twice_the_tools(tmp_path: Path) -> None:
    upper, tar = tmp_path / "upper", tmp_path / "layer.tar"
    upper.mkdir()
    with (upper / "large").open("wb") as file:
        for _ in range(SIZE // 10_000_000):
            file.write(os.urandom(10_000_000))
    top = Directory.open_root(upper)
    counter = iter(range(100))

    def to_file() -> None:
        with tar.open("wb", buffering=0) as file:
            pack(top, RULES, file.write, record=record())

    def made() -> Path:
        folder = tmp_path / f"layer{next(counter)}"
        folder.mkdir()
        return folder

    def from_file() -> None:
        with tar.open("rb") as file:
            unpack(file, made(), abilities, record=record())

    def commit() -> None:
        unpack(LayerTar(top, RULES).open(), made(), abilities, record=record())

    def shell(line: str) -> Callable[[], object]:
        return lambda: subprocess.run(line, shell=True, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)

    abilities = abilities_in(tmp_path)
    hashed = seconds(shell("tar -C upper -cf - . | sha256sum"))
    written = seconds(shell("tar -C upper -cf tools.tar . && sha256sum tools.tar"))
    read = seconds(shell("mkdir -p x && tar -C x -xf tools.tar && sha256sum tools.tar"))
    times = {
        "diff ID alone": (seconds(lambda: pack(top, RULES)), hashed),
        "tar and record": (seconds(to_file), written),
        "unpack and record": (seconds(from_file), read),
        "commit: pack, unpack, record": (seconds(commit), written),
    }
    for name, (ours, tools) in times.items():
        print(f"\n{name}: {ours:.2f} s, tools {tools:.2f} s, {ours / tools:.2f} times", end="")
    assert all(ours <= 2 * tools for ours, tools in times.values())
