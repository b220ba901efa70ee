"""An image whose loading was cut off: what an engine has on disk when it is killed while it unpacks a layer.

The layers below are there and stay; of the last one there are a driver directory with some of its files, the record
that was being written, and nothing that names either.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

_WRITE_SET = "write-set-482913377"


def cut_off(root: Path, image: str, name: str) -> None:
    """Bring the image of this id and name back to the middle of its loading; no engine may be running."""
    records = root / "image/overlay2"
    content = records / "imagedb/content/sha256" / image.removeprefix("sha256:")
    chain = _top_chain(records / "layerdb/sha256", json.loads(content.read_text())["rootfs"]["diff_ids"])
    cache_id = (chain / "cache-id").read_text()
    content.unlink()
    _forget_name(records / "repositories.json", name)
    _half_written(chain, records / "layerdb/tmp" / _WRITE_SET)
    _half_unpacked(root / "overlay2" / cache_id / "diff")


def _top_chain(chains: Path, diff_ids: list[str]) -> Path:
    """The record of an image's last layer: the one of that diff ID which stands on as many as there are."""
    for chain in chains.iterdir():
        if (chain / "diff").read_text() == diff_ids[-1] and _depth(chains, chain) == len(diff_ids):
            return chain
    raise ValueError(f"no layer has the diff ID {diff_ids[-1]}")


def _depth(chains: Path, chain: Path) -> int:
    depth = 1
    while (chain / "parent").exists():
        chain = chains / (chain / "parent").read_text().removeprefix("sha256:")
        depth += 1
    return depth


def _forget_name(path: Path, name: str) -> None:
    names = json.loads(path.read_text())
    repository = name.rpartition(":")[0]
    del names["Repositories"][repository][name]
    path.write_text(json.dumps(names, separators=(",", ":")))


def _half_written(chain: Path, write_set: Path) -> None:
    """Only the first file of a write-set is written while the layer is being unpacked."""
    tar_split = (chain / "tar-split.json.gz").read_bytes()
    write_set.mkdir(0o700)
    (write_set / "tar-split.json.gz").write_bytes(tar_split[: len(tar_split) // 2])
    shutil.rmtree(chain)


def _half_unpacked(diff: Path) -> None:
    """Drop what comes last in the order of unpacking, and cut the file before it."""
    files = []
    for folder, directories, names in os.walk(diff):
        directories.sort()
        files += [Path(folder, name) for name in names]
    files.sort(key=lambda path: path.parts)
    middle = len(files) // 3
    for path in files[middle + 1 :]:
        path.unlink()
    size = files[middle].stat().st_size
    os.truncate(files[middle], size // 2)
