"""The join of records and files: the levels of a subject with their directories, and views over them."""

from __future__ import annotations

import os
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec.structs import replace

from layerscope.drivers import (
    CopiesLayers,
    CopiesTrees,
    DataOnly,
    Driver,
    Elsewhere,
    FindsDamage,
    HandedLayers,
    MixedKinds,
    RecordsLower,
    ShortNames,
    SizesUnrecorded,
    TellsDamage,
)
from layerscope.errors import CorruptError
from layerscope.formats.whiteout import NAMES, UNMARKED
from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID
from layerscope.model.image import Image
from layerscope.model.level import LayerKind, Level, Role
from layerscope.model.problem import Problem, Severity
from layerscope.stores.base import NamesPlaces, SharesStorage, Store
from layerscope.stores.docker.store import DockerStore

if TYPE_CHECKING:
    from layerscope.analysis.owners import Claims
    from layerscope.drivers.tar_split_tree import TarSplitTree
    from layerscope.model.change import Change
    from layerscope.overlay import MergedView, ViewLevel


class Contents:
    """The files behind the records of one store; without a driver there are only records."""

    def __init__(self, store: Store, driver: Driver | None) -> None:
        self.store = store
        self.driver = driver
        self._present: frozenset[CacheID] | None = None
        self._unlisted: list[Problem] = []
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
        problems = self._damage(self.driver, levels)
        if isinstance(self.driver, RecordsLower):
            levels, disagreement = self._as_mounted(self.driver, levels)
            problems.extend(disagreement)
        return tuple(self._placed(level) for level in levels), problems

    def _damage(self, driver: Driver, levels: tuple[Level, ...]) -> list[Problem]:
        """What is wrong with the directories of these levels."""
        cache_ids = [level.cache_id for level in levels if level.cache_id is not None]
        self.present()
        if self._unlisted:
            return []  # that is told once for all
        if isinstance(driver, TellsDamage):
            return [problem for cache_id in cache_ids for problem in driver.layer_problems(cache_id)]
        missing = [cache_id for cache_id in cache_ids if self._is_missing(cache_id)]
        if missing and isinstance(driver, Elsewhere):
            return [driver.absence()]
        return [self._missing(cache_id) for cache_id in missing]

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
        copies = self.without_originals(top.cache_id, below) == recorded[::-1]
        known = {level.cache_id: level for level in levels}
        mounted = [known.get(cache_id, Level(0, Role.IMAGE, cache_id)) for cache_id in (*reversed(below), top.cache_id)]
        if None in recorded and set(recorded) - {None} <= set(below):
            what = "names a layer whose own record is damaged; the order is taken from here"
        else:
            what = f"names {len(below)} layers below, the layer records {len(recorded)}, or in another order"
        effect = "what the engine would mount is shown"
        problem = Problem(driver.lower_record(top.cache_id), what, effect, severity=Severity.WARNING)
        numbered = tuple(replace(level, number=number) for number, level in enumerate(mounted, 1))
        return numbered, [] if copies else [problem]

    def without_originals(self, top: CacheID, below: list[CacheID]) -> list[CacheID]:
        """The layers below one, nearest first, without those that are there for their copies only."""
        driver = self.driver
        if not isinstance(driver, CopiesLayers):
            return below
        return [lower for above, lower in pairwise((top, *below)) if not driver.is_copy_of(above, lower)]

    def present(self) -> frozenset[CacheID]:
        """The cache IDs that lie in the driver's folder, read once; none where it can't be listed, which is told."""
        if self._present is None:
            try:
                self._present = frozenset(self.driver.layer_ids() if self.driver else ())
            except OSError as error:
                self._present = frozenset()
                folder = driver_path(self.driver, CacheID("-")).rpartition("/")[0]
                effect = "which layers have files there isn't known"
                self._unlisted = [Problem(folder, f"can't be listed: {error.strerror}", effect, "run as root")]
        return self._present

    def _is_missing(self, cache_id: CacheID) -> bool:
        return cache_id not in self.present() and not self._unlisted

    def handed(self) -> dict[CacheID, Directory]:
        """The directories that were handed over for layers."""
        return self.driver.handed if isinstance(self.driver, HandedLayers) else {}

    @cached_property
    def _told_once(self) -> bool:
        """Whether missing files are told for all layers together, if at all."""
        return self.driver is None or isinstance(self.driver, Elsewhere)

    def missing_layers(self, subject: Image | Container) -> list[Problem]:
        """Levels of a subject whose directory isn't there, told from one look at the driver's folder."""
        if self._told_once:
            return []
        cache_ids = [level.cache_id for level in self.store.levels(subject)]
        return [self._missing(cache_id) for cache_id in cache_ids if cache_id and self._is_missing(cache_id)]

    def _missing(self, cache_id: CacheID) -> Problem:
        return Problem(driver_path(self.driver, cache_id), "contents missing", "the files of this layer can't be shown")

    # ------------------------------------------------------------------ views
    def view(self, levels: tuple[Level, ...]) -> tuple[MergedView, list[Problem]]:
        """The merged view of ``levels``.

        A level without readable contents is told; its names are shown if a record of its tar is kept, else it is left
        out.
        """
        from layerscope.overlay import ViewLevel, merged_view

        found: list[ViewLevel] = []
        problems: list[Problem] = []
        by_names: list[tuple[Level, TarSplitTree]] = []
        for level in levels:
            opened = self._open(level, found)
            absence = level.absence if level.cache_id is None else None
            if isinstance(opened, ViewLevel):
                found.append(opened)
                continue
            tree = self._names_of(level, opened)
            if tree is not None:
                key = f"names of {level.chain_id}"
                found.append(ViewLevel(level.number, tree.top(), key, LayerKind.DIFF, NAMES))
                by_names.append((level, tree))
            if isinstance(self.driver, Elsewhere):
                continue  # told once for all levels
            effect = "its files are not shown" if tree is None else "its files are shown by name, not their bytes"
            hint = absence.hint if absence else ""
            problems.append(Problem(level.path or "", f"level {level.number}: {opened}", effect, hint))
        view = merged_view(found)
        for level, tree in by_names:
            tree.tell = partial(_note_damage, view.problems, level)
        return view, problems

    def _open(self, level: Level, below: list[ViewLevel]) -> ViewLevel | str:
        """A level with its directory, or why that can't be read."""
        from layerscope.overlay import ViewLevel

        driver, cache_id = self.driver, level.cache_id
        if driver is None or cache_id is None:
            return level.absence.what if level.absence else "where its files lie is not known"
        try:
            top = driver.open_layer(cache_id)
        except OSError as error:
            return f"contents can't be read: {error.strerror or os.strerror(error.errno or 0)}"
        kind = self._kind_of(driver, cache_id)
        dialect = UNMARKED if kind is LayerKind.SNAPSHOT else driver.dialect
        over = None
        if kind is LayerKind.DIFF and isinstance(driver, MixedKinds):
            wanted = driver.laid_over(cache_id)
            wholes = [lower.number for lower in below if lower.kind is LayerKind.SNAPSHOT]
            over = next((lower.number for lower in below if wanted and lower.key == wanted), max(wholes, default=None))
        drops_attributes = isinstance(driver, CopiesTrees) and driver.drops_attributes
        data_only = isinstance(driver, DataOnly) and cache_id in driver.data_only
        return ViewLevel(level.number, top, cache_id, kind, dialect, over, drops_attributes, data_only)

    def found_damage(self) -> list[Problem]:
        """What is wrong with layers as far as reading their files has shown it."""
        return [*self._unlisted, *(self.driver.found_damage() if isinstance(self.driver, FindsDamage) else ())]

    @property
    def measures_images(self) -> bool:
        """Whether image layers have no recorded size, so that they are measured."""
        return isinstance(self.driver, SizesUnrecorded)

    def _names_of(self, level: Level, why: str) -> TarSplitTree | None:
        """A level's tree as the record of its tar has it, without contents; None if there is no such record."""
        chain_id = level.chain_id
        record = self.store.tar_split(chain_id) if chain_id is not None else None
        if chain_id is None or record is None:
            return None
        record.close()
        from layerscope.drivers.tar_split_tree import TarSplitTree

        if isinstance(self.driver, Elsewhere):
            told = self.absence(self.driver, level.cache_id)
            why = f"{told.path}: {told.what}; {told.hint}" if told.hint else f"{told.path}: {told.what}"
        return TarSplitTree(partial(self.store.tar_split, chain_id), f"level {level.number}: {why}", -level.number)

    @staticmethod
    def absence(driver: Elsewhere, cache_id: CacheID | None) -> Problem:
        """Why the files of one layer aren't reached: what is wrong with it, or what holds for all of them."""
        damage = driver.layer_problems(cache_id) if isinstance(driver, TellsDamage) and cache_id is not None else []
        serious = (problem for problem in damage if problem.severity is not Severity.NOTE)
        return next(serious, None) or driver.absence()

    @staticmethod
    def _kind_of(driver: Driver, cache_id: CacheID) -> LayerKind:
        return driver.kind_of(cache_id) if isinstance(driver, MixedKinds) else driver.kind

    def docker_diff(self, view: MergedView, detail: bool = True) -> list[Change]:
        """What ``docker diff`` says of the container whose view this is, made as its engine makes it."""
        if isinstance(self.store, DockerStore) and self.store.engine.native_diff:
            from layerscope.analysis.changes.upper import upper_changes

            return upper_changes(view, detail)
        if isinstance(self.store, SharesStorage):
            from layerscope.analysis.changes.storage import storage_changes

            return storage_changes(view, self.store.left_out_of_changes, detail)
        from layerscope.analysis.changes.views import docker_changes

        below = view.cut(view.levels[-1].number - 1)
        below.report_to(view)
        return docker_changes(below, view, detail)

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
        if self.driver is None or self._kind_of(self.driver, cache_id) is LayerKind.SNAPSHOT:
            return []
        record = self.store.tar_split(chain_id)
        if record is None:
            return []
        from layerscope.analysis.lost_marks import lost_marks
        from layerscope.formats.tar.split import read_entries

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
        from layerscope.analysis.owners import Claims

        store, driver = self.store, self.driver
        cache_ids = tuple(sorted(self.present()))
        return Claims(
            images=store.images(),
            containers=store.containers(),
            layers=store.layers(),
            volumes=tuple(volume.name for volume in store.volumes()),
            build_cache=store.build_cache(),
            cache_ids=cache_ids,
            short_names=driver.short_names() if isinstance(driver, ShortNames) else {},
            layer_paths={cache_id: driver_path(driver, cache_id) for cache_id in cache_ids},
            container_places=(
                {one.id: store.places(one) for one in store.containers()} if isinstance(store, NamesPlaces) else {}
            ),
        )


def _note_damage(problems: list[Problem], level: Level, what: str) -> None:
    told = f"level {level.number}: the record of its tar is damaged: {what}"
    problems.append(Problem(level.path or "", told, "names behind the damage are not shown"))


def driver_path(driver: Driver | None, cache_id: CacheID) -> str:
    """The folder of a layer, relative to the root: that of its files, without ``diff`` (or ``diff1``)."""
    return "" if driver is None else driver.layer_path(cache_id).removesuffix("/diff1").removesuffix("/diff")
