"""The layers of a root as trees of a scan: what each is, who has it, and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from layerscope.analysis.scan.rows import ScanTally, layer_rows
from layerscope.drivers import Driver, Elsewhere, MixedKinds
from layerscope.formats.whiteout import UNMARKED
from layerscope.model.claim import Category
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID
from layerscope.model.image import Layer
from layerscope.model.level import LayerKind, Role
from layerscope.model.problem import Problem
from layerscope.model.scan import LAYER, MOST_CHARACTERS, ScanRow, ScanSubject, ScanTree
from layerscope.services.session import Session
from layerscope.stores.base import LiesAnywhere, WithoutRoot

_MOST_NAMES = 64
_OF_ROLE = {Role.RW: Category.CONTAINER_RW, Role.INIT: Category.CONTAINER_INIT}


class ScannedLayers:
    """The layers of one opened root; :attr:`problems` gathers what can't be read."""

    def __init__(self, session: Session) -> None:
        self.problems: list[Problem] = []
        store = session.store
        self._without_root = isinstance(store, WithoutRoot)
        self._driver = session.contents.driver
        self._has_disk = not isinstance(store, WithoutRoot) or isinstance(store, LiesAnywhere)
        self._build_cache = store.build_cache()
        self._recorded: dict[CacheID, Layer] = {
            layer.cache_id: layer for layer in store.layers().values() if layer.cache_id is not None
        }
        self._users: dict[ChainID, list[str]] = {}
        images = [usage.image for usage in session.images()]
        for image in sorted(images, key=lambda image: not image.repo_tags):
            for chain in image.chain_ids:
                users = self._users.setdefault(chain, [])
                if image.repo_tags or not users:  # a name says more than the ids of steps of a build
                    users.extend(image.repo_tags or (image.id,))
        self._written: dict[CacheID, tuple[Role, Container]] = {}
        for one in session.containers(sizes=False):
            for cache_id, role in ((one.container.mount_id, Role.RW), (one.container.init_id, Role.INIT)):
                if cache_id is not None:
                    self._written[cache_id] = (role, one.container)

    def places(self) -> dict[str, str]:
        """Where the files of layers lie, as ledgers tell it, and the driver's name of each."""
        driver = self._driver
        if driver is None:
            return {}
        listed = driver.layer_ids()
        if isinstance(driver, Elsewhere) and (self._recorded.keys() | self._written.keys()) - set(listed):
            self.problems.append(driver.absence())
        return {driver.layer_path(cache_id): cache_id for cache_id in listed}

    def trees(self, places: Mapping[str, str]) -> list[ScanTree]:
        """Each of these layers, in the order of a scan; all of them are taken to lie in the root."""
        found: dict[str, ScanTree] = {}
        for path, name in places.items():
            tree = self._tree(path, CacheID(name))
            while tree.id in found:  # two directories of one chain, or of one container
                tree = replace(tree, id=f"{tree.id}:{name}")
            found[tree.id] = tree
        return sorted(found.values(), key=lambda tree: tree.key)

    def _tree(self, path: str, cache_id: CacheID) -> ScanTree:
        role, chain_id, diff_id, identifier = "", "", "", str(cache_id)
        names: tuple[str, ...] = ()
        layer = self._recorded.get(cache_id)
        if cache_id in self._written:
            which, container = self._written[cache_id]
            role, names = str(which), (container.name,) if container.name else ()
            identifier = f"{container.id}-init" if which is Role.INIT else str(container.id)
        elif layer is not None:
            role, chain_id, diff_id = str(Role.IMAGE), str(layer.chain_id), str(layer.diff_id or "")
            names = tuple(dict.fromkeys(self._users.get(layer.chain_id, ())))[:_MOST_NAMES]
            identifier = chain_id
        elif self._without_root:
            role = str(Role.IMAGE)
        return ScanTree(
            kind=LAYER,
            id=identifier,
            path=path,
            role=role,
            chain_id=chain_id,
            diff_id=diff_id,
            cache_id=str(cache_id),
            names=names,
            has_disk=self._has_disk,
            whole=self._driver is not None and _kind_of(self._driver, cache_id) is LayerKind.SNAPSHOT,
        )

    def subject_of(self, tree: ScanTree) -> ScanSubject:
        """Whose a layer is by the records alone, where it has no part in the ledger."""
        cache_id = CacheID(tree.cache_id)
        owner = ", ".join(tree.names)[:MOST_CHARACTERS]
        if cache_id in self._written:
            return ScanSubject(_OF_ROLE[self._written[cache_id][0]].value, owner or self._written[cache_id][1].id[:12])
        if tree.names or self._without_root:
            return ScanSubject(Category.IMAGE_LAYER.value, owner)
        if cache_id in self._build_cache:
            return ScanSubject(Category.BUILD_CACHE.value, "BuildKit")
        unused = Category.UNUSED_LAYER if cache_id in self._recorded else Category.ORPHAN
        return ScanSubject(unused.value, "")

    def rows(self, tree: ScanTree, subject: ScanSubject, tally: ScanTally) -> Iterator[ScanRow]:
        """The rows of a layer; none, and a problem, where its files can't be read."""
        driver, cache_id = self._driver, CacheID(tree.cache_id)
        if driver is None:
            return
        dialect = UNMARKED if tree.whole else driver.dialect
        try:
            top = driver.open_layer(cache_id)
            yield from layer_rows(top, tree.path, dialect, subject, tally, crosses=tree.whole)
        except OSError as error:
            if isinstance(driver, Elsewhere):
                self.problems.append(driver.absence())
                return
            self.problems.append(
                Problem(tree.path, f"contents can't be read: {error.strerror}", "its files aren't in the scan")
            )


def _kind_of(driver: Driver, cache_id: CacheID) -> LayerKind:
    return driver.kind_of(cache_id) if isinstance(driver, MixedKinds) else driver.kind
