"""Removing what interrupted work left: halves that nothing refers to.

In a lab everything that no record refers to goes. In a real root only what is known as ours goes, by the journals of
our own transactions; and what docker marks as half made or half removed itself (``.tmp-*``, ``*-removing``). Where a
record is damaged, what it may refer to can't be told: then, too, only what the journals name goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, field

from layerscope.errors import CommitError, CorruptError
from layerscope.lab.image.removal import delete_layer
from layerscope.lab.layer.new import remove_layer_directory, short_names_of
from layerscope.lab.root.claims import Claims
from layerscope.lab.root.disk import TEMPORARY
from layerscope.lab.root.records import CONTAINERS, CONTENT, DRIVER_RECORDS, LAYERS, METADATA, MOUNTS, VOLUMES
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import JOURNAL, OWN_PREFIX, UNFINISHED
from layerscope.model.digest import CacheID, is_file_name, is_hex64

_REMOVING = re.compile(r"[0-9a-f]{64}-.*-removing")
_JOURNAL_LIMIT = 1 << 20
_SHORT = 4096


class _Journals(Struct):
    """What interrupted transactions were making or taking away, and their folders."""

    folders: list[str] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)


def sweep(root: LabRoot) -> list[str]:
    """Remove all leftovers; gives the paths that went, in that order.

    Raises:
        CommitError: the disk said no.
    """
    try:
        return list(_Sweep(root).steps())
    except OSError as error:
        raise CommitError(f"cannot sweep: {error.strerror or error}") from None


class _Sweep:
    def __init__(self, root: LabRoot) -> None:
        self._root = root
        self._disk = root.disk
        self._journals = self._read_journals()

    def steps(self) -> Iterator[str]:
        """Carry out one removal after the other."""
        yield from self._mounts()
        yield from self._layers()
        yield from self._directories()
        yield from self._metadata()
        yield from self._small_files()
        yield from self._volumes()
        for folder in self._journals.folders:
            self._disk.remove_tree(folder)
            yield folder

    def _read_journals(self) -> _Journals:
        found = _Journals()
        for name in self._disk.names(UNFINISHED):
            own = name.startswith(OWN_PREFIX)
            if not (own or self._root.is_lab):
                continue
            found.folders.append(f"{UNFINISHED}/{name}")
            if not own:
                continue
            try:
                text = self._root.top.descend(f"{UNFINISHED}/{name}").read(JOURNAL, _JOURNAL_LIMIT).decode("ascii")
            except (FileNotFoundError, CorruptError, UnicodeDecodeError):
                continue
            for line in text.splitlines():
                kind, _, identity = line.partition(" ")
                named = {"layer": found.layers, "container": found.containers, "volume": found.volumes}.get(kind)
                if is_file_name(identity) and named is not None:
                    named.add(identity)
        return found

    def _mounts(self) -> Iterator[str]:
        """Records of writable layers whose container never came, or is gone."""
        for record in self._root.store().orphan_mounts():
            if record.name in self._journals.containers or (self._root.is_lab and is_hex64(record.name)):
                self._disk.remove_tree(f"{MOUNTS}/{record.name}")
                yield f"{MOUNTS}/{record.name}"

    def _volumes(self) -> Iterator[str]:
        """Volumes of containers that never came."""
        used = {mount.name for container in self._root.store().containers() for mount in container.mounts}
        for name in sorted(self._journals.volumes - used):
            if self._disk.exists(f"{VOLUMES}/{name}"):
                self._disk.remove_tree(f"{VOLUMES}/{name}")
                yield f"{VOLUMES}/{name}"

    def _layers(self) -> Iterator[str]:
        """Layers that nothing refers to, and such as were being removed."""
        claims = Claims(self._root.store())
        for chain in claims.unused():
            cache_id = claims.cache_of(chain)
            if (self._root.is_lab and claims.certain) or cache_id in self._journals.layers:
                delete_layer(self._disk, chain, cache_id)
                yield f"{LAYERS}/{chain.removeprefix('sha256:')}"
        claimed = Claims(self._root.store()).caches
        for name in self._disk.names(LAYERS):
            if _REMOVING.fullmatch(name):
                cache_id = self._cache_id_in(f"{LAYERS}/{name}")
                if cache_id is not None and cache_id not in claimed:
                    remove_layer_directory(self._disk, cache_id)
                self._disk.remove_tree(f"{LAYERS}/{name}")
                yield f"{LAYERS}/{name}"

    def _cache_id_in(self, record: str) -> CacheID | None:
        try:
            text = self._root.top.descend(record).read("cache-id", _SHORT).decode("ascii").strip()
        except (OSError, CorruptError, UnicodeDecodeError):
            return None
        return CacheID(text) if is_file_name(text) and text != "l" else None

    def _directories(self) -> Iterator[str]:
        """Layers' directories that no record names, and short names that lead nowhere."""
        claims = Claims(self._root.store())
        everything = self._root.is_lab and claims.certain
        known = self._disk.names(DRIVER)
        for name in known:
            if name == "l" or name in claims.caches or not self._disk.is_directory(f"{DRIVER}/{name}"):
                continue
            if everything or name in self._journals.layers:
                remove_layer_directory(self._disk, CacheID(name))
                yield f"{DRIVER}/{name}"
        for name in self._journals.layers - set(known):
            for short in short_names_of(self._disk, CacheID(name)):
                self._disk.remove_file(f"{DRIVER}/l/{short}")
                yield f"{DRIVER}/l/{short}"
        if self._root.is_lab:
            yield from self._dangling_names()

    def _dangling_names(self) -> Iterator[str]:
        directory = self._root.top.descend(f"{DRIVER}/l")
        for name in directory.names():
            try:
                target = directory.readlink(name).split("/")
            except OSError:
                continue
            if len(target) != 3 or target[0] != ".." or not self._disk.is_directory(f"{DRIVER}/{target[1]}"):
                self._disk.remove_file(f"{DRIVER}/l/{name}")
                yield f"{DRIVER}/l/{name}"

    def _metadata(self) -> Iterator[str]:
        """Metadata of images that are not there."""
        if self._root.is_lab:
            for name in self._disk.names(METADATA):
                if is_hex64(name) and not self._disk.exists(f"{CONTENT}/{name}"):
                    self._disk.remove_tree(f"{METADATA}/{name}")
                    yield f"{METADATA}/{name}"

    def _small_files(self) -> Iterator[str]:
        """Records that were being written."""
        folders = [DRIVER_RECORDS, CONTENT]
        folders += [f"{METADATA}/{name}" for name in self._disk.names(METADATA)]
        folders += [f"{CONTAINERS}/{name}" for name in self._disk.names(CONTAINERS)]
        for folder in folders:
            for name in self._disk.names(folder):
                if name.startswith(TEMPORARY):
                    self._disk.remove_file(f"{folder}/{name}")
                    yield f"{folder}/{name}"
