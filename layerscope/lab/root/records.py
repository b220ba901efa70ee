"""Where docker's records lie, and the small ones written as docker writes them.

| record | mode | content |
| --- | --- | --- |
| `image/overlay2/repositories.json` | 0600 | ``{"Repositories": {name: {reference: image ID}}}``, sorted |
| `image/overlay2/imagedb/content/sha256/<hex>` | 0600 | the image's config |
| `image/overlay2/imagedb/metadata/sha256/<hex>/parent`, `lastUpdated`, `builtLocally` | 0600 | image ID; time; 01 |
| `image/overlay2/layerdb/sha256/<hex>/` | 0700 | files of mode 0644 |
| `image/overlay2/layerdb/mounts/<container ID>/` | 0755 | files of mode 0644 |
| `containers/<ID>/` | 0710 | `checkpoints/` 0700, `config.v2.json` 0600, `hostconfig.json` 0600 |

No record ends in a newline. Source: moby image/fs.go, layer/filestore.go, refstore/store.go, container/container.go;
seen with 20.10.24 and 26.1.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.gojson import go_json, sorted_object
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import ChainID, ContainerID, ImageID, hex_of

DRIVER_RECORDS = "image/overlay2"
LAYERS = f"{DRIVER_RECORDS}/layerdb/sha256"
MOUNTS = f"{DRIVER_RECORDS}/layerdb/mounts"
CONTENT = f"{DRIVER_RECORDS}/imagedb/content/sha256"
METADATA = f"{DRIVER_RECORDS}/imagedb/metadata/sha256"
REPOSITORIES = f"{DRIVER_RECORDS}/repositories.json"
CONTAINERS = "containers"
VOLUMES = "volumes"
_LIMIT = 16 << 20

_DIRECTORIES = (
    ("image", 0o700),
    (DRIVER_RECORDS, 0o700),
    (f"{DRIVER_RECORDS}/distribution", 0o700),
    (f"{DRIVER_RECORDS}/imagedb", 0o700),
    (f"{DRIVER_RECORDS}/imagedb/content", 0o700),
    (CONTENT, 0o700),
    (f"{DRIVER_RECORDS}/imagedb/metadata", 0o700),
    (METADATA, 0o700),
    (f"{DRIVER_RECORDS}/layerdb", 0o700),
    (LAYERS, 0o755),
    (MOUNTS, 0o755),
    (f"{DRIVER_RECORDS}/layerdb/tmp", 0o755),
    ("overlay2", 0o710),
    ("overlay2/l", 0o700),
    (CONTAINERS, 0o710),
    (VOLUMES, 0o701),
    ("tmp", 0o700),
)


def make_empty_root(disk: Disk) -> None:
    """Every directory that records go into, and no names yet, below an existing directory."""
    for path, mode in _DIRECTORIES:
        disk.make_directory(path, mode)
    disk.write(REPOSITORIES, b'{"Repositories":{}}', 0o600)


# ---------------------------------------------------------------------- names of images
class Repositories(Struct):
    """``repositories.json``, to be changed and written back; what isn't understood in it stays as it is."""

    names: dict[str, dict[str, str]]
    rest: Mapping[str, Any]

    def set(self, repository: str, reference: str, image: ImageID) -> str | None:
        """Give a reference to an image; the image that had it, if another."""
        group = self.names.setdefault(repository, {})
        before = group.get(reference)
        group[reference] = image
        return before if before != image else None

    def remove(self, repository: str, reference: str) -> None:
        """Take a reference away."""
        group = self.names.get(repository, {})
        group.pop(reference, None)
        if not group:
            self.names.pop(repository, None)

    def of_image(self, image: ImageID) -> list[tuple[str, str]]:
        """Repository and reference of each name of an image, sorted."""
        found = ((repository, ref) for repository, group in self.names.items() for ref in group if group[ref] == image)
        return sorted(found)

    def text(self) -> bytes:
        """The file as docker writes it."""
        names = {repository: sorted_object(group) for repository, group in sorted_object(self.names).items()}
        return go_json({**self.rest, "Repositories": names})


def read_repositories(disk: Disk) -> Repositories:
    """The names as they are; an absent file is an empty one, as for docker.

    Raises:
        CommitError: it is damaged: writing it anew would lose what it held.
    """
    folder, _, name = REPOSITORIES.rpartition("/")
    directory = disk.top.descend(folder)
    try:
        content = json.loads(directory.read(name, _LIMIT))
        names = content["Repositories"]
        if not all(isinstance(group, dict) for group in names.values()):
            raise ValueError("it has another form")
    except FileNotFoundError:
        return Repositories({}, {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CorruptError, OSError) as error:
        raise CommitError(
            f"cannot change names: {REPOSITORIES} can't be read ({str(error)[:80]}); repair it first"
        ) from None
    return Repositories(names, {key: value for key, value in content.items() if key != "Repositories"})


# ---------------------------------------------------------------------- images
def stage_image(transaction: Transaction, image: ImageID, config: bytes, parent: ImageID | None, built: bool) -> None:
    """An image's config and metadata are to be in place. ``built``: made here, not loaded; engines from 26 note it.

    An image that is there already stays, as with docker.
    """
    disk = transaction.disk
    if not disk.exists(f"{CONTENT}/{hex_of(image)}"):
        transaction.stage_file(f"{CONTENT}/{hex_of(image)}", config, 0o600)
    if parent is not None:
        stage_metadata(transaction, image, "parent", parent.encode())
    if built:
        stage_metadata(transaction, image, "builtLocally", b"\1")


def stage_metadata(transaction: Transaction, image: ImageID, name: str, data: bytes) -> None:
    """One file about an image is to be in place."""
    folder = f"{METADATA}/{hex_of(image)}"
    disk = transaction.disk
    if not disk.exists(folder):
        disk.make_directory(folder, 0o700)
        transaction.on_failure(lambda: disk.remove_tree(folder))
    transaction.stage_file(f"{folder}/{name}", data, 0o600)


# ---------------------------------------------------------------------- containers
def stage_mount(
    transaction: Transaction, container: ContainerID, mount_id: str, init_id: str, parent: ChainID | None
) -> None:
    """The record of where a container's writable layer lies is to be in place."""
    aside = f"{transaction.folder}/mount"
    transaction.disk.ensure_directory(MOUNTS, 0o755)
    transaction.disk.make_directory(aside, 0o755)
    for name, text in (("mount-id", mount_id), ("init-id", init_id), ("parent", parent)):
        if text:
            transaction.disk.write(f"{aside}/{name}", text.encode(), 0o644)
    transaction.stage_directory(aside, f"{MOUNTS}/{container}")


def stage_container(transaction: Transaction, container: ContainerID, files: Iterable[tuple[str, bytes]]) -> None:
    """A container's own directory is to be in place."""
    aside = f"{transaction.folder}/container"
    disk = transaction.disk
    disk.make_directory(aside, 0o710)
    disk.make_directory(f"{aside}/checkpoints", 0o700)
    for name, data in files:
        disk.write(f"{aside}/{name}", data, 0o600)
    transaction.stage_directory(aside, f"{CONTAINERS}/{container}")
