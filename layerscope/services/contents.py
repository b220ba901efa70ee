"""The join of records and files: the levels of a subject with their directories, and views over them."""

from __future__ import annotations

import os
from dataclasses import replace

from layerscope.analysis.changes import docker_changes
from layerscope.analysis.lost_marks import lost_marks
from layerscope.analysis.owners import Claims
from layerscope.analysis.sizes import changed_size, walked_size
from layerscope.drivers import Driver, RecordsLower, ShortNames
from layerscope.errors import CorruptError
from layerscope.formats.tarsplit import read_entries
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID
from layerscope.model.image import Image
from layerscope.model.level import LayerKind, Level, Role
from layerscope.model.problem import Problem, Severity
from layerscope.overlay import MergedView, ViewLevel
from layerscope.stores.base import Store


class Contents:
    """The files behind the records of one store; without a driver there are only records."""

    def __init__(self, store: Store, driver: Driver | None) -> None:
        self.store = store
        self.driver = driver
        self._present: frozenset[CacheID] | None = None
        self._lost: dict[CacheID, list[Problem]] = {}

    # ------------------------------------------------------------------ levels
    def levels(self, subject: Image | Container) -> tuple[tuple[Level, ...], list[Problem]]:
        """The levels of a subject, base first, with their paths, and what is wrong with them.

        What a driver's own records say of the order is what an engine mounts: where they are whole and differ from
        the store's records, they win, and that is told.
        """
        levels = self.store.levels(subject)
        if self.driver is None:
            return levels, []
        problems: list[Problem] = []
        if isinstance(self.driver, RecordsLower):
            for level in levels:
                if level.cache_id is not None:
                    problems.extend(self.driver.layer_problems(level.cache_id))
            levels, disagreement = self._as_mounted(self.driver, levels)
            problems.extend(disagreement)
        else:
            missing = [level for level in levels if level.cache_id and level.cache_id not in self.present()]
            problems.extend(self._missing(level.cache_id) for level in missing if level.cache_id)
        return tuple(self._placed(level) for level in levels), problems

    def _placed(self, level: Level) -> Level:
        if level.cache_id is None or self.driver is None:
            return level
        return replace(level, path=self.driver.layer_path(level.cache_id))

    def _as_mounted(self, driver: RecordsLower, levels: tuple[Level, ...]) -> tuple[tuple[Level, ...], list[Problem]]:
        """The levels in the order of the driver's record beside the top one."""
        top = levels[-1] if levels else None
        if top is None or top.cache_id is None:
            return levels, []
        below = driver.lower_ids(top.cache_id)
        recorded = [level.cache_id for level in levels[:-1]]
        if below is None or list(reversed(below)) == recorded:
            return levels, []
        known = {level.cache_id: level for level in levels}
        mounted = [known.get(cache_id, Level(0, Role.IMAGE, cache_id)) for cache_id in (*reversed(below), top.cache_id)]
        if None in recorded and set(recorded) - {None} <= set(below):
            what = "names a layer whose own record is damaged; the order is taken from here"
        else:
            what = f"names {len(below)} layers below, the layer records {len(recorded)}, or in another order"
        effect = "what the engine would mount is shown"
        problem = Problem(f"{driver_path(self.driver, top.cache_id)}/lower", what, effect, severity=Severity.WARNING)
        return tuple(replace(level, number=number) for number, level in enumerate(mounted, 1)), [problem]

    def present(self) -> frozenset[CacheID]:
        """The cache IDs that lie in the driver's folder; read once."""
        if self._present is None:
            self._present = frozenset(self.driver.layer_ids() if self.driver else ())
        return self._present

    def missing_layers(self, subject: Image | Container) -> list[Problem]:
        """Levels of a subject whose directory isn't there, told from one look at the driver's folder."""
        if self.driver is None:
            return []
        cache_ids = [level.cache_id for level in self.store.levels(subject)]
        return [self._missing(cache_id) for cache_id in cache_ids if cache_id and cache_id not in self.present()]

    def _missing(self, cache_id: CacheID) -> Problem:
        return Problem(driver_path(self.driver, cache_id), "contents missing", "the files of this layer can't be shown")

    # ------------------------------------------------------------------ views
    def view(self, levels: tuple[Level, ...]) -> tuple[MergedView, list[Problem]]:
        """The merged view of ``levels``; a level without readable contents is left out and told."""
        found: list[ViewLevel] = []
        problems: list[Problem] = []
        for level in levels:
            if self.driver is None or level.cache_id is None:
                what = f"level {level.number}: where its files lie is not known"
                problems.append(Problem(level.path or "", what, "its files are not shown"))
                continue
            try:
                top = self.driver.open_layer(level.cache_id)
            except OSError as error:
                what = f"level {level.number}: contents can't be read: {os.strerror(error.errno or 0)}"
                problems.append(Problem(level.path or "", what, "its files are not shown"))
                continue
            found.append(ViewLevel(level.number, top, level.cache_id, self.driver.kind, self.driver.dialect))
        return MergedView(found), problems

    def container_size(self, container: Container) -> int | None:
        """SizeRw of a container in bytes, by docker's rule for this driver; None where it can't be measured."""
        if self.driver is None or container.mount_id is None:
            return None
        try:
            if self.driver.sizes_by_walk:
                return walked_size(self.driver.open_layer(container.mount_id))
            levels, _ = self.levels(container)
            view, _ = self.view(levels)
            return changed_size(docker_changes(view.cut(len(levels) - 1), view))
        except OSError:
            return None

    def level_size(self, level: Level) -> int | None:
        """The apparent bytes that one level's directory holds, as docker walks it; None where it can't be read."""
        if self.driver is None or level.cache_id is None or self.driver.kind is LayerKind.SNAPSHOT:
            return None
        try:
            return walked_size(self.driver.open_layer(level.cache_id))
        except OSError:
            return None

    # ------------------------------------------------------------------ marks
    def lost_marks(self, levels: tuple[Level, ...]) -> list[Problem]:
        """Marks of image layers that their records name but that can't be seen here; each layer is looked at once."""
        found: list[Problem] = []
        for level in levels:
            if level.chain_id is not None and level.cache_id is not None and level.number > 1:
                if level.cache_id not in self._lost:
                    self._lost[level.cache_id] = self._lost_in(level.chain_id, level.cache_id)
                found.extend(self._lost[level.cache_id])
        return found

    def _lost_in(self, chain_id: ChainID, cache_id: CacheID) -> list[Problem]:
        record = self.store.tar_split(chain_id)
        if record is None or self.driver is None or self.driver.kind is LayerKind.SNAPSHOT:
            return []
        path = self.driver.layer_path(cache_id)
        found: list[Problem] = []
        with record:
            try:
                top = self.driver.open_layer(cache_id)
                for place, what in lost_marks(read_entries(record), top, self.driver.dialect):
                    effect = "what it hides in the layers below is shown as if it were there"
                    said = f"the {what} that this layer's record names can't be seen"
                    found.append(
                        Problem(f"{path}/{place}", said, effect, "run as root, or copy with devices and xattrs")
                    )
            except (OSError, CorruptError):
                pass
        return [replace(problem, severity=Severity.WARNING) for problem in found]

    # ------------------------------------------------------------------ owners
    def claims(self) -> Claims:
        """What the records claim, and where the driver keeps what is claimed."""
        store, driver = self.store, self.driver
        cache_ids = tuple(driver.layer_ids()) if driver else ()
        return Claims(
            images=store.images(),
            containers=store.containers(),
            layers=store.layers(),
            volumes=tuple(volume.name for volume in store.volumes()),
            build_cache=store.build_cache(),
            cache_ids=cache_ids,
            short_names=driver.short_names() if isinstance(driver, ShortNames) else {},
            layer_paths={cache_id: driver_path(driver, cache_id) for cache_id in cache_ids},
        )


def driver_path(driver: Driver | None, cache_id: CacheID) -> str:
    """The folder of a layer, relative to the root: that of its files, without ``diff``."""
    return "" if driver is None else driver.layer_path(cache_id).removesuffix("/diff")
