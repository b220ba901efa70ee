"""Removing containers, names and images, by docker's rules and in its order, except that what is listed goes first.

An image: names, metadata, config, then its layers from the top down as long as nothing else refers to them; each is
renamed to ``<chain ID>-<random>-removing`` before its files go. A container: its directory, the record of its writable
layer, then the files. So whatever a killed process leaves is in no list, and :mod:`layerscope.lab.root.sweep` finds it.

Source: moby daemon/images/image_delete.go, layer/layer_store.go ``deleteLayer``, daemon/delete.go; seen with 20.10.24.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.lab.image.tagging import Reference
from layerscope.lab.layer.new import remove_layer_directory
from layerscope.lab.root.claims import Claims
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.records import (
    CONTAINERS,
    CONTENT,
    LAYERS,
    METADATA,
    MOUNTS,
    REPOSITORIES,
    Repositories,
    read_repositories,
)
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, ChainID, ImageID, hex_of, is_digest
from layerscope.model.image import Image

Name = tuple[str, str]
"""Repository and reference."""


class Removed(Struct, frozen=True):
    """What a removal of an image did, in docker's words and order: ``untagged`` or ``deleted``, and what."""

    word: str
    what: str


# ---------------------------------------------------------------------- containers
def remove_container(root: LabRoot, container: Container) -> None:
    """Remove a container with its writable layer, and layers that only it kept; its volumes stay, as with docker.

    Raises:
        CommitError: it is mounted, or the disk said no.
    """
    doing = f"cannot remove {container.name or container.id[:12]}"
    layers = [identity for identity in (container.mount_id, container.init_id) if identity is not None]
    for identity in layers:
        root.demand_unmounted(identity, doing)
    disk = root.disk
    claims = Claims(root.store(), container=container.id)
    chains = claims.released(claims.chain_of(container.chain_id))
    with Transaction(disk, doing) as transaction:
        transaction.note("container", container.id)
        for identity in (*layers, *filter(None, map(claims.cache_of, chains))):
            transaction.note("layer", identity)
        for path, aside in ((f"{CONTAINERS}/{container.id}", "container"), (f"{MOUNTS}/{container.id}", "mount")):
            if disk.exists(path):
                transaction.stage_directory(path, f"{transaction.folder}/{aside}")
        transaction.publish()
        for identity in layers:
            remove_layer_directory(disk, identity)
        for chain in chains:
            delete_layer(disk, chain, claims.cache_of(chain))


# ---------------------------------------------------------------------- images
def remove_image(root: LabRoot, image: Image, name: Reference | None, force: bool = False) -> list[Removed]:
    """Remove a name of an image, and the image with its layers where docker would.

    Args:
        root: where.
        image: the image.
        name: the name under which it was asked for; None if by its ID.
        force: also if it has several names, or containers use it.

    Raises:
        CommitError: docker would refuse, or the disk said no; nothing was changed.
    """
    plan = _Plan(root, image, name, force)
    doing = f"cannot remove {name.text if name else hex_of(image.id)[:12]}"
    chains = plan.released_chains()
    disk = root.disk
    with Transaction(disk, doing) as transaction:
        for chain in chains:
            cache_id = plan.claims.cache_of(chain)
            if cache_id is not None:
                transaction.note("layer", cache_id)
        if plan.names_changed:
            transaction.stage_file(REPOSITORIES, plan.repositories.text(), 0o600)
        transaction.publish()
        for identity in plan.images:
            disk.remove_tree(f"{METADATA}/{hex_of(identity)}")
            disk.remove_file(f"{CONTENT}/{hex_of(identity)}")
        for chain in chains:
            delete_layer(disk, chain, plan.claims.cache_of(chain))
    return plan.told


def delete_layer(disk: Disk, chain: ChainID, cache_id: CacheID | None) -> None:
    """Take a layer's record and files away; nothing may refer to it."""
    removing = f"{LAYERS}/{hex_of(chain)}-{secrets.token_hex(32)}-removing"
    disk.rename(f"{LAYERS}/{hex_of(chain)}", removing)
    if cache_id is not None:
        remove_layer_directory(disk, cache_id)
    disk.remove_tree(removing)


class _Plan:
    """What is to be done, decided before anything is. ``told`` is complete after :meth:`released_chains`."""

    def __init__(self, root: LabRoot, image: Image, name: Reference | None, force: bool) -> None:
        store = root.store()
        self._store = store
        self._force = force
        self._images: Mapping[ImageID, Image] = {known.id: known for known in store.images() if known.config}
        self._containers: Sequence[Container] = store.containers()
        self.repositories: Repositories = read_repositories(root.disk)
        self.images: list[ImageID] = []
        self.told: list[Removed] = []
        self.names_changed = False
        self.claims = Claims(store)
        names = self.repositories.of_image(image.id)
        quiet = False
        if name is not None:
            user = self._user_of(image.id)
            if not force and _is_single(names) and user is not None:
                raise CommitError(
                    f'conflict: unable to remove repository reference "{name.text}" (must force) - container '
                    f"{user.id[:12]} is using its referenced image {hex_of(image.id)[:12]}"
                )
            self._untag((name.repository, name.text))
            names = self.repositories.of_image(image.id)
            if _digest_of(name.text) is None and not any(
                repository == name.repository and _digest_of(text) is None for repository, text in names
            ):
                for other in [other for other in names if other[0] == name.repository]:
                    self._untag(other)
                names = self.repositories.of_image(image.id)
            if names:
                return
            quiet = True
        elif _is_single(names):
            self._demand_free(image.id, references=False)
            for other in names:
                self._untag(other)
        self._delete(image.id, quiet)

    def released_chains(self) -> list[ChainID]:
        """The layers that go, from the top down."""
        chains: list[ChainID] = []
        for number, identity in enumerate(self.images, 1):
            self.claims = Claims(self._store, self.images[:number])
            image = self._images.get(identity)
            freed = [chain for chain in self.claims.released(image.chain_ids if image else ()) if chain not in chains]
            self.told.append(Removed("deleted", identity))
            self.told.extend(Removed("deleted", chain) for chain in freed)
            chains.extend(freed)
        return chains

    # ------------------------------------------------------------------ docker's rules
    def _untag(self, name: Name) -> None:
        self.repositories.remove(*name)
        self.told.append(Removed("untagged", name[1]))
        self.names_changed = True

    def _delete(self, identity: ImageID, quiet: bool) -> None:
        """Delete an image, and then those it was made from as long as nothing else needs them."""
        try:
            self._demand_free(identity)
        except _Conflict as conflict:
            dangling = not self.repositories.of_image(identity) and not self._children(identity)
            if quiet and (not dangling or conflict.used):
                return
            raise
        for name in self.repositories.of_image(identity):
            self._untag(name)
        self.images.append(identity)
        image = self._images.get(identity)
        parent = image.parent if image else None
        while parent is not None and parent in self._images and parent not in self.images:
            try:
                self._demand_free(parent, force=False)
            except _Conflict:
                return
            self.images.append(parent)
            parent = self._images[parent].parent

    def _demand_free(self, identity: ImageID, *, references: bool = True, force: bool | None = None) -> None:
        """Refuse what docker refuses."""
        force = self._force if force is None else force
        shown = hex_of(identity)[:12]
        if self._children(identity):
            raise _Conflict(f"conflict: unable to delete {shown} (cannot be forced) - image has dependent child images")
        if force:
            return
        if references and self.repositories.of_image(identity):
            raise _Conflict(
                f"conflict: unable to delete {shown} (must be forced) - image is referenced in multiple repositories"
            )
        user = self._user_of(identity)
        if user is not None:
            raise _Conflict(
                f"conflict: unable to delete {shown} (must be forced) - image is being used by stopped container "
                f"{user.id[:12]}",
                used=True,
            )

    def _children(self, identity: ImageID) -> list[ImageID]:
        return [image.id for image in self._images.values() if image.parent == identity and image.id not in self.images]

    def _user_of(self, identity: ImageID) -> Container | None:
        return next((container for container in self._containers if container.image_id == identity), None)


class _Conflict(CommitError):
    """docker's refusal; ``used``: for a container's sake."""

    def __init__(self, message: str, used: bool = False) -> None:
        super().__init__(message)
        self.used = used


def _digest_of(reference: str) -> str | None:
    digest = reference.rpartition("@")[2]
    return digest if is_digest(digest) else None


def _is_single(names: Iterable[Name]) -> bool:
    """Whether it is one name, or one tag with digests of the same repository alone."""
    found = list(names)
    if len(found) <= 1:
        return True
    tags = [repository for repository, text in found if _digest_of(text) is None]
    digests = {repository for repository, text in found if _digest_of(text) is not None}
    if len(tags) > 1:
        return False
    return len(digests) == 1 and (tags or [found[0][0]])[0] in digests
