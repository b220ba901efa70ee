"""Layers whose files lie in a directory, with a record (tar-split) of the tar that they came in."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from layerscope.analysis.verify.content import holds_sparse_files
from layerscope.analysis.verify.layer import LOST, NO_RECORD
from layerscope.analysis.verify.places import Places
from layerscope.drivers import Driver, Elsewhere
from layerscope.errors import CommitError, CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.tar.split import FileEntry, read_entries, reassemble
from layerscope.formats.whiteout import NAME_PREFIX
from layerscope.lab.archive.saving import ImageBytes, said
from layerscope.model.digest import ChainID, hex_of
from layerscope.model.image import Image
from layerscope.model.problem import Severity
from layerscope.services.contents import Contents
from layerscope.services.saving.config import diff_ids_of, read_config
from layerscope.stores.base import Store
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.podman.big_data import read_item
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.records.files import Fault, read_bytes
from layerscope.stores.records.json_record import LIMIT

_SPARSE = "its tar held a sparse file, whose map no engine keeps: that tar can't be made again"


def docker_image(store: DockerStore, driver: Driver, image: Image) -> ImageBytes:
    """An image of docker's own store. Raises CommitError."""
    folder = store.root.descend(f"image/{store.driver}/imagedb/content/sha256")
    return _image(store, driver, image, lambda: read_bytes(folder, hex_of(image.id), LIMIT))


def podman_image(store: PodmanStore, driver: Driver, image: Image) -> ImageBytes:
    """An image of containers/storage. Raises CommitError."""
    stored = store.stored_image(image.id)
    assert stored is not None
    if stored.is_list:
        doing = f"cannot save {hex_of(image.id)[:12]}"
        raise CommitError(f"{doing}: it is a list of images for several platforms; save one of those")
    return _image(store, driver, image, lambda: read_item(stored.folder, image.id))


def _image(store: Store, driver: Driver, image: Image, read: Callable[[], bytes | Fault]) -> ImageBytes:
    error = next((problem for problem in image.problems if problem.severity == Severity.ERROR), None)
    if error is not None:
        doing = f"cannot save {hex_of(image.id)[:12]}"
        raise CommitError(f"{doing}: {escape(error.path)}: {escape(error.what)}; layerscope doctor tells more")

    def config() -> bytes:
        return read_config(image.id, read())

    diff_ids = diff_ids_of(image.id, config(), len(image.chain_ids))
    layers = tuple(_RecordedLayer(store, driver, chain) for chain in image.chain_ids)
    return ImageBytes(image.id, config, diff_ids, layers)


class _RecordedLayer:
    """See :class:`layerscope.lab.archive.saving.LayerBytes`."""

    def __init__(self, store: Store, driver: Driver, chain: ChainID) -> None:
        self._store = store
        self._driver = driver
        self._chain = chain

    def size(self) -> int:
        """As the record has it: no file is looked at."""
        with self._record() as record:
            return sum(
                entry.size if isinstance(entry, FileEntry) else len(entry.payload) for entry in read_entries(record)
            )

    def pieces(self) -> Iterator[bytes]:
        """The record's bytes, with those of the files between them."""
        with self._record() as record:
            yield from reassemble(record, partial(_open, self._places()))

    def explain(self, found: str) -> str:
        """Changed files, or a tar that can't be made again."""
        with suppress(CorruptError, OSError), self._record() as record:
            if holds_sparse_files(read_entries(record)):
                return _SPARSE
        return f"its files were changed, their tar has the digest {found}; layerscope verify tells which"

    def _record(self) -> BinaryIO:
        record = self._store.tar_split(self._chain)
        if record is None:
            raise CorruptError(f"{NO_RECORD} or can't be read, and nothing else tells what it was")
        return record

    def _places(self) -> Places:
        """The layer alone: links in it lead nowhere else, and its marks are nothing but files."""
        layer = self._store.layers().get(self._chain)
        if layer is None or layer.cache_id is None:
            raise CorruptError("its directory isn't recorded")
        try:
            return Places(self._driver.open_layer(layer.cache_id))
        except OSError as error:
            if isinstance(self._driver, Elsewhere):
                told = Contents.absence(self._driver, layer.cache_id)
                hint = f"; {told.hint}" if told.hint else ""
                raise CorruptError(f"{told.path}: {told.what}{hint}") from None
            raise CorruptError(f"{self._driver.layer_path(layer.cache_id)} can't be read: {said(error)}") from None


def _open(places: Places, name: str, size: int) -> BinaryIO:
    """The content of a tar's member; the last name of it is no link."""
    try:
        place, last = places.split(name)
        return place.directory.open(last)
    except OSError as error:
        if error.errno == errno.ENOENT and name.rpartition("/")[2].startswith(NAME_PREFIX):
            raise CorruptError(LOST) from None
        raise CorruptError(f"the file {escape(name)[:200]} can't be read: {said(error)}") from None
