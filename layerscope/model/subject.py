"""Images and containers joined with the numbers that docker prints beside them, and what a REF names."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.container import Container
from layerscope.model.disk_share import DiskShare
from layerscope.model.image import Image
from layerscope.model.level import Level, LevelCounts


class ImageUsage(Struct, frozen=True):
    """An image with its place among the others, in bytes, as ``docker system df -v`` counts.

    ``shared_size`` and ``unique_size`` are None where a size is unknown, or the image isn't one that docker lists.
    ``containers`` counts those of any state. ``dangling``: no name and no child. ``intermediate``: no name but a child
    (docker lists it only with ``-a``).
    """

    image: Image
    shared_size: int | None
    unique_size: int | None
    containers: int
    dangling: bool
    intermediate: bool


class ContainerUsage(Struct, frozen=True):
    """A container with docker's two sizes in bytes: its writable layer, and that plus its image's layers.

    None where it was not measured or can't be (contents missing).
    """

    container: Container
    size_rw: int | None
    size_root_fs: int | None


class StackLevel(Struct, frozen=True):
    """A level with what it holds. ``size`` is the recorded size, or the measured one where there is no record.

    ``disk``: what the file system below says that it takes; None where that can't tell, or wasn't asked.
    """

    level: Level
    size: int | None
    counts: LevelCounts | None
    disk: DiskShare | None = None


class Subject(Struct, frozen=True):
    """What a REF names: exactly one of ``image`` and ``container`` is set.

    ``cut`` is the number of levels that count (None: all); ``path`` that of the REF, with its leading slash, or None.
    """

    image: Image | None
    container: Container | None
    cut: int | None = None
    path: str | None = None

    @property
    def thing(self) -> Image | Container:
        """What is set."""
        thing = self.container or self.image
        assert thing is not None
        return thing

    @property
    def name(self) -> str:
        """The name to show for it."""
        if self.container is not None:
            return self.container.name or self.container.id[:12]
        assert self.image is not None
        return self.image.repo_tags[0] if self.image.repo_tags else self.image.id.removeprefix("sha256:")[:12]
