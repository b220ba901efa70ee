"""A pool from the XML that ``thin_dump`` prints, where the metadata itself isn't at hand.

| element | attributes |
| --- | --- |
| `superblock` | `time transaction flags version data_block_size` (sectors) `nr_data_blocks` |
| `device` | `dev_id mapped_blocks transaction creation_time snap_time` |
| `range_mapping` | `origin_begin data_begin length time` |
| `single_mapping` | `origin_block data_block time` |
| `def`, `ref` | `name`: mappings that several devices share, written once; `ref` stands in a device in their place |

Source: thin-provisioning-tools, thin_dump(8); seen with 0.9.0.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pyexpat import ExpatError, ParserCreate

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.device import BlockDevice
from layerscope.formats.thinpool.block_map import BlockMap, Run, UseCounts
from layerscope.formats.thinpool.pool import MAX_DEVICE_ID, ThinDevice
from layerscope.formats.thinpool.superblock import block_bytes

_READ_BYTES = 1 << 18
_LIMIT = {"time": 1 << 32, "length": 1 << 48, "data": 1 << 40, "virtual": 1 << 48}
_MAX_RUNS = 1 << 26
"""Runs of all devices together, shared ones counted in each device."""
_NEEDS_CHECK = 1


class _Runs:
    """Runs as they stand in the file, flat: virtual, data, length, time."""

    __slots__ = ("flat",)

    def __init__(self) -> None:
        self.flat = array("Q")

    def __len__(self) -> int:
        return len(self.flat) // 4

    def __iter__(self) -> Iterator[Run]:
        parts = iter(self.flat)
        return map(Run, parts, parts, parts, parts)


class DumpedPool:
    """The pool that a ``thin_dump`` XML describes. Satisfies :class:`~layerscope.formats.thinpool.pool.Pool`."""

    def __init__(self, file: BlockDevice) -> None:
        """Read the whole of ``file``.

        Raises:
            CorruptError: it isn't such an XML, or damaged.
            UnsupportedError: it has a document type, which such a file never has.
            OSError: it can't be read.
        """
        self.block_bytes = 0
        self.time = 0
        self.transaction = 0
        self.data_blocks = 0
        self.needs_check = False
        self.faults: list[str] = []
        self.devices: Mapping[int, ThinDevice] = {}
        reading = _Reading(self)
        reading.read(file)
        self.devices = reading.devices
        self._parts = reading.parts

    def is_current(self) -> bool:
        """True: a dump doesn't change."""
        return True

    def block_map(self, device_id: int) -> BlockMap:
        """The map of one device. Raises CorruptError if there is no such device, or its mappings overlap."""
        parts = self._parts.get(device_id)
        if parts is None:
            raise CorruptError(f"the dump of the pool has no device {device_id}")
        return BlockMap(run for part in parts for run in part)

    def uses(self) -> UseCounts:
        """By how many devices each data block is mapped."""
        runs = (run for parts in self._parts.values() for part in parts for run in part)
        return UseCounts((run.data, run.length, 1) for run in runs)


class _Reading:
    """What has been read of a dump so far; elements that are not known are passed over."""

    def __init__(self, pool: DumpedPool) -> None:
        self.devices: dict[int, ThinDevice] = {}
        self.parts: dict[int, list[_Runs]] = {}
        self._pool = pool
        self._shared: dict[str, _Runs] = {}
        self._into: list[_Runs] | None = None
        self._runs = 0
        self._parser = ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = _refuse_doctype

    def read(self, file: BlockDevice) -> None:
        try:
            for offset in range(0, file.size, _READ_BYTES):
                self._parser.Parse(file.read_at(offset, min(_READ_BYTES, file.size - offset)), False)
            self._parser.Parse(b"", True)
        except ExpatError as error:
            raise CorruptError(f"thin_dump XML: {error}") from None
        if not self._pool.block_bytes:
            raise CorruptError("thin_dump XML: it has no superblock element")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        handler = _ELEMENTS.get(name)
        if handler is not None:
            handler(self, attributes)

    def _end(self, name: str) -> None:
        if name in ("device", "def"):
            self._into = None

    def _number(self, attributes: dict[str, str], name: str, limit: int) -> int:
        text = attributes.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < limit):
            line = self._parser.CurrentLineNumber
            raise CorruptError(f"thin_dump XML, line {line}: {name} is {text[:24]!r}, expected a number below {limit}")
        return int(text)

    def superblock(self, attributes: dict[str, str]) -> None:
        self._pool.block_bytes = block_bytes(self._number(attributes, "data_block_size", 1 << 32))
        self._pool.time = self._number(attributes, "time", _LIMIT["time"])
        self._pool.transaction = self._number(attributes, "transaction", 1 << 64)
        self._pool.data_blocks = self._number(attributes, "nr_data_blocks", _LIMIT["data"])
        if "flags" in attributes:
            self._pool.needs_check = bool(self._number(attributes, "flags", 1 << 32) & _NEEDS_CHECK)

    def device(self, attributes: dict[str, str]) -> None:
        device_id = self._number(attributes, "dev_id", MAX_DEVICE_ID + 1)
        if device_id in self.devices:
            raise CorruptError(f"thin_dump XML, line {self._parser.CurrentLineNumber}: device {device_id} again")
        self.devices[device_id] = ThinDevice(
            device_id,
            self._number(attributes, "mapped_blocks", 1 << 64),
            self._number(attributes, "transaction", 1 << 64),
            self._number(attributes, "creation_time", _LIMIT["time"]),
            self._number(attributes, "snap_time", _LIMIT["time"]),
        )
        self._into = self.parts[device_id] = [_Runs()]

    def definition(self, attributes: dict[str, str]) -> None:
        shared = self._shared[attributes.get("name", "")] = _Runs()
        self._into = [shared]

    def reference(self, attributes: dict[str, str]) -> None:
        shared = self._shared.get(attributes.get("name", ""))
        if shared is None or self._into is None:
            line = self._parser.CurrentLineNumber
            raise CorruptError(f"thin_dump XML, line {line}: a ref to mappings that are not defined before it")
        self._count(len(shared))
        self._into.append(shared)
        self._into.append(_Runs())

    def range(self, attributes: dict[str, str]) -> None:
        self._add(attributes, "origin_begin", "data_begin", self._number(attributes, "length", _LIMIT["length"]))

    def single(self, attributes: dict[str, str]) -> None:
        self._add(attributes, "origin_block", "data_block", 1)

    def _add(self, attributes: dict[str, str], virtual_name: str, data_name: str, length: int) -> None:
        if self._into is None:
            raise CorruptError(f"thin_dump XML, line {self._parser.CurrentLineNumber}: a mapping outside of a device")
        virtual = self._number(attributes, virtual_name, _LIMIT["virtual"])
        data = self._number(attributes, data_name, _LIMIT["data"])
        time = self._number(attributes, "time", _LIMIT["time"])
        if data + length > self._pool.data_blocks:
            line = self._parser.CurrentLineNumber
            raise CorruptError(f"thin_dump XML, line {line}: data blocks past the pool's {self._pool.data_blocks}")
        self._count(1)
        self._into[-1].flat.extend((virtual, data, length, time))

    def _count(self, runs: int) -> None:
        self._runs += runs
        if self._runs > _MAX_RUNS:
            raise CorruptError(f"thin_dump XML: more than {_MAX_RUNS} mappings")


def _refuse_doctype(*_names: object) -> None:
    raise UnsupportedError("thin_dump XML: it has a document type, which such a file never has; it is not read")


_ELEMENTS = {
    "superblock": _Reading.superblock,
    "device": _Reading.device,
    "def": _Reading.definition,
    "ref": _Reading.reference,
    "range_mapping": _Reading.range,
    "single_mapping": _Reading.single,
}
