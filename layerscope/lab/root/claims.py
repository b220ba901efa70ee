"""What the records of a root still refer to: layers and their directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerscope.model.digest import CacheID, ChainID, ImageID
from layerscope.model.problem import Severity
from layerscope.stores.docker.store import DockerStore


class Claims:
    """What is referred to, without some images, and without the writable layer of a ``container``, that are to go.

    Where it isn't ``certain`` a damaged record may refer to more than can be read: then nothing may be called unused
    for want of a claim.
    """

    def __init__(self, store: DockerStore, without: Iterable[ImageID] = (), container: str = "") -> None:
        self._layers = store.layers()
        gone = set(without)
        self.chains: set[ChainID] = set()
        for image in store.images():
            if image.id not in gone:
                self.chains.update(image.chain_ids)
        mounts = [mount for mount in store.mounts().values() if mount.name != container]
        for mount in mounts:
            self.chains.update(self._down_from(mount.parent))
        for chain in store.build_claims.chain_ids:
            self.chains.update(self._down_from(chain))
        self.caches: set[CacheID] = set(store.build_cache())
        self.caches.update(layer.cache_id for layer in self._layers.values() if layer.cache_id)
        for mount in mounts:
            self.caches.update(identity for identity in (mount.mount_id, mount.init_id) if identity)
        self._store = store

    @property
    def certain(self) -> bool:
        """Whether every record could be read."""
        return not any(problem.severity is Severity.ERROR for problem in self._store.problems())

    def _down_from(self, chain: ChainID | None) -> Iterator[ChainID]:
        seen: set[ChainID] = set()
        while chain is not None and chain not in seen:
            seen.add(chain)
            yield chain
            layer = self._layers.get(chain)
            chain = layer.parent if layer else None

    def unused(self) -> list[ChainID]:
        """Layers that nothing refers to, those on top before those below them."""
        free = [chain for chain in self._layers if chain not in self.chains]
        depth = {chain: sum(1 for _ in self._down_from(chain)) for chain in free}
        return sorted(free, key=lambda chain: (-depth[chain], chain))

    def cache_of(self, chain: ChainID) -> CacheID | None:
        """The directory of a layer."""
        layer = self._layers.get(chain)
        return layer.cache_id if layer else None

    def chain_of(self, top: ChainID | None) -> list[ChainID]:
        """A layer and those below it, from the top down."""
        return list(self._down_from(top))

    def released(self, chains: Iterable[ChainID]) -> list[ChainID]:
        """Of these, the layers that nothing else refers to, from the top down."""
        wanted = set(chains)
        return [chain for chain in self.unused() if chain in wanted]
