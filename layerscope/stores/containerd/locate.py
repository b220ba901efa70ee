"""The two halves of docker's containerd store, each found from the other, and proved to belong together.

docker's half (``D``, the data root) holds containers and volumes, containerd's the images and layers. Where containerd's
root is, if nobody says:

| place | when |
| --- | --- |
| `D/containerd/daemon` | dockerd started its own containerd |
| `containerd` beside `D`, `D/containerd` | a system's containerd; custom |
| `root` of `etc/containerd/config.toml`, `var/lib/containerd`, `var/lib/desktop-containerd/daemon`, below `P` | `D` is `P/var/lib/docker` |

A place counts if it has a meta.db. It is proved by a snapshot named by one of D's containers, else by the manifests that
these name; the best proved one is taken. Links are not followed on the way: the disk may be anybody's.
With user namespaces D is ``<data root>/<uid>.<gid>``, and the namespace is ``moby-<uid>.<gid>``.

Source: moby daemon/command/daemon_unix.go, libcontainerd/supervisor; seen with docker 28 and 29.
"""  # noqa: E501 - a table's row

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import RootError
from layerscope.hostfs import Directory
from layerscope.model.digest import is_file_name, is_hex64
from layerscope.stores.containerd.database import bucket_at, buckets_in, open_database
from layerscope.stores.containerd.folders import METADATA, SNAPSHOTTER
from layerscope.stores.containerd.metadata import FILE, Metadata, read_metadata
from layerscope.stores.containerd.snapshots import FILE as RECORDS
from layerscope.stores.docker.containers import ContainerConfig
from layerscope.stores.records.files import Fault, fault_of, list_directory, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

_REMAPPED = re.compile(r"[0-9]{1,10}\.[0-9]{1,10}")
_CONFIG_LIMIT = 1 << 20
_ASKED_CONTAINERS = 64
DOCKER_NAMESPACE = "moby"


class ContainerdRoot(Struct, frozen=True):
    """A directory with containerd's databases. ``path`` is its place on the host.

    ``proofs`` counts what ties it to a docker root: containers, else manifests. ``namespace`` is where they are.
    """

    directory: Directory
    path: Path
    metadata: Metadata
    namespace: str = ""
    proofs: int = 0

    @property
    def snapshotters(self) -> tuple[str, ...]:
        """The snapshotters that have records here, of any namespace, sorted."""
        return tuple(_snapshotters(self.directory))


def is_containerd_root(directory: Directory) -> bool:
    """Whether it holds containerd's databases: names, or at least one snapshotter's."""
    return _is_file(directory.enter(METADATA), FILE) or any(True for _ in _snapshotters(directory))


def _snapshotters(directory: Directory) -> Iterator[str]:
    entries = list_directory(directory)
    for name, kind in [] if isinstance(entries, Fault) else entries:
        if kind == "d" and name.startswith(SNAPSHOTTER) and _is_file(directory.enter(name), RECORDS):
            yield name.removeprefix(SNAPSHOTTER)


def _is_file(directory: Directory, name: str) -> bool:
    try:
        directory.open(name).close()
    except OSError:
        return False
    return True


def open_containerd_root(directory: Directory, path: Path) -> ContainerdRoot:
    """The containerd root that ``directory`` is."""
    return ContainerdRoot(directory, path, read_metadata(directory))


# ---------------------------------------------------------------------- from docker's half
def find_containerd(
    docker: Directory, path: Path, wanted: Path | None
) -> tuple[ContainerdRoot | None, tuple[str, ...]]:
    """containerd's root for the docker root ``docker`` at ``path``, and which places were tried, each with why not.

    Raises:
        RootError: ``wanted`` is no containerd root.
    """
    if wanted is not None:
        found = _at(wanted)
        if isinstance(found, str):
            raise RootError(f"cannot open the containerd root {shown(wanted, 300)}: it {found}")
        return _proved(found, docker, path), ()
    tried: list[str] = []
    best: tuple[tuple[int, bool], ContainerdRoot] | None = None
    for place, found in _candidates(docker, path):
        if isinstance(found, str):
            tried.append(f"{shown(place, 300)} {found}")
            continue
        candidate = _proved(found, docker, path)
        rank = (candidate.proofs, bool(candidate.metadata.namespace(candidate.namespace).images))
        inside = place.is_relative_to(Path(os.path.abspath(path))) or place.is_relative_to(os.path.realpath(path))
        if not candidate.proofs and not _is_credible(candidate, docker, inside):
            tried.append(f"{shown(place, 300)} holds nothing of this root's containers")
            candidate.directory.close()
        elif best is None or rank > best[0]:
            if best is not None:
                best[1].directory.close()
            best = rank, candidate
        else:
            candidate.directory.close()
    return (best[1] if best else None), tuple(tried)


def _is_credible(candidate: ContainerdRoot, docker: Directory, inside: bool) -> bool:
    """Whether a place without proof may be taken: there is nothing to prove it by, or what proves it can't be read."""
    if _container_ids(docker):
        return inside and not candidate.metadata.sound
    return inside or bool(candidate.metadata.namespace(candidate.namespace).images)


def _candidates(docker: Directory, path: Path) -> Iterator[tuple[Path, ContainerdRoot | str]]:
    """Each place with what is there, or why it is none. A path that leads through links is tried as both."""
    seen: set[Path] = set()
    for data_root in dict.fromkeys((Path(os.path.abspath(path)), Path(os.path.realpath(path)))):
        roots = [data_root, data_root.parent] if _REMAPPED.fullmatch(data_root.name) else [data_root]
        for top in roots:
            inside = docker if top == data_root else None
            for place, parts in _places(top):
                if place not in seen:
                    seen.add(place)
                    start = inside if inside is not None and parts[0] == top else None
                    yield place, _below(parts[0], parts[1], start)


def _places(top: Path) -> Iterator[tuple[Path, tuple[Path, str]]]:
    """Each place in turn: its path, and as a starting directory with the way from there."""
    yield top / "containerd/daemon", (top, "containerd/daemon")
    yield top.parent / "containerd", (top.parent, "containerd")
    yield top / "containerd", (top, "containerd")
    if top.parts[-3:] == ("var", "lib", "docker"):
        system = top.parents[2]
        configured = _configured(system)
        for way in (configured, "var/lib/containerd", "var/lib/desktop-containerd/daemon"):
            if way:
                yield system / way, (system, way)


def _configured(system: Path) -> str | None:
    """``root`` of containerd's own configuration below ``system``, as a way from there."""
    try:
        top = Directory.open_root(system)
    except OSError:
        return None
    data = read_bytes(top.descend("etc/containerd"), "config.toml", _CONFIG_LIMIT)
    top.close()
    if isinstance(data, Fault):
        return None
    import tomllib  # here: most hosts have no such file, and its import takes longer than to look for it

    try:
        value = tomllib.loads(data.decode()).get("root")
    except (ValueError, RecursionError):
        return None
    parts = [part for part in value.split("/") if part] if isinstance(value, str) else []
    return "/".join(parts) if parts and all(map(is_file_name, parts)) else None


def _below(start: Path, way: str, opened: Directory | None = None) -> ContainerdRoot | str:
    """The containerd root at ``way`` below ``start``, or what is wrong with it; no link on the way is followed."""
    if opened is not None:
        return _opened(opened, way, start / way, None)
    try:
        top = Directory.open_root(start)
    except OSError as error:
        return fault_of(error).what
    try:
        return _opened(top, way, start / way, str(start / way))
    finally:
        top.close()


def _at(path: Path) -> ContainerdRoot | str:
    """The containerd root at a path that the user gave, which may lead through links."""
    try:
        top = Directory.open_root(path)
    except OSError as error:
        return fault_of(error).what
    try:
        return _opened(top, "", path, os.path.abspath(path))
    finally:
        top.close()


def _opened(top: Directory, way: str, path: Path, shown_path: str | None) -> ContainerdRoot | str:
    """The containerd root at ``way`` below ``top``; with ``shown_path`` a root of its own, whose paths begin so."""
    directory = top.descend(way)
    try:
        directory.stat_self()
        if shown_path is not None:
            directory = directory.as_root(shown_path)
    except OSError as error:
        return fault_of(error).what
    if not is_containerd_root(directory):
        directory.close()
        return "has no containerd database"
    return open_containerd_root(directory, path)


# ---------------------------------------------------------------------- proof
def _proved(candidate: ContainerdRoot, docker: Directory, path: Path) -> ContainerdRoot:
    """``candidate`` with its proofs, and the namespace that has most of them."""
    ids = _container_ids(docker)
    counts = {name: len(ids & keys) for name, keys in _keys(candidate).items()}
    if not any(counts.values()):
        manifests = _manifests(docker, ids)
        counts = {
            name: len(manifests & candidate.metadata.namespace(name).blobs.keys())
            for name in candidate.metadata.namespaces
        }
    usual = _usual_namespace(path, counts)
    best = max(counts, key=lambda name: (counts[name], name == usual), default=usual)
    namespace = best if counts.get(best) else usual
    return replace(candidate, namespace=namespace, proofs=counts.get(namespace, 0))


def _usual_namespace(path: Path, known: Iterable[str]) -> str:
    remapped = f"{DOCKER_NAMESPACE}-{path.name}" if _REMAPPED.fullmatch(path.name) else ""
    return remapped if remapped in known else DOCKER_NAMESPACE


def _keys(candidate: ContainerdRoot) -> dict[str, set[str]]:
    """The snapshot keys of each namespace; where the names are damaged, as the snapshotters' own keys tell them."""
    metadata = candidate.metadata
    found: dict[str, set[str]] = {name: set() for name in metadata.namespaces}
    for name, keys in found.items():
        for snapshots in metadata.namespace(name).snapshots.values():
            keys.update(snapshots)
    for snapshotter in () if metadata.sound else candidate.snapshotters:
        database = open_database(candidate.directory.enter(SNAPSHOTTER + snapshotter), RECORDS, "")
        for key, _ in buckets_in(bucket_at(database.root, b"v1", b"snapshots")):
            name, _, rest = key.partition("/")
            found.setdefault(name, set()).add(rest.partition("/")[2])
    return found


def _container_ids(docker: Directory) -> set[str]:
    """The containers of a docker root, but those of graph drivers."""
    ids = _directories(docker.enter("containers"))
    for driver in _directories(docker.enter("image")):
        ids -= _directories(docker.descend(f"image/{driver}/layerdb/mounts"))
    return {id_ for id_ in ids if is_hex64(id_)}


def _directories(directory: Directory) -> set[str]:
    entries = list_directory(directory)
    return set() if isinstance(entries, Fault) else {name for name, kind in entries if kind == "d"}


def _manifests(docker: Directory, ids: Iterable[str]) -> set[str]:
    """The manifests that some of docker's containers were made from."""
    found = set()
    for id_ in sorted(ids)[:_ASKED_CONTAINERS]:
        data = read_bytes(docker.enter("containers").enter(id_), "config.v2.json", LIMIT)
        manifest = None if isinstance(data, Fault) else parse(data, ContainerConfig).typed.image_manifest
        if manifest is not None and manifest.digest:
            found.add(manifest.digest)
    return found


# ---------------------------------------------------------------------- from containerd's half
def find_docker(containerd: ContainerdRoot) -> tuple[Directory, Path] | None:
    """The docker root whose other half ``containerd`` is proved to be, with its path; None if there is none near it."""
    path = Path(os.path.abspath(containerd.path))
    places = [(path.parent, "docker")]
    if path.parts[-2:] == ("containerd", "daemon"):
        places.insert(0, (path.parents[2], path.parents[1].name))
    for start, name in places:
        if not is_file_name(name):
            continue
        try:
            top = Directory.open_root(start)
        except OSError:
            continue
        try:
            docker = top.enter(name).as_root("")
        except OSError:
            continue
        finally:
            top.close()
        if _proved(containerd, docker, start / name).proofs:
            return docker, start / name
        docker.close()
    return None
