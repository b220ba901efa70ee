"""The devices of one root: docker's records of them, the pool they lie in, and the file system inside each.

The name is moby's (``DeviceSet`` in daemon/graphdriver/devmapper/deviceset.go). The pool of a live daemon changes while
it is read: it is read again, some few times, until it stands still; :attr:`DeviceSet.changed_while_read` tells where
it never did.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

from layerscope.errors import CorruptError, PermissionDenied, RootError
from layerscope.formats.blocks.device import BlockDevice
from layerscope.formats.blocks.inode_tree import InodeDirectory
from layerscope.formats.blocks.xfs import XfsFileSystem, is_xfs
from layerscope.formats.device_record import DeviceRecord, parse_device, parse_file_system_name, parse_transaction
from layerscope.formats.ext4 import FileSystem, is_ext4
from layerscope.formats.thinpool import BlockMap, Pool, ThinBlocks, open_pool
from layerscope.hostfs import Directory
from layerscope.hostfs.block_file import BlockFile
from layerscope.model.digest import CacheID

HOME = "devicemapper"
"""The folder of all of it, below the root."""
FILES = "rootfs"
"""Where a layer's files lie inside its device."""
_POOL = "devicemapper"
_BASE = "base"
_NO_LAYERS = {_BASE, "deviceset-metadata", "transaction-metadata"}
_LEFTOVERS = (".tmp", ".migrated")
_RECORD_LIMIT = 1 << 12
_TRIES = 3
_KEPT_SYSTEMS = 64
_DEVICE_NUMBERS = 1 << 40
"""Made-up ``st_dev`` begin here: each thin device has its own, and no other file system has one of these."""

System = FileSystem | XfsFileSystem


class DeviceSet:
    """The devices below ``home``. A half of the pool that is not there, too, can be handed over."""

    def __init__(self, home: Directory, thin_metadata: Path | None = None, thin_data: Path | None = None) -> None:
        """Those of docker's folder ``devicemapper``; what may be handed over is told by the driver.

        Raises:
            RootError: what was handed over can't be opened; PermissionDenied: this user may not.
        """
        self._home = home
        self._records = home.enter("metadata")
        self._halves = {"metadata": _handed_over(thin_metadata), "data": _handed_over(thin_data)}
        self._places = {"metadata": thin_metadata, "data": thin_data}
        self._turn = threading.RLock()
        self._pool: Pool | None = None
        self._systems: dict[str, System] = {}
        self.changed_while_read = False
        """Whether the pool never stood still: what was read of it may be wrong."""

    # ------------------------------------------------------------------ records
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

    def device_record(self, cache_id: CacheID | None) -> DeviceRecord:
        """docker's record of a layer's device, None for the base's.

        Raises:
            OSError: it isn't there or can't be read.
            CorruptError: it is no such record.
        """
        name = cache_id or _BASE
        return parse_device(self._records.read(name, _RECORD_LIMIT), name)

    def last_transaction(self) -> tuple[int, int]:
        """Number and device of the last change of the pool that docker began.

        Raises:
            OSError: there is no record of it, or it can't be read.
            CorruptError: it is no such record.
        """
        return parse_transaction(self._records.read("transaction-metadata", _RECORD_LIMIT))

    # ------------------------------------------------------------------ the pool
    def pool(self) -> Pool:
        """The pool as it is now: read again when its metadata has changed.

        Raises:
            OSError: ENODATA if it lies outside of the root and wasn't handed over.
            CorruptError: it is damaged.
            UnsupportedError: a newer format.
        """
        with self._turn:
            if self._pool is None or not self._pool.is_current():
                file = self.half("metadata")
                self._systems.clear()
                for tries_left in reversed(range(_TRIES)):
                    try:
                        self._pool = open_pool(file)
                    except CorruptError:  # damaged, or half written just now
                        if not tries_left:
                            raise
                        continue
                    if self._pool.is_current():
                        break
                else:
                    self.changed_while_read = True
            assert self._pool is not None
            return self._pool

    def block_map(self, record: DeviceRecord) -> BlockMap:
        """Where the blocks of a device lie. Raises as :meth:`pool`, and CorruptError for an unknown device."""
        for _ in range(_TRIES):
            pool = self.pool()
            found = pool.block_map(record.device_id)
            if pool.is_current():
                return found
        self.changed_while_read = True
        return found

    def device(self, record: DeviceRecord) -> ThinBlocks:
        """The bytes of a device. Raises as :meth:`block_map`, and OSError ENODATA without the pool's data."""
        found = self.block_map(record)
        return ThinBlocks(found, self.pool().block_bytes, self.half("data"), record.size_bytes)

    def half(self, name: str) -> BlockDevice:
        """The pool's ``metadata`` or ``data``. Raises OSError, ENODATA if it lies outside of the root."""
        with self._turn:
            found = self._halves[name]
            if found is None:
                try:
                    found = BlockFile.of(self._home.enter(_POOL).open(name))
                except (FileNotFoundError, NotADirectoryError):
                    what = f"the pool's {name} device lies outside of the root"
                    raise OSError(errno.ENODATA, what, f"{HOME}/{_POOL}/{name}") from None
                self._halves[name] = found
            return found

    def half_place(self, name: str) -> str:
        """Where the pool's ``metadata`` or ``data`` is, or would be, relative to the root; or what was handed over."""
        place = self._places[name]
        return f"{HOME}/{_POOL}/{name}" if place is None else os.fspath(place)

    # ------------------------------------------------------------------ what is inside
    def file_system(self, cache_id: CacheID | None) -> System:
        """What is inside a layer's device (None: the base's).

        Raises:
            OSError, CorruptError: as :meth:`device_record`, :meth:`device`, or no file system is in it.
            UnsupportedError: it is one that can't be read here.
        """
        return self.system_in(self.device_record(cache_id))

    def system_in(self, record: DeviceRecord) -> System:
        """The file system inside a device; the last ones opened are kept. Raises as :meth:`file_system`."""
        with self._turn:
            self.pool()  # a changed one makes what is kept stale
            found = self._systems.get(record.name)
            if found is None:
                found = self._open_system(self.device(record))
                if len(self._systems) >= _KEPT_SYSTEMS:
                    self._systems.clear()
                self._systems[record.name] = found
            return found

    def files_in(self, record: DeviceRecord) -> InodeDirectory[Any]:
        """The layer's files inside a device. Raises OSError; CorruptError, UnsupportedError for what is around them."""
        top = InodeDirectory[Any](self.system_in(record), _DEVICE_NUMBERS + record.device_id).enter(FILES)
        top.stat_self()
        return top

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


def _handed_over(path: Path | None) -> BlockFile | None:
    if path is None:
        return None
    try:
        return BlockFile.open_path(path)
    except PermissionError:
        raise PermissionDenied(f"cannot open {path}: permission denied; run as root") from None
    except OSError as error:
        raise RootError(f"cannot open {path}: {error.strerror or error}") from None
