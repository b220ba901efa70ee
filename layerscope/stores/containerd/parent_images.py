"""How docker's containerd store lets go of an image that others were made of, or that a container is of.

| image | goes |
| --- | --- |
| with a name, and children | with all that were made of it; ``rmi`` takes its names, then ``image prune`` the rest |
| without a name, with children | with the first of its children that goes or loses its name; by ``image prune`` |

A container keeps its image from both; from ``image prune -a`` it keeps only the name that it was made with, so one
whose name was given to another image in the meantime is taken under the names it has left. What an image shares with
its children stays with them: only its own manifest and configuration go. Source: moby
daemon/containerd/image_delete.go, image_prune.go; held against 28.5.2.
"""

from __future__ import annotations

from layerscope.formats.reference import full_name
from layerscope.model.container import Container
from layerscope.model.reclaim import Need, Thing, ThingKind
from layerscope.stores.containerd.images import StoredImage
from layerscope.stores.containerd.removal_commands import image_command
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.removal import Removal

PRUNE = Thing(ThingKind.TEMPORARY, "docker image prune")
"""What docker itself takes of images without a name. It stands in no list, as it isn't one thing."""
_MOST_WAYS = 16


class ParentImages:
    """What must go for such an image to go. ``groups``: what the prunes take beside the images themselves."""

    def __init__(self, store: ContainerdStore, found: Removal) -> None:
        """Start; every image that may go is in ``found`` by now."""
        self._found = found
        self._nameless = {one.image.id for one in store.stored_images if not one.image.names}
        self.groups: dict[str, frozenset[Thing]] = {}
        self._protectors: dict[str, Need] = {}
        if not store.halves.is_docker:
            return
        of_image: dict[str, list[Container]] = {}
        for container in store.containers():
            of_image.setdefault(container.image_id or "", []).append(container)
        for one in store.stored_images:
            keep = (each for each in of_image.get(one.image.id, ()) if _protects(each, one))
            self._protectors[one.image.id] = frozenset().union(*(found.of_container[each.id] for each in keep))
        special = [one for one in store.stored_images if self._children(one.image.id) or self._is_left(one.image.id)]
        if special:
            found.commands[PRUNE] = "docker image prune -f"
            untagged = [self._untagged(one, store) for one in special if one.image.names]
            self.groups = {"dangling-images": frozenset((PRUNE,)), "unused-images": frozenset((PRUNE, *untagged))}

    def _untagged(self, one: StoredImage, store: ContainerdStore) -> Thing:
        """The thing that is taken when a prune takes an image by its names."""
        thing = _by_name(one.image.id)
        by_names = image_command(store.halves.namespace, one.records, one.image.names)
        self._found.commands[thing] = "docker image prune -a -f" if self._is_left(one.image.id) else by_names
        self._found.follows[thing] = frozenset((Thing(ThingKind.IMAGE, one.image.id),))
        return thing

    def _is_left(self, image: str) -> bool:
        """Whether a prune takes an image that a container is of."""
        return self._protectors.get(image, frozenset()) != frozenset(self._found.users.get(image, ()))

    def _children(self, image: str) -> list[str]:
        return [child for child in self._found.children.get(image, ()) if child != image]

    def ways(self, image: str) -> tuple[Need, ...]:
        """What must go for an image's own record to go, as alternatives."""
        whole = self._found.with_all_above(image)
        if not self._children(image) and not self._is_left(image):
            return (whole,)
        users = frozenset(self._found.users.get(image, ()))
        if image not in self._nameless:
            return whole, self._protectors[image] | {PRUNE, _by_name(image)}
        found = [whole, users | {PRUNE}]
        seen = {image}
        pending = [(image, users)]
        while pending and len(found) < _MOST_WAYS:
            here, kept_by = pending.pop()
            for child in self._children(here):
                if child in seen:
                    continue
                seen.add(child)
                if child in self._nameless and self._children(child):
                    pending.append((child, kept_by | frozenset(self._found.users.get(child, ()))))
                else:
                    itself = frozenset((Thing(ThingKind.IMAGE, child), *self._found.users.get(child, ())))
                    found.append(itself | kept_by)
        return tuple(found)


def _protects(container: Container, one: StoredImage) -> bool:
    """Whether a container keeps its image from a prune: it was made with an ID, or with a name that the image has."""
    typed, id_ = container.image, one.image.id
    if not one.image.names or typed.endswith(id_) or id_.startswith(f"sha256:{typed.removeprefix('sha256:')}"):
        return True
    name = full_name(typed)
    return any(record.name in (name, f"{name}:latest") for record in one.records)


def _by_name(image: str) -> Thing:
    return Thing(ThingKind.IMAGE, f"names of {image}")
