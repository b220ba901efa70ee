"""What docker itself says of disk usage: the numbers of ``docker system df -v``."""

from __future__ import annotations

from msgspec import Struct

from layerscope.model.subject import ContainerUsage, ImageUsage


class VolumeUsage(Struct, frozen=True):
    """A volume, the number of containers that mount it, and its apparent bytes (None: they can't be read)."""

    name: str
    links: int
    size: int | None


class CacheUsage(Struct, frozen=True):
    """A record of the build cache. Times are nanoseconds since 1970, ``size`` in bytes; None where unknown."""

    id: str
    type: str
    size: int | None
    created_at: int | None
    last_used_at: int | None
    usage_count: int
    shared: bool


class OtherCount(Struct, frozen=True):
    """What another engine, which may have written the root as well, says of what images share.

    ``counted_as`` and ``other`` are versions of docker: those by whose rule the answers are counted, and those that
    count otherwise. ``images`` are the listed ones of which both say different sizes: as counted, and as the others
    count them.
    """

    counted_as: str
    other: str
    images: tuple[tuple[ImageUsage, ImageUsage], ...]


class DiskUsage(Struct, frozen=True):
    """Everything, in docker's order: newest first, volumes by name, the build cache by its last use, oldest first.

    ``image_digits``: with how many the client of that engine shows an image's whole size.
    """

    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]
    build_cache: tuple[CacheUsage, ...]
    image_digits: int = 4

    @property
    def build_cache_size(self) -> int:
        """The bytes of those records that no image shares."""
        return sum(one.size or 0 for one in self.build_cache if not one.shared)
