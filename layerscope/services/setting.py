"""What an opened root is: facts about the whole, gathered when it is opened and told by ``info``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from layerscope.drivers import TellsSources
from layerscope.formats.escape import escape
from layerscope.hostfs.privilege import Privilege
from layerscope.model.problem import Problem, Severity
from layerscope.model.root import Daemon, RootSummary
from layerscope.services.contents import Contents
from layerscope.stores.base import Store, StoreFacts, TellsOfRoot
from layerscope.stores.detect import Detection
from layerscope.stores.docker.store import DockerStore

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.hostfs.owner_map import OwnerMap
    from layerscope.lab.root.marker import LabMarker
    from layerscope.stores.docker.engine import EngineTraces

_WALKED_DIRECTORIES = 20_000


class Setting(Struct, frozen=True):
    """The root's path, what was detected there, what this user may see, and the prefix whose marks count."""

    path: Path | str
    detection: Detection
    privilege: Privilege
    xattr_prefix: str
    marker: LabMarker | None
    file_driver_missing: bool = False
    owners: OwnerMap | None = None
    owners_told: str = ""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong or hidden about the root as a whole."""
        problems = list(self.detection.problems)
        if self.file_driver_missing:
            what = "files of this storage driver can't be read yet"
            problems.append(Problem("", what, "records and sizes are shown, not files", severity=Severity.WARNING))
        return tuple(problems)

    @property
    def sees_marks(self) -> bool:
        """Whether this user can see every mark that may be there: in a lab made without privilege everybody can."""
        return self.privilege.trusted_xattrs or (self.marker is not None and self.xattr_prefix == "user")

    @property
    def unseen(self) -> tuple[str, ...]:
        """What this user can't see here, in plain words."""
        told = []
        if not self.sees_marks:
            told.append(
                "opaque directories: trusted.overlay.* marks are shown only to root, so entries that such a directory"
                " hides appear as if they were there"
            )
        if not self.privilege.reads_everything:
            told.append("directories and files that this user has no right to read")
        if not self.privilege.keeps_atime:
            told.append("access times of other users' files are not kept while reading (no right to O_NOATIME)")
        return tuple(told)

    def summary(self, store: Store, contents: Contents, problems: tuple[Problem, ...]) -> RootSummary:
        """The answer of ``info``."""
        daemon, engine = daemon_of(store), ""
        features = list(self.detection.features)
        facts = store.facts() if isinstance(store, TellsOfRoot) else StoreFacts("")
        if isinstance(store, DockerStore):
            from layerscope.stores.docker.engine import describe as describe_engine

            engine = describe_engine(store.engine)
            features.extend(_docker_features(store.engine, store, self))
            problems = (*problems, *store.build_claims.problems)
        else:
            engine = facts.engine
            features.extend((*facts.features, *_common_features(self)))
        features.extend(_sources(contents))
        return RootSummary(
            root=os.fspath(self.path),
            store=store.name,
            driver=store.driver,
            drivers=self.detection.drivers,
            engine=engine,
            daemon=daemon,
            xattr_prefix=self.xattr_prefix,
            unseen=self.unseen,
            counts={**_counts(store, contents), **facts.counts},
            features=tuple(dict.fromkeys(features)),
            problems=(*problems, *foreign_marks(store, contents)),
            other_root=facts.other_root,
            namespace=facts.namespace,
            namespaces=facts.namespaces,
        )


def _sources(contents: Contents) -> list[str]:
    """What doesn't come from the root."""
    found: list[str] = contents.driver.sources() if isinstance(contents.driver, TellsSources) else []
    handed = contents.handed().items()
    return [*found, *(f"layer {cache_id:.12} is read from {escape(top.shown)}" for cache_id, top in handed)]


def daemon_of(store: Store) -> Daemon:
    """Whether an engine holds the root of these records now."""
    if isinstance(store, TellsOfRoot):
        return store.daemon()
    if not isinstance(store, DockerStore):
        return Daemon(None, "this store doesn't tell")
    return Daemon(store.liveness.held, "; ".join(store.liveness.evidence))


def _docker_features(engine: EngineTraces, store: Store, setting: Setting) -> list[str]:
    features = []
    if store.build_cache():
        features.append("build cache")
    if engine.native_diff:
        features.append("docker diff of this engine is made from the upper directory alone")
    features.extend(_common_features(setting))
    if any(container.init_id for container in store.containers()):
        features.append("init layers")
    return features


def _common_features(setting: Setting) -> list[str]:
    features = []
    if setting.detection.rootless:
        features.append("rootless")
    if setting.marker is not None:
        features.append("lab root")
    features.extend(f"remapped root {name}" for name in setting.detection.remapped)
    if setting.owners_told:
        features.append(setting.owners_told)
    features.append("access times of symlinks are not kept while reading: no flag prevents that")
    return features


def _counts(store: Store, contents: Contents) -> Mapping[str, int]:
    images, containers = store.images(), store.containers()
    return {
        "images": len(images),
        "tagged": sum(bool(image.repo_tags) for image in images),
        "containers": len(containers),
        "running": sum(container.state == "running" for container in containers),
        "layers": len(store.layers()),
        "layer_directories": len(contents.present()),
        "volumes": len(store.volumes()),
    }


def foreign_marks(store: Store, contents: Contents) -> list[Problem]:
    """Opaque marks of the prefix that doesn't count here, in writable layers: any process in a container can set them.

    At most 20,000 directories are looked at.
    """
    if contents.driver is None:
        return []
    dialect = contents.driver.dialect
    other = "user.overlay." if dialect.prefix.startswith("trusted") else "trusted.overlay."
    if not dialect.prefix or other in dialect.prefixes:
        return []
    found: list[Problem] = []
    left = _WALKED_DIRECTORIES
    for container in store.containers():
        if container.mount_id is None or container.mount_id not in contents.present():
            continue
        top = contents.driver.layer_path(container.mount_id)
        try:
            pending = [(contents.driver.open_layer(container.mount_id), "")]
        except OSError:
            continue
        while pending and left:
            directory, path = pending.pop()
            left -= 1
            try:
                names = [name for name, kind in directory.scan() if kind == "d"]
                mark = directory.xattr(other + "opaque")
            except OSError:
                continue
            if mark is not None:
                what = f"carries {other}opaque, which has no meaning in this root"
                effect = "it is not obeyed"
                found.append(Problem(f"{top}{path}", what, effect, severity=Severity.NOTE))
            pending.extend((directory.enter(name), f"{path}/{name}") for name in names)
    return found
