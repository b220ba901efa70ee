"""What a session says of each image and container, in one order, for tests that put an engine's own facts beside it."""

from __future__ import annotations

from typing import Any

from layerscope.model.subject import ContainerUsage, ImageUsage


def image_row(usage: ImageUsage) -> tuple[Any, ...]:
    """What every docker tells of an image."""
    image = usage.image
    return (
        image.id,
        list(image.repo_tags),
        list(image.repo_digests),
        image.parent,
        image.size,
        usage.shared_size,
        usage.unique_size,
        usage.containers,
        usage.dangling,
        image.created,
        list(image.diff_ids),
        image.architecture,
        image.os,
    )


def container_row(usage: ContainerUsage) -> tuple[Any, ...]:
    """What every docker tells of a container."""
    container = usage.container
    return (
        container.id,
        container.name,
        container.image,
        container.image_id,
        container.command,
        container.state,
        container.exit_code,
        container.created,
        usage.size_rw,
        usage.size_root_fs,
        dict(container.labels),
    )


def by_time(moment: str) -> tuple[str, str]:
    """A key that orders UTC times of any number of digits."""
    assert moment.endswith("Z"), moment
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return whole, fraction.ljust(9, "0")
