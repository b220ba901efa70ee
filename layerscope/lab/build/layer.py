"""One step of a build: a layer for what it changes (none if it changes nothing), and an image on top of the last one.

Order as docker's. The layers in which a step works lie aside and go before its image is put in place, so an interrupted
step leaves the root as it was.

Source: moby builder/dockerfile/internals.go ``commitContainer``, ``exportImage``, daemon/images/image_commit.go
``CommitBuildStep``; 20.10.24.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import CommitError
from layerscope.formats.engine_rules import rules_of
from layerscope.hostfs import Directory
from layerscope.lab.container.directories import files_of, open_overlay
from layerscope.lab.container.init_layer import fill_init_layer
from layerscope.lab.container.run_config import RunConfig, in_order
from layerscope.lab.image.commit import EMPTY_TAR, CommitOptions, upper_tar
from layerscope.lab.image.config import committed_config
from layerscope.lab.layer.new import (
    MOST_LAYERS,
    LayerMaker,
    make_layer_directory,
    recorded_cache_id,
    remove_layer_directory,
)
from layerscope.lab.root.disk import now
from layerscope.lab.root.records import stage_image
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import CacheID, ChainID, ImageID, chain_id
from layerscope.model.image import Image
from layerscope.model.problem import Problem
from layerscope.overlay.engine import Overlay

_BUILT_LOCALLY = 26
"""The oldest engine seen to note which images were made on it."""


class BuildOptions(Struct, frozen=True):
    """How to build. ``commit.maker.created``: when, "" for the time of each step.

    ``latest``: no file of a new layer is younger than this, in seconds since 1970; None leaves times as they are.
    """

    commit: CommitOptions
    latest: int | None = None


class StageImage(Struct, frozen=True):
    """The image that a stage has come to; ``id`` None: nothing yet, on an empty file system."""

    id: ImageID | None
    config: Mapping[str, Any]
    chain: ChainID | None
    layers: int

    @classmethod
    def of(cls, image: Image) -> StageImage:
        """That of a stored image."""
        return cls(image.id, image.config, image.chain_ids[-1] if image.chain_ids else None, len(image.chain_ids))

    @property
    def run_config(self) -> Mapping[str, Any]:
        """Its ``config``."""
        return self.config.get("config") or {}


EMPTY = StageImage(None, {}, None, 0)


class StepMaker:
    """Makes the images of one build. ``problems``: what was left out of layers; ``doing``: the step, for messages."""

    def __init__(self, root: LabRoot, options: BuildOptions) -> None:
        self._root = root
        self._options = options
        self.problems: list[Problem] = []
        self.doing = "cannot build"

    def begin(self) -> Transaction:
        """What a step is done in."""
        return Transaction(self._root.disk, self.doing)

    # ------------------------------------------------------------------ where a step works
    def work_layer(self, transaction: Transaction, image: StageImage, with_init: bool) -> CacheID:
        """A layer on top of an image, with docker's own files between if a container would run in it.

        Raises:
            CommitError: the image's top layer isn't recorded, or the disk said no.
        """
        below = recorded_cache_id(self._root.disk, image.chain) if image.chain is not None else None
        if image.chain is not None and below is None:
            raise CommitError(f"{transaction.doing}: the directory of the image's top layer isn't recorded")
        disk = self._root.disk
        flag = f"{DRIVER}/{below}/committed"
        if below is not None and not disk.exists(flag):
            transaction.on_failure(lambda: disk.remove_file(flag))
        identity = CacheID(secrets.token_hex(32))
        if with_init:
            init = CacheID(f"{identity}-init")
            make_layer_directory(transaction, init, below)
            with open_overlay(self._root, init) as overlay:
                fill_init_layer(overlay)
            below = init
        make_layer_directory(transaction, identity, below)
        return identity

    def open(self, layer: CacheID) -> Overlay:
        """The files of a work layer."""
        return open_overlay(self._root, layer)

    def upper(self, layer: CacheID) -> Directory:
        """What lies in a work layer itself."""
        return files_of(self._root, layer)

    def remove(self, layer: CacheID) -> None:
        """Take a work layer away."""
        for identity in (layer, CacheID(f"{layer}-init")):
            remove_layer_directory(self._root.disk, identity)

    # ------------------------------------------------------------------ its image
    def make(
        self,
        transaction: Transaction,
        image: StageImage,
        ran: RunConfig,
        config: RunConfig,
        *,
        author: str,
        container: Callable[[str], RunConfig] | None,
        layer: CacheID | None,
    ) -> StageImage:
        """Put the next image in place; the work layer goes.

        Args:
            transaction: the step's; published here.
            image: the one before.
            ran: the configuration of the step's container, which the cache goes by.
            config: the new image's.
            author: of MAINTAINER.
            container: makes of a container's ID the configuration that it would have got; None: there was none.
            layer: where the step worked, None if it changes no files.

        Raises:
            CommitError: the stack would be too deep, an entry can't be in a layer, or the disk said no.
        """
        maker = self._options.commit.maker
        maker = replace(maker, created=maker.created or now(), author=author)
        identity = _container_id(image, ran, maker.created) if container is not None else ""
        ran = in_order(container(identity) if container is not None else ran)
        diff_id, chain = None, image.chain
        if layer is not None:
            if self._options.latest is not None:
                clamp_times(self.upper(layer), self._options.latest)
            if self.upper(layer).scan():
                if image.layers >= MOST_LAYERS:
                    raise CommitError(f"{transaction.doing}: {MOST_LAYERS} layers are there, docker takes no more")
                commit = replace(self._options.commit, maker=maker)
                tar = upper_tar(self._root, layer, commit)
                made = LayerMaker(self._root, transaction, rules_of(maker.engine)).make(
                    tar.open(), image.chain, unless=EMPTY_TAR
                )
                self.problems += [*tar.problems, *made.unpacked.problems]
                if made.unpacked.diff_id != EMPTY_TAR:
                    diff_id = made.unpacked.diff_id
                    chain = chain_id(image.chain, diff_id)
            self.remove(layer)
        written = committed_config(
            image.config or None,
            identity,
            ran,
            in_order(config),
            diff_id,
            maker,
            str(image.config.get("os") or "linux"),
        )
        stage_image(transaction, written.id, written.data, image.id, maker.major >= _BUILT_LOCALLY)
        transaction.publish()
        return StageImage(written.id, json.loads(written.data), chain, image.layers + (diff_id is not None))


def _container_id(image: StageImage, ran: Mapping[str, Any], created: str) -> str:
    """The ID of the container that docker would have made for a step: none is, so it is made of what is known."""
    words = [str(image.id), created, *(ran.get("Cmd") or ())]
    return sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()


def clamp_times(top: Directory, latest: int) -> None:
    """Give every entry that is younger the time ``latest`` (seconds since 1970).

    Raises:
        OSError: the disk said no.
    """
    latest_ns = latest * 10**9
    pending = [top]
    while pending:
        directory = pending.pop()
        entries = directory.scan()
        names = [name for name, _ in entries]
        for (name, kind), status in zip(entries, directory.stats(names), strict=True):
            if kind == "d":
                pending.append(directory.enter(name))
            if status is not None and status.st_mtime_ns > latest_ns:
                with directory.held() as fd:
                    os.utime(name, ns=(latest_ns, latest_ns), dir_fd=fd, follow_symlinks=False)
