"""The sample pools, and what other programs say of them."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

DATA = Path(__file__).parent / "data" / "devicemapper"
ENGINES = ("ext4", "xfs")


class Dumped(NamedTuple):
    """A device as thin_dump has it: its facts, and virtual block to (data block, time)."""

    mapped: int
    transaction: int
    creation_time: int
    snapshotted_time: int
    blocks: dict[int, tuple[int, int]]


@cache
def metadata(sample: str) -> bytes:
    """The metadata device of a sample's pool."""
    if sample == "seed-figure":
        return gzip.decompress((DATA / sample / "metadata.gz").read_bytes())
    with tarfile.open(DATA / sample / "root.tar.gz") as tar:
        file = tar.extractfile("./devicemapper/devicemapper/metadata")
        assert file is not None
        return file.read()


def dump_path(sample: str) -> Path:
    """The XML that thin_dump printed of a sample."""
    folder = DATA / sample
    return folder / "thin_dump.xml" if sample == "seed-figure" else folder / "truth" / "thin_dump.xml"


def read_dump(path: Path) -> dict[int, Dumped]:
    """A dump by device, read with another parser than ours, one entry for each virtual block."""
    found = {}
    for device in ElementTree.parse(path).getroot():
        blocks: dict[int, tuple[int, int]] = {}
        for mapping in device:
            values = {name: int(value) for name, value in mapping.attrib.items()}
            virtual = values.get("origin_begin", values.get("origin_block", 0))
            data = values.get("data_begin", values.get("data_block", 0))
            for offset in range(values.get("length", 1)):
                blocks[virtual + offset] = (data + offset, values["time"])
        facts = (int(device.attrib[name]) for name in ("mapped_blocks", "transaction", "creation_time", "snap_time"))
        found[int(device.attrib["dev_id"])] = Dumped(*facts, blocks)
    return found


def unpacked(sample: str, target: Path) -> Path:
    """A sample's data root, unpacked into ``target``; its large files keep their holes.

    The engine's node of the disk that it ran on is left out: only root may make one.
    """
    with tarfile.open(DATA / sample / "root.tar.gz") as tar:
        members = [member for member in tar if not member.isdev()]
        tar.extractall(target, members, filter="fully_trusted", numeric_owner=True)
    return target


def truth(sample: str, name: str) -> Any:
    """What the engine answered about a sample: ``name`` without ``.json``."""
    return json.loads((DATA / sample / "truth" / f"{name}.json").read_text())


def without_pool(root: Path, target: Path) -> Path:
    """A copy of a root as it is with ``direct-lvm``: the pool's halves are not in it."""
    home = root / "devicemapper" / "devicemapper"

    def halves(folder: str, names: list[str]) -> list[str]:
        return names if Path(folder) == home else []

    shutil.copytree(root, target, ignore=halves, symlinks=True)
    return target
