"""devicemapper: every layer is a thin device in one pool, a snapshot of its parent's, with a whole file system inside.

| below ``devicemapper/`` | what |
| --- | --- |
| ``metadata/<id>`` | docker's record of one device (:mod:`layerscope.formats.device_record`) |
| ``metadata/base`` | the same of the device that all bottom layers are snapshots of: an empty file system |
| ``metadata/deviceset-metadata``, ``transaction-metadata`` | which file system is inside, the last change to the pool |
| ``metadata/.tmp*``, ``*.migrated`` | leftovers |
| ``devicemapper/metadata``, ``devicemapper/data`` | the pool's halves, sparse files; absent where they are devices |
| ``mnt/<id>/`` | mount point, an empty directory (or none) when it isn't mounted |

Inside a device the layer's files lie in ``rootfs``. Who is whose snapshot isn't recorded here; the layer records tell.
Source: moby daemon/graphdriver/devmapper/; seen with 20.10.24 on ext4 and xfs.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerscope.drivers.folders import LayerDirs, open_handed
from layerscope.errors import CorruptError, LayerscopeError, PermissionDenied, RootError, UnsupportedError
from layerscope.formats.block_device import BlockDevice
from layerscope.formats.device_record import DeviceRecord, parse_device, parse_file_system_name, parse_transaction
from layerscope.formats.ext4 import FileSystem, is_ext4
from layerscope.formats.inode_tree import InodeDirectory
from layerscope.formats.thinpool import BlockMap, Pool, ThinBlocks, open_pool
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.formats.xfs import XfsFileSystem, is_xfs
from layerscope.hostfs import Directory
from layerscope.hostfs.block_file import BlockFile
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import LayerDirectory

BASE = "base"
_NO_LAYERS = {BASE, "deviceset-metadata", "transaction-metadata"}
_LEFTOVERS = (".tmp", ".migrated")
_FILES = "rootfs"
_RECORD_LIMIT = 1 << 12
_TRIES = 3
_KEPT_SYSTEMS = 64
_DEVICE_NUMBERS = 1 << 40
"""Made-up ``st_dev`` begin here: each thin device has its own, and no other file system has one of these."""
_NO_FILES = "block maps and files can't be read; stacks, names and sizes are"

System = FileSystem | XfsFileSystem


class DeviceMapper:
    """The devicemapper driver on one root. Pools whose halves are not in the root can be handed over."""

    name = "devicemapper"
    kind = LayerKind.SNAPSHOT
    sizes_by_walk = False

    def __init__(
        self,
        root: Directory,
        dialect: Dialect,
        thin_metadata: Path | None = None,
        thin_data: Path | None = None,
        layer_dirs: LayerDirs = (),
    ) -> None:
        """The driver of ``root``.

        Args:
            root: the root's directory.
            dialect: the root's; no mark has a meaning in whole trees.
            thin_metadata: the pool's metadata device or a copy of it, or the XML of ``thin_dump``, of the user's.
            thin_data: the pool's data device or a copy of it.
            layer_dirs: where devices are mounted that aren't mounted in their places.

        Raises:
            RootError: what was handed over can't be opened; PermissionDenied: this user may not.
        """
        self.dialect = UNMARKED
        self._home = root.enter(self.name)
        self._records = self._home.enter("metadata")
        self._halves = {"metadata": _handed_over(thin_metadata), "data": _handed_over(thin_data)}
        self._places = {"metadata": thin_metadata, "data": thin_data}
        self.handed = open_handed(layer_dirs)
        self._turn = threading.RLock()
        self._pool: Pool | None = None
        self._systems: dict[str, System] = {}
        self._changed_while_read = False

    # ------------------------------------------------------------------ layers
    def layer_ids(self) -> list[CacheID]:
        """The devices that docker has a record of, sorted; not the base, nor those it has removed."""
        found = []
        for name in self._records.names():
            if name in _NO_LAYERS or name.startswith(_LEFTOVERS[0]) or name.endswith(_LEFTOVERS[1]):
                continue
            try:
                if self.device_record(CacheID(name)).deleted:
                    continue
            except (OSError, CorruptError):
                pass  # its problem is told where the layer is asked for
            found.append(CacheID(name))
        return found

    def layer_path(self, cache_id: CacheID) -> str:
        """``devicemapper/mnt/<id>/rootfs``: where the files are while the device is mounted."""
        mounted = self._mounted(cache_id) if cache_id in self.handed else None
        return mounted.path if mounted is not None else f"{self.name}/mnt/{cache_id}/{_FILES}"

    def open_layer(self, cache_id: CacheID) -> LayerDirectory:
        """The directory ``rootfs`` inside the device: through its mount if there is one, else through the pool.

        Raises:
            OSError: ENOENT without a record, ENODATA without the pool, ENOTSUP for a file system that can't be read
                here, EIO for what is damaged.
        """
        mounted = self._mounted(cache_id)
        if mounted is not None:
            return mounted
        with _as_os_error(cache_id):
            record = self.device_record(cache_id)
            if record.deleted:
                raise FileNotFoundError(errno.ENOENT, "docker has removed this layer", cache_id)
            return self._files(record)

    def _files(self, record: DeviceRecord) -> InodeDirectory[Any]:
        """The layer's files inside a device. Raises OSError; CorruptError, UnsupportedError for what is around them."""
        top = InodeDirectory[Any](self._system(record), _DEVICE_NUMBERS + record.device_id).enter(_FILES)
        top.stat_self()
        return top

    def _mounted(self, cache_id: CacheID) -> Directory | None:
        """The files of a device that is mounted: where the user says, or in its place on a file system of its own."""
        if cache_id in self.handed:
            top = self.handed[cache_id]
            found = top.stat_or_none(_FILES)
            return top.enter(_FILES) if found is not None and modes.S_ISDIR(found.st_mode) else top
        mounts = self._home.enter("mnt")
        try:
            inside = mounts.enter(cache_id)
            if inside.stat_self().st_dev == mounts.stat_self().st_dev:
                return None
            files = inside.enter(_FILES)
            files.stat_self()
        except OSError:
            return None
        return files

    # ------------------------------------------------------------------ devices and their blocks
    def device_record(self, cache_id: CacheID | None) -> DeviceRecord:
        """docker's record of a layer's device, None for the base's.

        Raises:
            OSError: it isn't there or can't be read.
            CorruptError: it is no such record.
        """
        name = cache_id or BASE
        return parse_device(self._records.read(name, _RECORD_LIMIT), name)

    def pool(self) -> Pool:
        """The pool as it is now: read again when its metadata has changed.

        Raises:
            OSError: ENODATA if it lies outside of the root and wasn't handed over.
            CorruptError: it is damaged.
            UnsupportedError: a newer format.
        """
        with self._turn:
            if self._pool is None or not self._pool.is_current():
                file = self._half("metadata")
                self._systems.clear()
                for last in (False, False, True):
                    try:
                        self._pool = open_pool(file)
                    except CorruptError:
                        if last:
                            raise
                        continue
                    if self._pool.is_current():
                        break
                else:
                    self._changed_while_read = True
            assert self._pool is not None
            return self._pool

    def block_map(self, record: DeviceRecord) -> BlockMap:
        """Where the blocks of a device lie. Raises as :meth:`pool`, and CorruptError for an unknown device."""
        for _ in range(_TRIES):
            pool = self.pool()
            found = pool.block_map(record.device_id)
            if pool.is_current():
                return found
        self._changed_while_read = True
        return found

    def device(self, record: DeviceRecord) -> ThinBlocks:
        """The bytes of a device. Raises as :meth:`block_map`, and OSError ENODATA without the pool's data."""
        found = self.block_map(record)
        return ThinBlocks(found, self.pool().block_bytes, self._half("data"), record.size_bytes)

    def _half(self, name: str) -> BlockDevice:
        """The pool's ``metadata`` or ``data``."""
        with self._turn:
            found = self._halves[name]
            if found is None:
                try:
                    found = BlockFile.of(self._home.enter("devicemapper").open(name))
                except (FileNotFoundError, NotADirectoryError):
                    what = f"the pool's {name} device lies outside of the root"
                    raise OSError(errno.ENODATA, what, f"{self.name}/devicemapper/{name}") from None
                self._halves[name] = found
            return found

    def _system(self, record: DeviceRecord) -> System:
        """The file system inside a device; the last ones opened are kept."""
        with self._turn:
            self.pool()  # a changed one makes what is kept stale
            found = self._systems.get(record.name)
            if found is None:
                found = self._open_system(self.device(record))
                if len(self._systems) >= _KEPT_SYSTEMS:
                    self._systems.clear()
                self._systems[record.name] = found
            return found

    def file_system(self, cache_id: CacheID | None) -> System:
        """What is inside a layer's device (None: the base's).

        Raises:
            OSError, CorruptError: as :meth:`device_record`, :meth:`device`, or no file system is in it.
            UnsupportedError: it is one that can't be read here.
        """
        return self._system(self.device_record(cache_id))

    def _open_system(self, device: ThinBlocks) -> System:
        if is_ext4(device):
            return FileSystem(device)
        if is_xfs(device):
            return XfsFileSystem(device)
        expected = "ext4 or xfs"
        try:
            expected = parse_file_system_name(self._records.read("deviceset-metadata", _RECORD_LIMIT)) or expected
        except (OSError, CorruptError):
            pass
        raise CorruptError(f"the device doesn't begin like a file system; expected {expected[:40]!r}")

    # ------------------------------------------------------------------ what is wrong
    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """What is wrong with a layer's record, its device and the file system in it, and with the pool."""
        path = f"{self.name}/metadata/{cache_id}"
        try:
            record = self.device_record(cache_id)
        except OSError as error:
            what = f"can't be read: {error.strerror or error}"
            return [Problem(path, what, "which device holds this layer isn't known; its files can't be shown")]
        except CorruptError as error:
            effect = "which device holds this layer isn't known; its files can't be shown"
            return [Problem(path, str(error), effect)]
        if record.deleted:
            return [Problem(path, "docker has removed this layer", "its files are not shown")]
        if self._mounted(cache_id) is not None:
            return []
        pool_problems = self.pool_problems()
        if self._pool is None:
            return pool_problems
        return [*pool_problems, *self._device_problems(path, record, self._pool)]

    def _device_problems(self, path: str, record: DeviceRecord, pool: Pool) -> Iterator[Problem]:
        known = pool.devices.get(record.device_id)
        if known is None:
            yield Problem(path, f"names thin device {record.device_id}, which the pool doesn't have", _NO_FILES)
            return
        if record.transaction != known.transaction + 1:
            what = f"transaction {record.transaction}, but the pool made device {record.device_id} in"
            yield Problem(path, f"{what} {known.transaction}, expected one less", severity=Severity.WARNING)
        try:
            blocks = -(-record.size_bytes // pool.block_bytes)
            for damage in self.block_map(record).damages:
                last = min(damage.end, max(blocks, damage.first + 1)) - 1
                span = f"virtual blocks {damage.first:#x} to {last:#x}"
                yield Problem(path, f"{span} are not known: {damage.reason}", "what lies in them can't be read")
            system = self._system(record)
            self._files(record)
        except UnsupportedError as error:
            yield self._unsupported(error)
            return
        except FileNotFoundError:
            yield Problem(path, f"there is no {_FILES} in its device", "its files can't be shown")
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

    def _unsupported(self, error: UnsupportedError) -> Problem:
        path = f"{self.name}/metadata/deviceset-metadata"
        return Problem(path, str(error), "files can't be shown; block maps can", severity=Severity.WARNING)

    def absence(self) -> Problem:
        """Why files of layers can't be read, as far as one reason holds for all."""
        for problem in self.pool_problems():
            return problem
        try:
            self.file_system(None)
        except UnsupportedError as error:
            return self._unsupported(error)
        except (OSError, CorruptError):
            pass  # the base's own trouble is not that of the layers
        return Problem(self.name, "the device of this layer can't be read", hint="layerscope info tells why")

    def pool_problems(self) -> list[Problem]:
        """What is wrong with the pool as a whole."""
        path = self._place("metadata")
        try:
            pool = self.pool()
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
        if self._changed_while_read:
            what = "changed while it was read: a daemon works in it"
            found.append(Problem(path, what, "maps may be wrong", severity=Severity.WARNING))
        return [*found, *self._transaction_problems(pool), *self._data_problems(pool)]

    def _transaction_problems(self, pool: Pool) -> Iterator[Problem]:
        path = f"{self.name}/metadata/transaction-metadata"
        try:
            number, device_id = parse_transaction(self._records.read("transaction-metadata", _RECORD_LIMIT))
        except FileNotFoundError:
            return
        except (OSError, CorruptError) as error:
            yield Problem(path, _words(error), severity=Severity.WARNING)
            return
        if number != pool.transaction:
            what = f"transaction {number} was begun, the pool is at {pool.transaction}"
            effect = f"the making or removal of device {device_id} was interrupted"
            yield Problem(path, what, effect, severity=Severity.WARNING)

    def _data_problems(self, pool: Pool) -> Iterator[Problem]:
        path = self._place("data")
        try:
            size = self._half("data").size
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

    def _place(self, half: str) -> str:
        place = self._places[half]
        return f"{self.name}/devicemapper/{half}" if place is None else os.fspath(place)


def _handed_over(path: Path | None) -> BlockFile | None:
    if path is None:
        return None
    try:
        return BlockFile.open_path(path)
    except PermissionError:
        raise PermissionDenied(f"cannot open {path}: permission denied; run as root") from None
    except OSError as error:
        raise RootError(f"cannot open {path}: {error.strerror or error}") from None


@contextmanager
def _as_os_error(name: str) -> Iterator[None]:
    """Our own errors as the OSError that who opens a directory expects."""
    try:
        yield
    except UnsupportedError as error:
        raise OSError(errno.ENOTSUP, str(error), name) from None
    except CorruptError as error:
        raise OSError(errno.EIO, str(error), name) from None


def _words(error: OSError | LayerscopeError) -> str:
    return f"can't be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)
