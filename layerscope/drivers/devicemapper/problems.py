"""What is wrong with a pool, with one device in it, and with the file system inside that."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from layerscope.drivers.devicemapper.device_set import FILES, HOME, DeviceSet
from layerscope.errors import CorruptError, LayerscopeError, UnsupportedError
from layerscope.formats.device_record import DeviceRecord
from layerscope.formats.ext4 import FileSystem
from layerscope.formats.thinpool import Pool
from layerscope.model.problem import Problem, Severity

_NO_FILES = "block maps and files can't be read; stacks, names and sizes are"


def pool_problems(devices: DeviceSet) -> list[Problem]:
    """What is wrong with the pool as a whole."""
    path = devices.half_place("metadata")
    try:
        pool = devices.pool()
    except OSError as error:
        if error.errno != errno.ENODATA:
            return [Problem(path, f"can't be read: {error.strerror or error}", _NO_FILES)]
        hint = "hand over the pool's metadata (or what thin_dump prints) and its data, or copies of them"
        return [Problem(path, "the pool's metadata is not in this root", _NO_FILES, hint, Severity.WARNING)]
    except LayerscopeError as error:
        return [Problem(path, str(error), _NO_FILES)]
    found = [Problem(path, fault, "devices that it concerns can't be read") for fault in pool.faults]
    if pool.needs_check:
        found.append(Problem(path, "the kernel has marked the pool as in need of a check", hint="thin_check"))
    if devices.changed_while_read:
        what = "changed while it was read: a daemon works in it"
        found.append(Problem(path, what, "maps may be wrong", severity=Severity.WARNING))
    return [*found, *_transaction_problems(devices, pool), *_data_problems(devices, pool)]


def _transaction_problems(devices: DeviceSet, pool: Pool) -> Iterator[Problem]:
    path = f"{HOME}/metadata/transaction-metadata"
    try:
        number, device_id = devices.last_transaction()
    except FileNotFoundError:
        return
    except (OSError, CorruptError) as error:
        yield Problem(path, _words(error), severity=Severity.WARNING)
        return
    if number != pool.transaction:
        what = f"transaction {number} was begun, the pool is at {pool.transaction}"
        effect = f"the making or removal of device {device_id} was interrupted"
        yield Problem(path, what, effect, severity=Severity.WARNING)


def _data_problems(devices: DeviceSet, pool: Pool) -> Iterator[Problem]:
    path = devices.half_place("data")
    try:
        size = devices.half("data").size
    except OSError as error:
        effect = "files can't be read; block maps are"
        missing = error.errno == errno.ENODATA
        what = "the pool's data is not in this root" if missing else f"can't be read: {error.strerror or error}"
        hint = "hand over the pool's data, or a copy of it" if missing else ""
        yield Problem(path, what, effect, hint, Severity.WARNING if missing else Severity.ERROR)
        return
    needed = pool.data_blocks * pool.block_bytes
    if size < needed:
        yield Problem(path, f"is cut short: {size} bytes of {needed}", "what lies behind can't be read")


def device_problems(devices: DeviceSet, path: str, record: DeviceRecord, pool: Pool) -> Iterator[Problem]:
    """What is wrong with one device and the file system in it; ``path`` is that of its record."""
    known = pool.devices.get(record.device_id)
    if known is None:
        yield Problem(path, f"names thin device {record.device_id}, which the pool doesn't have", _NO_FILES)
        return
    if record.transaction != known.transaction + 1:
        what = f"transaction {record.transaction}, but the pool made device {record.device_id} in"
        yield Problem(path, f"{what} {known.transaction}, expected one less", severity=Severity.WARNING)
    try:
        blocks = -(-record.size_bytes // pool.block_bytes)
        for damage in devices.block_map(record).damages:
            last = min(damage.end, max(blocks, damage.first + 1)) - 1
            span = f"virtual blocks {damage.first:#x} to {last:#x}"
            yield Problem(path, f"{span} are not known: {damage.reason}", "what lies in them can't be read")
        system = devices.system_in(record)
        devices.files_in(record)
    except UnsupportedError as error:
        yield unsupported(error)
        return
    except FileNotFoundError:
        yield Problem(path, f"there is no {FILES} in its device", "its files can't be shown")
        return
    except (OSError, LayerscopeError) as error:
        if not (isinstance(error, OSError) and error.errno == errno.ENODATA):  # told of the pool already
            yield Problem(path, _words(error), "its files can't be shown")
        return
    for fault in system.faults:
        yield Problem(path, fault, "that part of its files can't be shown", severity=Severity.WARNING)
    if isinstance(system, FileSystem) and system.superblock.needs_recovery:
        what = "the file system is in use, or wasn't unmounted: its journal holds changes that are not shown"
        yield Problem(path, what, "its files may be stale", severity=Severity.NOTE)


def unsupported(error: UnsupportedError) -> Problem:
    """What to tell of a file system that can't be read here: one reason for all layers."""
    path = f"{HOME}/metadata/deviceset-metadata"
    return Problem(path, str(error), "files can't be shown; block maps can", severity=Severity.WARNING)


def _words(error: OSError | LayerscopeError) -> str:
    return f"can't be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)
