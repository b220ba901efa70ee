"""Writable layers and containers that lost each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.digest import hex_of
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.containers import Surroundings
from layerscope.stores.docker.mounts import MountRecord
from layerscope.stores.layer_folder import layer_folder
from layerscope.stores.records.files import Fault, list_directory

_YOUNG_SECONDS = 600
_MOST_GUESSES = 3


def orphan_problems(
    records: Iterable[MountRecord], directory: Directory, is_held: Callable[[], bool | None], now: float
) -> list[Problem]:
    """What is to be said of writable layers without a container; ``directory`` is that of the driver's records.

    A build has such layers while it runs, without an init layer, and a container gets its layer before its own
    directory. Where no daemon is alive, or nothing that it does can be that old, it is a leftover: docker keeps it, and
    the layers below, for ever.
    """
    problems = []
    for record in records:
        ids = ", ".join(f"{kind} {value}" for kind, value in _ids(record)) or "it names no directory"
        made = _made(directory, record)
        if made is None:
            continue  # it was removed a moment ago
        young = now - made < _YOUNG_SECONDS and is_held() is not False
        if young and record.init_id is None:
            what, effect, severity = f"build step: {ids}", "a build may be running", Severity.NOTE
        elif young:
            what = f"layer of an unfinished container: {ids}"
            effect, severity = "docker may be creating or removing it now", Severity.NOTE
        else:
            what = f"orphaned container layer: {ids}; there is no container {record.name}"
            effect, severity = "docker never removes it, nor the layers below it", Severity.WARNING
        problems.append(Problem(record.path, what, effect, severity=severity))
        problems.extend(record.problems)
    return problems


def _ids(record: MountRecord) -> Iterable[tuple[str, str]]:
    if record.mount_id:
        yield "mount ID", record.mount_id
    if record.init_id:
        yield "init ID", record.init_id
    if record.parent:
        yield "on layer", hex_of(record.parent)


def _made(directory: Directory, record: MountRecord) -> float | None:
    """When a record was made; None if it is gone."""
    try:
        return directory.descend(f"layerdb/mounts/{record.name}").stat_self().st_mtime
    except FileNotFoundError:
        return None
    except OSError:
        return 0.0


def claim_guesses(containers: tuple[Container, ...], root: Directory, around: Surroundings) -> tuple[Container, ...]:
    """``containers``; those without a writable layer's record get a hint: unclaimed directories that may be theirs."""
    if all(container.id in around.mounts for container in containers):
        return containers
    folder = layer_folder(around.driver)
    entries = list_directory(root.descend(folder))
    names = set() if isinstance(entries, Fault) else {name for name, kind in entries if kind == "d"}
    claimed = {str(layer.cache_id) for layer in around.layers.values()}
    claimed.update(str(record.mount_id) for record in around.mounts.values())
    pairs = sorted(name for name in names - claimed if f"{name}-init" in names)
    if not pairs:
        return containers
    more = f" and {len(pairs) - _MOST_GUESSES} more" if len(pairs) > _MOST_GUESSES else ""
    hint = f"no record claims {', '.join(f'{folder}/{name}' for name in pairs[:_MOST_GUESSES])}{more}: maybe its layer"
    return tuple(
        container if container.id in around.mounts else _hinted(container, f"{around.path}/layerdb/mounts", hint)
        for container in containers
    )


def _hinted(container: Container, folder: str, hint: str) -> Container:
    place = f"{folder}/{container.id}"
    problems = tuple(
        replace(problem, hint=hint) if problem.path == place else problem for problem in container.problems
    )
    return replace(container, problems=problems)
