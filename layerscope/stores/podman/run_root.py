"""The containers of podman's ``--transient-store``: their files lie in the root, their records in the run root.

| below the run root | what |
| --- | --- |
| `<driver>-containers/volatile-containers.json` | the list of containers, as the root has one |
| `db.sql` | podman's own records of them |

The run root is mostly in memory (`/run/containers/storage`), so a container's records may be gone with the machine's
last start, or lie on another machine, while its layer and its folder are still here. podman's database in the root, if
it ever made one there, tells where the run root is; without one only podman's own default can be looked at.
Source: containers/storage store.go, ``TransientStore``; podman libpod/runtime.go; seen with podman 5.8.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from layerscope.hostfs import Directory
from layerscope.model.digest import is_hex64
from layerscope.stores.podman.containers import ContainerRecord, read_container_list
from layerscope.stores.podman.record_list import Listed, state_of
from layerscope.stores.podman.store import PodmanStore
from layerscope.stores.records.files import Fault, list_directory, shown

_ROOTFUL = "/run/containers/storage"
_ROOTLESS = "/run/user/{}/containers"
_LONGEST_PATH = 4096


class TransientContainers:
    """The containers of one driver that the run root records, as of the last :meth:`read`."""

    def __init__(self, store: PodmanStore) -> None:
        self._store = store
        self._containers: dict[str, Listed[ContainerRecord]] = {}
        self._layers: dict[str, str] = {}
        self.place = ""
        """Where they are recorded, or would be: the path of the run root on the host."""
        self._certain = False
        self._complete = False
        self._state: tuple[object, ...] | None = None

    def read(self) -> None:
        """Look at the run root as it is now; nothing is read again that is as it was."""
        self.place, is_known = self._where()
        self._certain = self._read(self.place) and is_known
        self._layers = {}
        for identifier, record in self._containers.items():
            layer = record.fields.layer
            if layer and is_hex64(layer):
                self._layers[layer] = identifier

    def of_layer(self, layer: str) -> str | None:
        """The name of the container whose own layer it is."""
        identifier = self._layers.get(layer)
        return None if identifier is None else self.name(identifier)

    def name(self, identifier: str) -> str | None:
        """What the container of this ID is called; None if none is recorded."""
        record = self._containers.get(identifier)
        if record is None:
            return None
        names = record.fields.names or []
        return next((name for name in names if name), identifier[:12])

    def why_unknown(self, unrecorded_layers: Collection[str]) -> str:
        """Why layers and folders that nothing records may be such a container's all the same; "" if they can't be.

        Each of them has a layer and a folder. Where no folder lacks a record, or no layer, there is none.
        """
        if self._certain or not unrecorded_layers or not self._has_folders:
            return ""
        if self._store.libpod.settings.get("RunRoot"):
            return f"it may be a transient store's container: {shown(self.place, 200)} would tell, which isn't here"
        return "it may be a transient store's container: where its run root is, which would tell, isn't recorded"

    # ------------------------------------------------------------------ reading
    @cached_property
    def _has_folders(self) -> bool:
        """Whether a container's folder has no record in the root: podman makes ``userdata`` in each."""
        folder = self._store.folder("containers")
        listed = list_directory(folder)
        known = self._store.container_list.records
        names = () if isinstance(listed, Fault) else (name for name, kind in listed if kind == "d" and is_hex64(name))
        return any(name not in known and ("userdata", "d") in _entries(folder.enter(name)) for name in names)

    def _where(self) -> tuple[str, bool]:
        """Where the run root is ("" if that isn't known), and whether it is sure that it is this root's.

        It isn't where the root was last used at another place, and where podman has no database in it.
        """
        settings = self._store.libpod.settings
        recorded, graph_root = settings.get("RunRoot", ""), settings.get("GraphRoot", "")
        try:
            if recorded.startswith("/") and len(recorded) < _LONGEST_PATH:
                return recorded, os.path.samefile(graph_root, self._store.path)
            owner = self._store.root.stat_self().st_uid
        except (OSError, ValueError):
            return recorded, False
        return _ROOTLESS.format(owner) if owner else _ROOTFUL, False

    def _read(self, place: str) -> bool:
        """Take the list there; whether all that it could tell is known."""
        try:
            run_root = Directory.open_root(Path(place))
        except FileNotFoundError:
            self._state, self._containers = None, {}
            return True
        except (OSError, ValueError):
            return False
        try:
            folder = run_root.enter(f"{self._store.driver}-containers")
            state = (place, *state_of(folder, "containers"))
            if state != self._state:
                found = read_container_list(folder)
                self._state, self._containers, self._complete = state, dict(found.records), found.complete
        finally:
            run_root.close()
        return self._complete


def _entries(folder: Directory) -> Sequence[tuple[str, str]]:
    listed = list_directory(folder)
    return () if isinstance(listed, Fault) else listed
