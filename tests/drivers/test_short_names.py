"""What the order of a tall stack costs: each short name is looked up once, though every layer names all below it."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from contextlib import closing
from pathlib import Path

import pytest

from layerscope.drivers.overlay2 import Overlay2
from layerscope.formats.whiteout import TRUSTED
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID

LEVELS = 60


def make_stack(root: Path) -> list[CacheID]:
    """Layers as docker lays them, base first."""
    home = root / "overlay2"
    (home / "l").mkdir(parents=True)
    ids: list[CacheID] = []
    shorts: list[str] = []
    for number in range(LEVELS):
        digest = hashlib.sha256(str(number).encode())
        cache_id, short = CacheID(digest.hexdigest()), b32encode(digest.digest())[:26].decode()
        (home / cache_id / "diff").mkdir(parents=True)
        (home / "l" / short).symlink_to(f"../{cache_id}/diff")
        (home / cache_id / "link").write_text(short)
        if shorts:
            (home / cache_id / "lower").write_text(":".join(f"l/{lower}" for lower in reversed(shorts)))
        ids.append(cache_id)
        shorts.append(short)
    return ids


def test_looks_grow_with_the_layers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = make_stack(tmp_path)
    looks = 0
    for method in ("read", "readlink", "stats"):
        call = getattr(Directory, method)

        def counted(self: Directory, *arguments: object, _call: object = call) -> object:
            nonlocal looks
            looks += 1
            return _call(self, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(Directory, method, counted)
    with closing(Directory.open_root(tmp_path)) as root:
        driver = Overlay2(root, TRUSTED)
        for number, cache_id in enumerate(ids):
            assert driver.layer_problems(cache_id) == []
            assert driver.lower_ids(cache_id) == ids[:number][::-1]
    # The records of each layer, its symlink, and once what its short name means: not LEVELS² of them.
    assert looks <= 10 * LEVELS


def test_a_layer_that_comes_later_is_found(tmp_path: Path) -> None:
    ids = make_stack(tmp_path)
    missing = tmp_path / "overlay2" / ids[3] / "link"
    text = missing.read_text()
    missing.unlink()
    (tmp_path / "overlay2" / "l" / text).unlink()
    with closing(Directory.open_root(tmp_path)) as root:
        assert Overlay2(root, TRUSTED).lower_ids(ids[5]) is None
        missing.write_text(text)
        assert Overlay2(root, TRUSTED).lower_ids(ids[5]) == ids[4::-1]
