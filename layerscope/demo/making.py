"""The root of the demo, made by the lab's engine: images of layer tars, containers changed through the overlay.

The story is told in the order of its times. What each chapter leaves on disk gets the chapter's time, and names are
made of the chapters: the same text gives the same root each time, except for inodes and what an unprivileged user's
disk can't carry (:mod:`layerscope.lab.root.abilities`).
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from layerscope.demo.containers import CONTAINERS, Container
from layerscope.demo.cut_off import cut_off
from layerscope.demo.images import CUT_OFF, Image, story
from layerscope.demo.inside import Inside
from layerscope.demo.run import tell_run
from layerscope.demo.story_disk import StoryDisk
from layerscope.demo.times import POWER_LOST, moment
from layerscope.demo.volume import fill_volume
from layerscope.errors import UnsupportedError
from layerscope.formats.engine_rules import rules_of
from layerscope.lab.container.create import create_container
from layerscope.lab.container.directories import open_overlay
from layerscope.lab.image.removal import remove_image
from layerscope.lab.image.tagging import Reference, parse_tag, stage_tags
from layerscope.lab.layer.new import LayerMaker
from layerscope.lab.root.abilities import WhiteoutForm
from layerscope.lab.root.new import make_lab
from layerscope.lab.root.records import MOUNTS, stage_image
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import CacheID, ChainID, ContainerID, ImageID, chain_id, digest_of
from layerscope.model.image import Image as StoredImage

_ENGINE = "24"
_REMOVED_BY_FORCE = "shop/report:0.9"
_REMOVED_AT = moment("2026-03-12T10:16:30")
_SLACK_SECONDS = 2.0
_SHORT = 4096


def make_demo(path: Path) -> None:
    """A lab root at ``path``, where nothing is yet, with the images and containers of the story.

    It isn't brought to the disk, and half a root is left by an error: the caller makes it aside.

    Raises:
        UnsupportedError: the file system there can't keep the marks that the overlay writes.
        RootError: a text of the story is missing.
        LayerscopeError, OSError: the disk said no.
    """
    since = time.time() - _SLACK_SECONDS
    make_lab(path, empty=True)
    with LabRoot.open(path) as root:
        if root.abilities.whiteouts is WhiteoutForm.NAME:
            raise UnsupportedError("its file system keeps no extended attributes, so no opaque directories")
        disk = StoryDisk(root.top)
        root.disk = disk
        for chapter in _Story(root, disk).chapters():
            chapter()
            _settle(path, since, disk.moment)


class _Story:
    def __init__(self, root: LabRoot, disk: StoryDisk) -> None:
        self._root = root
        self._disk = disk
        self._images: dict[Reference, ImageID] = {}
        self._containers: dict[str, ContainerID] = {}

    def chapters(self) -> list[Callable[[], None]]:
        """What happens, in order."""
        timed: list[tuple[datetime, Callable[[], None]]] = []
        for image, names in story():
            timed.append((image.created, self._image(image, tuple(map(parse_tag, names)))))
        for container in CONTAINERS:
            timed.append((moment(container.created), self._creation(container)))
            if container.started is not None:
                timed.append((_end_of(container), self._life(container)))
        timed.append((_REMOVED_AT, self._force_removal))
        return [chapter for _, chapter in sorted(timed, key=lambda item: item[0])]

    # ------------------------------------------------------------------ images
    def _image(self, image: Image, names: tuple[Reference, ...]) -> Callable[[], None]:
        def make() -> None:
            self._disk.turn_to(f"image {names[0].text} of {image.created}", image.created)
            document = image.document()
            identity = ImageID(digest_of(document))
            with Transaction(self._disk, f"cannot make {names[0].text}") as transaction:
                top = self._layers(image, transaction)
                stage_image(transaction, identity, document, None, built=False)
                stage_tags(self._root, transaction, dict.fromkeys(names, identity))
                transaction.publish()
            self._images.update(dict.fromkeys(names, identity))
            if names[0].text == CUT_OFF:
                cut_off(self._root, identity, names[0], top)

        return make

    def _layers(self, image: Image, transaction: Transaction) -> ChainID:
        """Make the layers that aren't there yet; gives the last one."""
        maker = LayerMaker(self._root, transaction, rules_of(_ENGINE))
        top: ChainID | None = None
        for layer in image.layers:
            chain = chain_id(top, layer.diff_id)
            if maker.known(chain) is None:
                maker.make(io.BytesIO(layer.data), top)
            top = chain
        assert top is not None
        return top

    def _force_removal(self) -> None:
        """`docker rmi -f` of an image that a container was made of: its layers stay."""
        self._disk.turn_to("removal", _REMOVED_AT)
        name = parse_tag(_REMOVED_BY_FORCE)
        remove_image(self._root, self._known(name), name, force=True)

    def _known(self, name: Reference) -> StoredImage:
        wanted = self._images[name]
        return next(image for image in self._root.store().images() if image.id == wanted)

    # ------------------------------------------------------------------ containers
    def _creation(self, container: Container) -> Callable[[], None]:
        def make() -> None:
            self._disk.turn_to(f"container {container.name}", moment(container.created))
            self._containers[container.name] = create_container(
                self._root,
                self._known(parse_tag(container.image)),
                container.image,
                container.name,
                container.command,
                host_name=container.host_name,
                labels=container.labels,
                volumes=container.volumes,
            )

        return make

    def _life(self, container: Container) -> Callable[[], None]:
        """What happened in a container between its start and its end, or the loss of power."""

        def live() -> None:
            disk, identity = self._disk, self._containers[container.name]
            disk.turn_to(f"life of {container.name}", _end_of(container))
            mount_id = CacheID(disk.top.descend(f"{MOUNTS}/{identity}").read("mount-id", _SHORT).decode())
            if container.deeds is not None:
                with open_overlay(self._root, mount_id) as overlay:
                    container.deeds(Inside(overlay))
            if container.exit_code is None:
                disk.make_directory(f"{DRIVER}/{mount_id}/merged", 0o700)
            if container.volumes:
                fill_volume(disk)
            tell_run(disk, identity, container)

        return live


def _end_of(container: Container) -> datetime:
    return moment(container.finished) if container.finished else POWER_LOST


def _settle(path: Path, since: float, told: datetime) -> None:
    """Give everything below ``path`` that was changed since then the story's time instead; no link is followed."""
    until = time.time() + _SLACK_SECONDS
    pending = [os.fspath(path)]
    seconds = told.timestamp()
    while pending:
        here = pending.pop()
        if since <= os.lstat(here).st_mtime <= until:
            os.utime(here, (seconds, seconds))
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif since <= entry.stat(follow_symlinks=False).st_mtime <= until:
                    os.utime(entry.path, (seconds, seconds), follow_symlinks=False)
