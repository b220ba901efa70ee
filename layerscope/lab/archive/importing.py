"""Images from outside: one of a tar (import), and whole ones of an archive (load).

Layers that are there already are used, not read again, as docker does. All images of an archive come at once, or none.
Source: moby daemon/images/image_import.go, image/tarexport/load.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.formats.engine_rules import EngineRules, rules_of
from layerscope.formats.escape import escape
from layerscope.lab.archive.images import ArchivedImage, ArchivedLayer, archived_images
from layerscope.lab.archive.layout import Archive, open_archive
from layerscope.lab.build.changes import changed
from layerscope.lab.image.config import Maker, imported_config
from layerscope.lab.image.tagging import Reference, stage_tags
from layerscope.lab.layer.new import LayerMaker
from layerscope.lab.root.records import CONTENT, stage_image
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import ChainID, ImageID, chain_id, hex_of
from layerscope.model.problem import Problem

_LOADED_BY = "24"
"""The engine whose rules count where an image doesn't depend on them: only how tar-split records end."""


class Loaded(Struct, frozen=True):
    """An image that was loaded, and the names that it got. ``lost``: IDs of images that went without a name by it."""

    id: ImageID
    names: tuple[Reference, ...]
    lost: tuple[str, ...]
    problems: tuple[Problem, ...]


def import_image(
    root: LabRoot, tar: BinaryIO, shown: str, maker: Maker, name: Reference | None, changes: Sequence[str] = ()
) -> tuple[ImageID, tuple[Problem, ...]]:
    """An image of one layer, made of a tar (plain or compressed).

    Args:
        root: where.
        tar: read to its end.
        shown: what the tar is called in messages.
        maker: who makes it, and when.
        name: the image's.
        changes: Dockerfile instructions for its config.

    Raises:
        UsageError: a change isn't right.
        CommitError: the tar is damaged or breaks a rule, or the disk said no; nothing was changed.
    """
    config = changed({}, changes) if changes else {}
    with Transaction(root.disk, f"cannot import {shown}") as transaction:
        layer = LayerMaker(root, transaction, rules_of(maker.engine)).make(tar, None)
        made = imported_config(config, layer.unpacked.diff_id, maker)
        stage_image(transaction, made.id, made.data, None, built=False)
        stage_tags(root, transaction, {name: made.id} if name else {})
        transaction.publish()
    return made.id, layer.unpacked.problems


def load_archive(root: LabRoot, source: Path | BinaryIO, shown: str) -> list[Loaded]:
    """All images of an archive.

    Args:
        root: where.
        source: a tar (plain or compressed) as a path or stream, or a folder.
        shown: what it is called in messages.

    Raises:
        RootError: it isn't there, or can't be read.
        UsageError: an image in it has a name that docker takes not.
        CommitError: it is damaged or breaks a rule, or the disk said no; nothing was changed.
    """
    doing = f"cannot load {shown}"
    with (
        Transaction(root.disk, doing) as transaction,
        open_archive(source, root.path / transaction.folder) as archive,
    ):
        images = archived_images(archive)
        loader = _Loader(root, transaction, archive, rules_of(_LOADED_BY))
        problems = [loader.load(image) for image in images]
        tags = {name: image.id for image in images for name in image.names}
        lost = stage_tags(root, transaction, tags)
        transaction.publish()
    return [
        Loaded(image.id, image.names, tuple(lost[name] for name in image.names if name in lost), tuple(found))
        for image, found in zip(images, problems, strict=True)
    ]


class _Loader:
    def __init__(self, root: LabRoot, transaction: Transaction, archive: Archive, rules: EngineRules) -> None:
        self._transaction = transaction
        self._archive = archive
        self._layers = LayerMaker(root, transaction, rules)
        self._staged: set[ImageID] = set()

    def load(self, image: ArchivedImage) -> list[Problem]:
        """Stage an image with the layers that aren't there yet."""
        problems: list[Problem] = []
        parent: ChainID | None = None
        for layer in image.layers:
            chain = chain_id(parent, layer.diff_id)
            if self._layers.known(chain) is None:
                problems.extend(self._make(layer, parent))
            parent = chain
        if image.id not in self._staged:
            known = image.parent
            if known is not None and not self._is_there(known):
                known = None
            stage_image(self._transaction, image.id, image.config, known, built=False)
            self._staged.add(image.id)
        return problems

    def _is_there(self, image: ImageID) -> bool:
        return image in self._staged or self._transaction.disk.exists(f"{CONTENT}/{hex_of(image)}")

    def _make(self, layer: ArchivedLayer, parent: ChainID | None) -> tuple[Problem, ...]:
        shown = escape(layer.name)[:200]
        with self._archive.open(layer.name) as file:
            hashed = _Hashed(file) if layer.digest is not None else None
            made = self._layers.make(cast(BinaryIO, hashed or file), parent, shown=shown)
            if hashed is not None and hashed.finish() != layer.digest:
                raise CommitError(
                    f"{self._transaction.doing}: {shown} has the digest {hashed.finish()}, expected {layer.digest}"
                )
        if made.unpacked.diff_id != layer.diff_id:
            raise CommitError(
                f"{self._transaction.doing}: {shown} has the diff ID {made.unpacked.diff_id}, but the image's config "
                f"names {layer.diff_id}"
            )
        return made.unpacked.problems


class _Hashed:
    """A file whose digest is taken while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()

    def read(self, size: int = -1) -> Any:
        """As a file's."""
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def finish(self) -> str:
        """Read what is left; the digest of all."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._digest.hexdigest()}"
