"""Opening a root that has, or may have, a containerd store: which half is which, and which of its worlds is shown."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import LayerscopeError
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.base import Store
from layerscope.stores.containerd.halves import find_halves
from layerscope.stores.detect import Detection, choose_driver, detect


class Opened(Struct, frozen=True):
    """What is shown of a root: the directory whose records are read, and the store (None: it is no containerd store).

    Of a containerd root that is the other half of a docker root beside it, that docker root.
    """

    root: Directory
    path: Path
    detection: Detection
    store: Store | None


def open_containerd(
    root: Directory,
    path: Path,
    detection: Detection,
    driver: str | None,
    containerd_root: Path | None,
    namespace: str | None,
) -> Opened:
    """Look for a containerd store in ``root``, which lies at ``path``; arguments as those of ``open_root``.

    Raises:
        RootError: ``containerd_root`` is no containerd root.
        UsageError: there is no such namespace, or no such driver.
    """
    halves = find_halves(root, path, detection, containerd_root, namespace)
    if halves is None:
        return Opened(root, path, detection, None)
    if halves.docker is not None and halves.docker_path is not None and halves.docker is not root:
        what = f"was opened with the docker root {halves.docker_path}, whose other half it is"
        told = Problem(str(path), what, "containers are shown by docker's records", severity=Severity.NOTE)
        root.close()
        root, path = halves.docker, halves.docker_path
        detection = detect(root, path)
        detection = replace(detection, faults=(*detection.faults, told))
    graph_drivers = detection.drivers
    detection = replace(detection.joined(halves.worlds), is_docker=halves.docker is not None)
    try:
        chosen = choose_driver(detection, path, driver)
    except LayerscopeError:
        halves.close()
        raise
    if chosen in graph_drivers or chosen not in halves.drivers:
        if halves.containerd is not None:
            halves.containerd.directory.close()
        return Opened(root, path, detection, None)
    # Many roots of graph drivers have containerd's databases beside them, and nothing of theirs in those.
    from layerscope.stores.containerd.store import ContainerdStore

    return Opened(root, path, detection, ContainerdStore(halves, chosen))
