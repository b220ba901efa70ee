"""The lines of ``docker system df -v``, cell by cell.

Source: docker/cli cli/command/formatter/disk_usage.go, buildcache.go, volume.go; equal to those of 20.10.24 and 28.5.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from layerscope.cli.render.docker_form import image_names, ps_row, short_id, since, size
from layerscope.formats.gotime import format_rfc3339
from layerscope.formats.units import human_size

if TYPE_CHECKING:
    from layerscope.model.docker_df import CacheUsage, DiskUsage
    from layerscope.model.subject import ContainerUsage, ImageUsage

Table = tuple[str, tuple[str, ...], list[list[str]]]

_IMAGES = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS")
_CONTAINERS = ("CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES")
_VOLUMES = ("VOLUME NAME", "LINKS", "SIZE")
_CACHE = ("CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED")
_DIGITS = 4


def tables(usage: DiskUsage, images_of: Sequence[str], now_ns: int) -> Iterator[Table]:
    """Heading, header and rows of each part. ``images_of`` are the IMAGE cells of the containers, in their order."""
    yield "Images space usage:", _IMAGES, [_image(one, usage.image_digits, now_ns) for one in usage.images]
    rows = [_container(one, shown, now_ns) for one, shown in zip(usage.containers, images_of, strict=True)]
    yield "Containers space usage:", _CONTAINERS, rows
    volumes = [
        [one.name, str(one.links), "N/A" if one.size is None else human_size(one.size, _DIGITS)]
        for one in usage.volumes
    ]
    yield "Local Volumes space usage:", _VOLUMES, volumes
    heading = f"Build cache usage: {human_size(usage.build_cache_size, _DIGITS)}"
    yield heading, _CACHE, [_cache(one, now_ns) for one in usage.build_cache]


def _image(one: ImageUsage, digits: int, now_ns: int) -> list[str]:
    """docker shows the first name only."""
    repository, tag = image_names(one.image)[0] if one.image.repo_tags else ("<none>", "<none>")
    sizes = [size(one.image.size, digits), size(one.shared_size, _DIGITS), size(one.unique_size, _DIGITS)]
    identity, created = short_id(one.image.id), since(one.image.created, now_ns)
    return [repository, tag, identity, created, *sizes, str(one.containers)]


def _container(one: ContainerUsage, image: str, now_ns: int) -> list[str]:
    identity, _, command, created, status, _, name, _ = ps_row(one, image, now_ns)
    volumes = sum(mount.type == "volume" for mount in one.container.mounts)
    return [identity, image, command, str(volumes), size(one.size_rw), created, status, name]


def _cache(one: CacheUsage, now_ns: int) -> list[str]:
    return [
        one.id[:12],
        one.type,
        size(one.size),
        _ago(one.created_at, now_ns),
        _ago(one.last_used_at, now_ns),
        str(one.usage_count),
        "true" if one.shared else "false",
    ]


def _ago(moment: int | None, now_ns: int) -> str:
    return "" if moment is None else since(format_rfc3339(moment), now_ns)
