"""The driver: which devices are layers, and the files of one, through its mount or through the pool."""

from __future__ import annotations

import errno
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerscope.drivers.devicemapper.device_set import FILES, HOME, DeviceSet
from layerscope.drivers.devicemapper.problems import device_problems, pool_problems, unsupported
from layerscope.drivers.folders import LayerDirs, open_handed
from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.whiteout import UNMARKED, Dialect
from layerscope.hostfs import Directory
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem
from layerscope.model.tree import LayerDirectory


class DeviceMapper(DeviceSet):
    """The devicemapper driver on one root. Pools whose halves are not in the root can be handed over."""

    name = HOME
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
        super().__init__(root.enter(HOME), thin_metadata, thin_data)
        self.dialect = UNMARKED
        self.handed = open_handed(layer_dirs)

    def layer_path(self, cache_id: CacheID) -> str:
        """``devicemapper/mnt/<id>/rootfs``: where the files are while the device is mounted."""
        mounted = self._mounted(cache_id) if cache_id in self.handed else None
        return mounted.path if mounted is not None else f"{self.name}/mnt/{cache_id}/{FILES}"

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
            return self.files_in(record)

    def _mounted(self, cache_id: CacheID) -> Directory | None:
        """The files of a device that is mounted: where the user says, or in its place on a file system of its own."""
        if cache_id in self.handed:
            top = self.handed[cache_id]
            found = top.stat_or_none(FILES)
            return top.enter(FILES) if found is not None and modes.S_ISDIR(found.st_mode) else top
        mounts = self._home.enter("mnt")
        try:
            inside = mounts.enter(cache_id)
            if inside.stat_self().st_dev == mounts.stat_self().st_dev:
                return None
            files = inside.enter(FILES)
            files.stat_self()
        except OSError:
            return None
        return files

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
        of_pool = pool_problems(self)
        if self._pool is None:
            return of_pool
        return [*of_pool, *device_problems(self, path, record, self._pool)]

    def absence(self) -> Problem:
        """Why files of layers can't be read, as far as one reason holds for all."""
        for problem in pool_problems(self):
            return problem
        try:
            self.file_system(None)
        except UnsupportedError as error:
            return unsupported(error)
        except (OSError, CorruptError):
            pass  # the base's own trouble is not that of the layers
        return Problem(self.name, "the device of this layer can't be read", hint="layerscope info tells why")


@contextmanager
def _as_os_error(name: str) -> Iterator[None]:
    """Our own errors as the OSError that who opens a directory expects."""
    try:
        yield
    except UnsupportedError as error:
        raise OSError(errno.ENOTSUP, str(error), name) from None
    except CorruptError as error:
        raise OSError(errno.EIO, str(error), name) from None
