"""The block map of a thin device against those of the devices it descends from: who wrote what, and who shares it.

A device's own map answers a read at once: it holds the mappings that it inherited, too. Who wrote a block is the oldest
device, in an unbroken line from the one that is read down to the base, that maps the same data block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from layerscope.analysis.blocks.contents import contents_of
from layerscope.errors import CorruptError, LayerscopeError
from layerscope.formats.device_record import DeviceRecord
from layerscope.formats.ext4 import FileSystem
from layerscope.formats.thinpool import BlockMap, Piece, Pool, Run, ThinDevice, UseCounts
from layerscope.model.block_map import (
    BASE_LEVEL,
    BASE_ROLE,
    BlockRead,
    BlockRun,
    BlockStep,
    BlockUse,
    DeviceBlocks,
    PoolFacts,
    ThinLevel,
)
from layerscope.model.digest import CacheID
from layerscope.model.level import Level
from layerscope.model.problem import Problem, Severity


@runtime_checkable
class ThinProvisioned(Protocol):
    """A driver whose layers are thin devices of one pool. Every method raises CorruptError, OSError."""

    def device_record(self, cache_id: CacheID | None) -> DeviceRecord:
        """The engine's record of a layer's device; None: of the base's."""

    def pool(self) -> Pool:
        """The pool; raises UnsupportedError, too."""

    def block_map(self, record: DeviceRecord) -> BlockMap:
        """Where the blocks of a device lie."""

    def file_system(self, cache_id: CacheID | None) -> object:
        """What is inside a layer's device; raises UnsupportedError, too."""


class _Link(Struct, frozen=True):
    """One device of the line, from the one that is read down to the base; ``map`` None: nothing is known of it."""

    level: int
    role: str
    cache_id: CacheID | None
    record: DeviceRecord | None = None
    details: ThinDevice | None = None
    map: BlockMap | None = None


class _Origin(NamedTuple):
    """Where a mapping was written: the level (None: it isn't known), whether that is another device than the one that
    is read, and the time of the snapshot that passed it on."""

    owner: int | None
    inherited: bool
    as_of: int | None


class BlockAnalysis:
    """Answers about the top device of ``levels`` (base first, at least one), whose driver is ``driver``.

    ``problems`` gathers devices of the line that can't be read; what they would tell is then unknown.
    """

    def __init__(self, driver: ThinProvisioned, levels: Sequence[Level]) -> None:
        """Read the maps of all devices in the line.

        Raises:
            CorruptError, UnsupportedError, OSError: the pool or the top device can't be read.
        """
        self._driver = driver
        self.pool = driver.pool()
        self.problems: list[Problem] = []
        top = levels[-1]
        self._line = [self._link(top, must=True)]
        self._line += [self._link(level) for level in reversed(levels[:-1])]
        self._line.append(self._link(None))
        self._uses: UseCounts | None = None

    def _link(self, level: Level | None, must: bool = False) -> _Link:
        number, role = (BASE_LEVEL, BASE_ROLE) if level is None else (level.number, str(level.role))
        cache_id = None if level is None else level.cache_id
        try:
            if level is not None and cache_id is None:
                raise CorruptError(f"level {number}: which device holds it isn't known")
            record = self._driver.device_record(cache_id)
            block_map = self._driver.block_map(record)
        except (OSError, CorruptError) as error:
            if must:
                raise
            path = f"devicemapper/metadata/{cache_id or BASE_ROLE}"
            what = error.strerror if isinstance(error, OSError) else str(error)
            effect = "which blocks come from it isn't known"
            self.problems.append(Problem(path, str(what), effect, severity=Severity.WARNING))
            return _Link(number, role, cache_id)
        return _Link(number, role, cache_id, record, self.pool.devices.get(record.device_id), block_map)

    @property
    def uses(self) -> UseCounts:
        """By how many devices each data block is mapped; counted once."""
        if self._uses is None:
            self._uses = self.pool.uses()
        return self._uses

    @property
    def blocks(self) -> int:
        """How many virtual blocks the top device has, mapped or not."""
        record = self._line[0].record
        assert record is not None
        return -(-record.size_bytes // self.pool.block_bytes)

    # ------------------------------------------------------------------ the whole map
    def device_blocks(self) -> DeviceBlocks:
        """The map of the top device, with the numbers of every level below it."""
        pool = self.pool
        facts = PoolFacts(
            pool.block_bytes, pool.time, pool.transaction, pool.data_blocks, self.uses.allocated, pool.needs_check
        )
        levels = [self._numbers(index) for index in range(len(self._line))]
        return DeviceBlocks(facts, tuple(levels), tuple(self.runs()))

    def _numbers(self, index: int) -> ThinLevel:
        link = self._line[index]
        if link.map is None or link.record is None:
            return ThinLevel(link.level, link.role, link.cache_id)
        details = link.details
        known = ThinLevel(
            link.level,
            link.role,
            link.cache_id,
            link.record.device_id,
            link.record.size_bytes,
            None if details is None else details.transaction,
            None if details is None else details.creation_time,
            None if details is None else details.snapshotted_time,
        )
        if link.map.damages:
            return known
        exclusive: int | None = None
        if self.uses.complete:
            exclusive = sum(
                length for run in link.map for length, uses in self.uses.spans(run.data, run.length) if uses == 1
            )
        copied: int | None = None
        new: int | None = None
        unmapped: int | None = None
        parent = self._line[index + 1].map if index + 1 < len(self._line) else BlockMap()
        if parent is not None and not parent.damages:
            copied, new, same = compared(link.map, parent)
            unmapped = parent.mapped - same - copied
        return replace(
            known,
            mapped=link.map.mapped,
            copied=copied,
            new=new,
            unmapped=unmapped,
            exclusive=exclusive,
            shared=None if exclusive is None else link.map.mapped - exclusive,
        )

    def runs(self) -> Iterator[BlockRun]:
        """The mappings of the top device, split where owner or number of uses changes; by virtual block."""
        top = self._line[0].map
        assert top is not None
        for run in top:
            for piece, origin in self._origins(run):
                offset = 0
                for length, uses in self.uses.spans(piece.data, piece.length):
                    virtual, data = piece.virtual + offset, piece.data + offset
                    yield BlockRun(virtual, data, length, piece.time, uses, *origin)
                    offset += length

    def _origins(self, run: Run) -> list[tuple[Run, _Origin]]:
        """A run cut into pieces that were written in one place each, in order."""
        found: list[tuple[Run, _Origin]] = []
        left = [run]
        for index in range(len(self._line)):
            below = self._line[index + 1].map if index + 1 < len(self._line) else BlockMap()
            if below is None:
                origin = self._origin_by_time(index, run)
                found.extend((piece, origin) for piece in left)
                break
            deeper: list[Run] = []
            for piece in left:
                for same, part in _parts(piece, below):
                    if same:
                        deeper.append(part)
                    else:
                        found.append((part, self._origin_by_time(index, run) if same is None else self._origin(index)))
            left = deeper
        return _joined(sorted(found, key=lambda pair: pair[0].virtual))

    def _origin_by_time(self, index: int, run: Run) -> _Origin:
        """What the device in place ``index`` has, where what lies below isn't known: its own if it is younger."""
        details = self._line[index].details
        created = None if details is None else details.creation_time
        is_here = created is not None and run.time >= created
        return self._origin(index) if is_here else _Origin(None, True, created)

    def _origin(self, index: int) -> _Origin:
        """What was written by the device in place ``index`` of the line."""
        passed_on = self._line[index - 1].details if index else None
        return _Origin(self._line[index].level, index > 0, None if passed_on is None else passed_on.creation_time)

    # ------------------------------------------------------------------ one block
    def read(self, virtual: int) -> BlockRead:
        """How one virtual block of the top device is read.

        Raises:
            CorruptError: where it lies isn't known.
            OSError: the pool can't be read.
        """
        top = self._line[0].map
        assert top is not None
        hit = top.lookup(virtual)
        owner = None if hit is None else self._origins(Run(virtual, hit[0], 1, hit[1]))[0][1].owner
        steps = tuple(self._step(link, virtual, hit, owner) for link in self._line)
        return BlockRead(
            virtual,
            self.pool.block_bytes,
            None if hit is None else hit[0],
            None if hit is None else hit[1],
            None if hit is None else self.uses.of(hit[0]),
            owner,
            steps,
            self._contents(virtual),
        )

    def _step(self, link: _Link, virtual: int, hit: tuple[int, int] | None, owner: int | None) -> BlockStep:
        named = (link.level, link.role, link.cache_id, None if link.record is None else link.record.device_id)
        try:
            found = None if link.map is None else link.map.lookup(virtual)
        except CorruptError:
            return BlockStep(*named, None, None, None, "unknown")
        if found is None:
            return BlockStep(*named, None, None, None, "unknown" if link.map is None else "not mapped")
        same = hit is not None and found[0] == hit[0]
        note = "written here" if same and link.level == owner else "same block" if same else "older copy"
        return BlockStep(*named, *found, self.uses.of(found[0]), note)

    def _contents(self, virtual: int) -> tuple[BlockUse, ...] | None:
        link = self._line[0]
        try:
            system = self._driver.file_system(link.cache_id)
            if not isinstance(system, FileSystem):
                return None
            first = virtual * self.pool.block_bytes
            return contents_of(system, first, first + self.pool.block_bytes)
        except (OSError, LayerscopeError):
            return None


def compared(own: BlockMap, parent: BlockMap) -> tuple[int, int, int]:
    """Of ``own``'s virtual blocks: how many ``parent`` maps elsewhere, doesn't map, maps to the same data block."""
    copied = new = same = 0
    for run in own:
        for is_same, part in _parts(run, parent):
            if is_same:
                same += part.length
            else:
                mapped = sum(piece.length for piece, _ in _known(parent, part) if piece.data is not None)
                copied += mapped
                new += part.length - mapped
    return copied, new, same


def _parts(run: Run, other: BlockMap) -> Iterator[tuple[bool | None, Run]]:
    """A run cut where it stops or begins to lie where ``other`` maps it, too; each part with whether it does.

    None where that map is damaged.
    """
    for piece, is_known in _known(other, run):
        data = run.data + piece.virtual - run.virtual
        yield piece.data == data if is_known else None, Run(piece.virtual, data, piece.length, run.time)


def _known(block_map: BlockMap, run: Run) -> Iterator[tuple[Piece, bool]]:
    """What ``block_map`` says of a run's virtual blocks, and whether that is known; if not, it counts as not mapped."""
    at, end = run.virtual, run.virtual + run.length
    while at < end:
        try:
            for piece in block_map.pieces(at, end - at):
                yield piece, True
                at = piece.virtual + piece.length
        except CorruptError:
            yield Piece(at, 1, None, None), False
            at += 1


def _joined(pieces: list[tuple[Run, _Origin]]) -> list[tuple[Run, _Origin]]:
    """Pieces of one run, neighbours of one origin made one."""
    found: list[tuple[Run, _Origin]] = []
    for piece, origin in pieces:
        before = found[-1] if found else None
        if before and before[1] == origin and before[0].virtual + before[0].length == piece.virtual:
            found[-1] = (before[0]._replace(length=before[0].length + piece.length), origin)
        else:
            found.append((piece, origin))
    return found
