"""What levels take: writable ones by docker's rule for their driver, and those whose size no engine has recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from layerscope.drivers import MeasuresDisk, TellsDiskShare
from layerscope.model.container import Container
from layerscope.model.disk_share import DiskShare
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem
from layerscope.model.subject import ContainerUsage
from layerscope.model.tree import LayerDirectory
from layerscope.services.contents import Contents
from layerscope.stores.base import SharesStorage

if TYPE_CHECKING:
    from layerscope.analysis.measuring.ahead import Ahead
    from layerscope.overlay import MergedView


def container_usages(
    contents: Contents,
    containers: Sequence[Container],
    cancelled: Callable[[], bool] = lambda: False,
    ahead: Ahead | None = None,
) -> tuple[list[ContainerUsage], list[Problem]]:
    """Containers in their order with SizeRw and SizeRootFs, and what is wrong with those that can't be measured."""
    problems: list[Problem] = []
    usages = []
    shared = contents.store if isinstance(contents.store, SharesStorage) else None
    for container, size_rw in zip(containers, _container_sizes(contents, containers, cancelled, ahead), strict=True):
        if size_rw is None and not cancelled():
            problems.extend(contents.levels(container)[1])
        image_size = _image_size(contents, container, size_rw) if shared is None else shared.base_size(container)
        usages.append(ContainerUsage(container, size_rw, None if image_size is None else image_size + (size_rw or 0)))
    return usages, problems


def _image_size(contents: Contents, container: Container, size_rw: int | None) -> int | None:
    """The bytes below a container's writable layer, as its engine counts them; None where they aren't recorded."""
    # A containerd store has recorded sizes of init layers too, and docker counts them.
    levels = contents.store.levels(container)
    sizes = [level.size for level in levels if level.role is Role.IMAGE or level.size is not None]
    unknown = None in sizes or (size_rw is None and not sizes)
    return None if unknown else sum(size or 0 for size in sizes)


def _container_sizes(
    contents: Contents, containers: Sequence[Container], cancelled: Callable[[], bool], ahead: Ahead | None
) -> list[int | None]:
    """SizeRw of each container in bytes, by docker's rule for this driver; None where it can't be measured."""
    driver = contents.driver
    if driver is not None and driver.sizes_by_walk and not isinstance(driver, MeasuresDisk):
        from layerscope.analysis.measuring.sizes import walked_sizes

        return walked_sizes([_top_of(contents, container) for container in containers], cancelled, ahead)
    return [_container_size(contents, container, cancelled) for container in containers]


def _top_of(contents: Contents, container: Container) -> LayerDirectory | None:
    if contents.driver is None or container.mount_id is None:
        return None
    try:
        return contents.driver.open_layer(container.mount_id)
    except OSError:
        return None


def _container_size(contents: Contents, container: Container, cancelled: Callable[[], bool]) -> int | None:
    if contents.driver is None or container.mount_id is None:
        return None
    try:
        if isinstance(contents.driver, MeasuresDisk):
            return contents.driver.disk_usage(container.mount_id, cancelled)
        levels, _ = contents.levels(container)
        view, _ = contents.view(levels)
        return _bytes_changed_at(view, len(levels), cancelled)
    except OSError:
        return None


def level_size(
    contents: Contents, view: MergedView, level: Level, cancelled: Callable[[], bool] = lambda: False
) -> int | None:
    """What one level of a view adds in bytes, as its engine counts them; None where it can't be read."""
    if contents.driver is None or level.cache_id is None:
        return None
    try:
        if isinstance(contents.driver, MeasuresDisk):
            return contents.driver.disk_usage(level.cache_id, cancelled)
        if contents.driver.sizes_by_walk:
            from layerscope.analysis.measuring.sizes import walked_sizes

            return walked_sizes([contents.driver.open_layer(level.cache_id)], cancelled)[0]
        return _bytes_changed_at(view, level.number, cancelled)
    except OSError:
        return None


def disk_share(contents: Contents, level: Level, cancelled: Callable[[], bool] = lambda: False) -> DiskShare | None:
    """What a level takes on disk, where the file system below tells levels apart; else None."""
    if level.cache_id is None or not isinstance(contents.driver, TellsDiskShare):
        return None
    try:
        return contents.driver.disk_share(level.cache_id, cancelled)
    except OSError:
        return None


def _bytes_changed_at(view: MergedView, number: int, cancelled: Callable[[], bool]) -> int | None:
    """The bytes of what level ``number`` added and changed, by docker's list; None if the view doesn't have it."""
    if all(level.number != number for level in view.levels):
        return None
    from layerscope.analysis.changes.views import docker_change_bytes

    return docker_change_bytes(view.cut(number - 1), view.cut(number), cancelled)
