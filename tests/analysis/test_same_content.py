"""Files of the same content, and that those of one directory are read together, whatever their sizes."""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from layerscope.analysis.waste import same_content
from layerscope.analysis.waste.same_content import Same, find_same
from layerscope.hostfs import Directory

FOLDERS = 40
FILES = 30


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """Files of a few sizes and contents in many directories, below one another and beside."""
    rng = random.Random(7)
    for number in range(FOLDERS):
        folder = tmp_path / f"top{number % 4}" / f"folder{number}"
        folder.mkdir(parents=True)
        for name in range(FILES):
            size = rng.choice((3, 5, 700, 70_000))
            (folder / f"file{name}").write_bytes(bytes([rng.randrange(3)]) * (size - 1) + bytes([rng.randrange(3)]))
    return tmp_path


def rows_of(layer: Path) -> list[tuple[int, int, bytes]]:
    paths = (Path(folder, name) for folder, _, names in os.walk(layer) for name in names)
    return sorted((path.stat().st_size, 1, os.fsencode(path.relative_to(layer))) for path in paths)


def test_every_copy_but_the_first_is_told(layer: Path) -> None:
    alike: dict[str, list[bytes]] = defaultdict(list)
    for _, _, path in rows_of(layer):
        alike[hashlib.sha256((layer / os.fsdecode(path)).read_bytes()).hexdigest()].append(path)
    expected = {(path, min(paths)) for paths in alike.values() for path in paths if path != min(paths)}
    with closing(Directory.open_root(layer)) as root:
        found = list(find_same(rows_of(layer), {1: root}, []))
    assert {(one.path, one.first_path) for one in found} == expected
    assert all(isinstance(one, Same) for one in found)


def test_a_directory_is_entered_once_for_all_its_files(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = 0
    call = Directory.enter

    def counted(self: Directory, name: str) -> Directory:
        nonlocal entered
        entered += 1
        return call(self, name)

    monkeypatch.setattr(Directory, "enter", counted)
    rows = [row for row in rows_of(layer) if row[0] <= same_content._LONG]
    with closing(Directory.open_root(layer)) as root:
        list(find_same(rows, {1: root}, []))
    assert entered <= FOLDERS + 4


def test_what_no_counted_level_holds_is_not_read(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    call = same_content.content_digest

    def counted(directory: Directory, name: str, limit: int | None = None) -> bytes:
        read.append(name)
        return call(directory, name, limit)

    monkeypatch.setattr(same_content, "content_digest", counted)
    rows = sorted((size, -1, path) for size, _, path in rows_of(layer))
    own = (3, 1, b"top0/folder0/file0")
    with closing(Directory.open_root(layer)) as root:
        list(find_same(sorted([*rows, own]), {1: root, -1: root}, [], counted=lambda level: level > 0))
    assert len(read) == sum(size == 3 for size, _, _ in rows) + 1
