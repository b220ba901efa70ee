"""An image whose loading was cut off: what an engine has on disk when it is killed while it unpacks a layer.

The layers below are there and stay; of the last one there are a driver directory with some of its files, the record
that was being written, and nothing that names either.
"""

from __future__ import annotations

import os

from layerscope.lab.image.tagging import Reference
from layerscope.lab.layer.new import recorded_cache_id
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.records import CONTENT, LAYERS, METADATA, REPOSITORIES, read_repositories
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import UNFINISHED
from layerscope.model.digest import ChainID, ImageID, hex_of

_WRITE_SET = f"{UNFINISHED}/write-set-482913377"
_LIMIT = 1 << 20


def cut_off(root: LabRoot, image: ImageID, name: Reference, top: ChainID) -> None:
    """Bring an image back to the middle of its loading; ``top`` is its last layer."""
    disk = root.disk
    cache_id = recorded_cache_id(disk, top)
    repositories = read_repositories(disk)
    repositories.remove(name.repository, name.text)
    aside = disk.write_aside(REPOSITORIES, repositories.text(), 0o600)
    disk.rename(aside, REPOSITORIES, replace=True)
    disk.remove_tree(f"{METADATA}/{hex_of(image)}")
    disk.remove_file(f"{CONTENT}/{hex_of(image)}")
    _half_written(disk, f"{LAYERS}/{hex_of(top)}")
    _half_unpacked(disk, f"{DRIVER}/{cache_id}/diff")


def _half_written(disk: Disk, record: str) -> None:
    """Only the first file of a write-set is written while the layer is being unpacked."""
    tar_split = disk.top.descend(record).read("tar-split.json.gz", _LIMIT)
    disk.make_directory(_WRITE_SET, 0o700)
    disk.write(f"{_WRITE_SET}/tar-split.json.gz", tar_split[: len(tar_split) // 2], 0o644)
    disk.remove_tree(record)


def _half_unpacked(disk: Disk, layer: str) -> None:
    """Drop what comes last in the order of unpacking, and cut the file before it."""
    files = sorted(_files_below(disk, layer), key=lambda path: path.split("/"))
    middle = len(files) // 3
    for path in files[middle + 1 :]:
        disk.remove_file(path)
    folder, _, name = files[middle].rpartition("/")
    with disk.top.descend(folder).held() as fd:
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        os.ftruncate(file, os.fstat(file).st_size // 2)
    finally:
        os.close(file)


def _files_below(disk: Disk, top: str) -> list[str]:
    """The paths of everything below that is no directory."""
    found: list[str] = []
    pending = [top]
    while pending:
        folder = pending.pop()
        for name, kind in disk.top.descend(folder).scan():
            (pending if kind == "d" else found).append(f"{folder}/{name}")
    return found
