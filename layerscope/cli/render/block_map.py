"""Block maps of thin devices, in JSON and as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from layerscope.cli.render.docker_form import short_id
from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.cli.render.json import Shape, base64
from layerscope.cli.render.table import aligned
from layerscope.model.block_map import BlockRead, BlockRun, BlockUse, DeviceBlocks, ThinLevel

_NONE = "-"


# ---------------------------------------------------------------------- JSON
def device_blocks_shape(value: DeviceBlocks) -> Shape:
    """The block map of a device: pool, levels (top first, the base device last), runs. Counts are in blocks."""
    pool = value.pool
    return {
        "device": _device_shape(value.device),
        "block_size": pool.block_bytes,
        "pool": {
            "time": pool.time,
            "transaction": pool.transaction,
            "data_blocks": pool.data_blocks,
            "allocated_blocks": pool.allocated,
            "needs_check": pool.needs_check,
        },
        "levels": [_level_shape(level) for level in value.levels],
        "runs": [_run_shape(run) for run in value.runs],
    }


def _device_shape(level: ThinLevel) -> Shape:
    return {
        "level": level.level,
        "role": level.role,
        "cache_id": level.cache_id,
        "device_id": level.device_id,
        "size": level.size_bytes,
    }


def _level_shape(level: ThinLevel) -> Shape:
    return {
        **_device_shape(level),
        "transaction": level.transaction,
        "creation_time": level.creation_time,
        "snapshotted_time": level.snapshotted_time,
        "mapped": level.mapped,
        "own": level.own,
        "copied": level.copied,
        "new": level.new,
        "unmapped": level.unmapped,
        "exclusive": level.exclusive,
        "shared": level.shared,
    }


def _run_shape(run: BlockRun) -> Shape:
    return {
        "virtual": run.virtual,
        "data": run.data,
        "length": run.length,
        "time": run.time,
        "uses": run.uses,
        "shared": run.uses > 1,
        "state": "inherited" if run.inherited else "here",
        "owner": run.owner,
        "as_of": run.as_of,
    }


def block_read_shape(value: BlockRead) -> Shape:
    """How one virtual block is read, from the device itself down to the base."""
    return {
        "virtual": value.virtual,
        "offset": value.offset,
        "block_size": value.block_bytes,
        "mapped": value.data is not None,
        "data": value.data,
        "data_offset": value.data_offset,
        "time": value.time,
        "uses": value.uses,
        "owner": value.owner,
        "steps": [
            {
                "level": step.level,
                "role": step.role,
                "cache_id": step.cache_id,
                "device_id": step.device_id,
                "data": step.data,
                "time": step.time,
                "uses": step.uses,
                "note": step.note,
            }
            for step in value.steps
        ],
        "holds": None if value.holds is None else [_use_shape(use) for use in value.holds],
    }


def _use_shape(use: BlockUse) -> Shape:
    path = None if use.path is None else replaced(use.path)
    shape: Shape = {"kind": use.kind, "path": path, "in_layer": None if path is None else use.in_layer}
    if use.path is not None and not is_utf8(use.path):
        shape["path_base64"] = base64(bytes_of(use.path))
    return shape


# ---------------------------------------------------------------------- text
def device_blocks_lines(value: DeviceBlocks) -> Iterator[str]:
    """The levels with their numbers of blocks, then the runs of the device."""
    pool, device = value.pool, value.device
    yield (
        f"device {_number(device.device_id)}: {_number(device.size_bytes)} bytes in blocks of {pool.block_bytes}; "
        f"pool: {pool.allocated} of {pool.data_blocks} data blocks in use, snapshot {pool.time}"
    )
    yield ""
    header = ("LEVEL", "ROLE", "DEVICE", "CREATED AT", "MAPPED", "COPIED", "NEW", "UNMAPPED", "EXCLUSIVE", "SHARED")
    rows = [[*header, "CACHE ID"]]
    for level in value.levels:
        counts = (level.mapped, level.copied, level.new, level.unmapped, level.exclusive, level.shared)
        facts = map(_number, (level.device_id, level.creation_time, *counts))
        rows.append([str(level.level), level.role, *facts, short_id(level.cache_id or _NONE)])
    yield from aligned(rows, frozenset({0, *range(2, 10)}))
    yield ""
    yield from aligned(_run_rows(value), frozenset({0, 1, 2, 3, 4, 5}))


def _run_rows(value: DeviceBlocks) -> Iterator[list[str]]:
    yield ["VIRTUAL", "DATA", "BLOCKS", "TIME", "USES", "LEVEL", "WRITTEN"]
    for run in value.runs:
        if not run.inherited:
            written = "here"
        elif run.as_of is None:
            written = "below"
        else:
            written = f"below, passed on by snapshot {run.as_of}"
        numbers = (str(run.length), str(run.time), str(run.uses), _number(run.owner))
        yield [hex(run.virtual), hex(run.data), *numbers, written]


def block_read_lines(value: BlockRead, safe: Callable[[str], str]) -> Iterator[str]:
    """The read path of one block, from the device that is read down to the base; ``safe`` makes a name fit to show."""
    top = value.steps[0]
    end = value.offset + value.block_bytes - 1
    yield f"virtual block {value.virtual:#x} (bytes {value.offset} to {end}) read in device {_number(top.device_id)}"
    rows = [["LEVEL", "ROLE", "DEVICE", "DATA BLOCK", "TIME", "USES", "NOTE"]]
    for step in value.steps:
        data = _NONE if step.data is None else hex(step.data)
        mark = "<- " if step.note == "written here" else ""
        cells = [str(step.level), step.role, _number(step.device_id), data, _number(step.time), _number(step.uses)]
        rows.append([*cells, mark + step.note])
    yield from aligned(rows, frozenset({0, 2, 3, 4, 5}))
    if value.data is None:
        yield "not mapped: it reads as zeros"
    else:
        yield f"data block {value.data:#x} begins at byte {value.data_offset} of the pool's data"
    for use in value.holds or ():
        path = "" if use.path is None else f" {safe(use.path)}"
        yield f"holds {use.kind}{path}" + ("" if use.in_layer else " (in the device, beside the layer's files)")


def _number(value: int | None) -> str:
    return _NONE if value is None else str(value)
