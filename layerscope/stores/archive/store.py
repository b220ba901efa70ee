"""The images of an archive as the records of a store: no containers, no volumes, no engine that may hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from layerscope.errors import RootError
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, ImageID
from layerscope.model.image import Image, Layer
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem, Severity
from layerscope.model.root import Daemon
from layerscope.model.volume import Volume
from layerscope.stores.archive.archive import Archive
from layerscope.stores.archive.described import BLOBS, INDEX, SAVED, described
from layerscope.stores.archive.images import ArchivedImage, ArchivedImages, read_images
from layerscope.stores.archive.recovered import recovered
from layerscope.stores.base import StoreFacts
from layerscope.stores.records.files import MISSING, Fault, shown, unique
from layerscope.stores.records.json_record import LIMIT, parse

_MADE_OUT = "images are those that manifests, configs and records of layers in it make out"


class _Anything(msgspec.Struct):
    """A record of which nothing is demanded."""


class ArchiveStore:
    """The records of one archive; satisfies :class:`layerscope.stores.base.Store` and ``TellsOfRoot``."""

    name = "archive"
    without_root = "an image archive"
    driver = "tar"

    def __init__(self, archive: Archive, path: Path) -> None:
        """Read what describes the images.

        Raises:
            RootError: nothing does: it is no image archive, or too little of it is left.
        """
        self.archive = archive
        self._path = path
        self._problems: list[Problem] = list(archive.members.problems)
        found = described(archive, self._problems)
        if found is None:
            found = recovered(archive)
            if found:
                what = f"has neither a {SAVED} nor an {INDEX} that can be read"
                self._problems.append(Problem("", what, _MADE_OUT, severity=Severity.WARNING))
        if not found:
            raise RootError(f"cannot open {shown(path, 300)}: {self._why_not(found is None)}")
        self._found: ArchivedImages = read_images(archive, found)

    def _why_not(self, undescribed: bool) -> str:
        first = next((f"{problem.path}{': ' if problem.path else ''}{problem.what}" for problem in self._problems), "")
        because = f"; {first}" if first else ""
        if not undescribed:
            return f"the archive describes no image that can be shown{because}"
        return f"it is neither a root nor an image archive: it has no {SAVED} and no {INDEX}{because}"

    # ------------------------------------------------------------------ what a store answers
    def images(self) -> tuple[Image, ...]:
        """All images, newest first, then by ID."""
        return self._images

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        return tuple(one.image for one in self._found.images)

    @cached_property
    def _by_id(self) -> Mapping[ImageID, ArchivedImage]:
        return {one.image.id: one for one in self._found.images}

    def containers(self) -> tuple[Container, ...]:
        """None."""
        return ()

    def layers(self) -> Mapping[ChainID, Layer]:
        """The layers of all images; no size is recorded."""
        return self._found.layers

    def volumes(self) -> tuple[Volume, ...]:
        """None."""
        return ()

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with what describes the images, each once."""
        return unique((*self._problems, *(problem for image in self._images for problem in image.problems)))

    def build_cache(self) -> frozenset[CacheID]:
        """Nothing."""
        return frozenset()

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """None: the tar itself is there."""
        return None

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """The stack of an image, base first: the tars that it names, known by their diff IDs as far as those go."""
        one = self._by_id.get(subject.id) if isinstance(subject, Image) else None
        if one is None:
            return ()
        image = one.image
        commands = {row.level: row.created_by for row in image.history if row.level is not None}
        levels = []
        for number in range(1, max(len(one.cache_ids), len(image.chain_ids)) + 1):
            index = number - 1
            levels.append(
                Level(
                    number,
                    Role.IMAGE,
                    one.cache_ids[index] if index < len(one.cache_ids) else None,
                    image.chain_ids[index] if index < len(image.chain_ids) else None,
                    image.diff_ids[index] if index < len(image.diff_ids) else None,
                    created_by=commands.get(number, ""),
                )
            )
        return tuple(levels)

    def records(self, subject: Image | Container) -> dict[str, object]:
        """What the archive says of an image: its entries in ``manifest.json`` or its OCI manifests, its config."""
        one = self._by_id.get(subject.id) if isinstance(subject, Image) else None
        if one is None:
            return {"id": subject.id}
        first = one.described[0]
        return {
            "id": one.image.id,
            "config_path": first.config,
            "layers": [self._found.members[cache_id] for cache_id in one.cache_ids],
            SAVED: [dict(each.record) for each in one.described if each.record],
            "manifests": [
                {"digest": each.manifest, "platform": each.platform, "manifest": self._json(each.manifest)}
                for each in one.described
                if each.manifest
            ],
            "config": dict(one.image.config) or None,
        }

    def _json(self, digest: str) -> object:
        data = self.archive.read(f"{BLOBS}/{digest.replace(':', '/')}", LIMIT)
        return None if isinstance(data, Fault) else parse(data, _Anything).raw or None

    def config_of(self, image: Image) -> bytes | Fault:
        """The bytes of an image's config, or why they can't be had."""
        one = self._by_id.get(image.id)
        return MISSING if one is None else self.archive.read(one.described[0].config, LIMIT)

    # ------------------------------------------------------------------ abilities
    @property
    def members(self) -> Mapping[CacheID, str]:
        """Where the tar of each layer lies in the archive, or should."""
        return self._found.members

    @property
    def missing(self) -> Mapping[CacheID, str]:
        """The layers whose tars can't be had, with why."""
        return self._found.missing

    def facts(self) -> StoreFacts:
        """What wrote it, as far as its form tells, and how layers are compressed."""
        saved, laid_out = self.archive.has(SAVED), self.archive.has(INDEX)
        engine = "docker save" if saved else "an OCI layout" if laid_out else "an archive without its index"
        if saved and laid_out:
            engine = "docker save, docker 25 or newer (an OCI layout, too)"
        features = []
        if self.archive.form not in ("plain", "folder"):
            features.append(f"the archive as a whole is compressed ({self.archive.form}): it was read through once")
        forms: Counter[str] = Counter()
        for member in self._found.members.values():
            try:
                forms[self.archive.form_of(member)] += 1
            except OSError:
                continue
        features.extend(f"{count} layers {form}" for form, count in sorted(forms.items()))
        return StoreFacts(engine, tuple(features))

    def daemon(self) -> Daemon:
        """No engine uses an archive in place."""
        return Daemon(held=False, evidence="no engine works in an image archive")
