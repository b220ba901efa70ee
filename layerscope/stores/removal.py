"""What may be removed from a root, and what keeps each part of it: what all engines have in common.

Containers keep those that they can't be without, images, and volumes; images keep those that they were made of;
what nobody claims goes alone. Each store's module ``removable`` adds its engine's own rules to that.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from layerscope.model.claim import Category
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Need, Removable, Thing, ThingKind
from layerscope.model.volume import Volume
from layerscope.stores.base import Store


class Removal:
    """A :class:`~layerscope.model.reclaim.Removable` in the making: its fields by the same names, being filled.

    ``containers``: the thing that each container is, by ID. ``of_container``: what must go for one to go; ``users``:
    for all containers of an image, by the image's ID; ``mounting``: for all that mount a volume, by its name.
    ``children``: the IDs of the images that were made of each image.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        images: Iterable[Image] | None = None,
        dependents: Mapping[str, Iterable[str]] | None = None,
        unknown: Collection[str] = (),
    ) -> None:
        """Start with the containers of a store.

        Args:
            store: whose records are read.
            ledger: that of the same root.
            images: those that may go; all of the store if None.
            dependents: by a container's ID, those of the containers that can't be without it.
            unknown: the IDs of containers that the engine doesn't know: it neither removes them nor asks them.
        """
        self._ledger = ledger
        listed = [one for one in store.containers() if one.id not in unknown]
        self.containers = {str(one.id): Thing(ThingKind.CONTAINER, one.id) for one in listed}
        self.of_container: dict[str, Need] = {}
        self.users: dict[str, set[Thing]] = {}
        self.mounting: dict[str, set[Thing]] = {}
        for one in listed:
            together = reached(one.id, dependents or {})
            need = frozenset(self.containers[id_] for id_ in together if id_ in self.containers)
            self.of_container[one.id] = need
            if one.image_id is not None:
                self.users.setdefault(one.image_id, set()).update(need)
            for mount in one.mounts:
                if mount.name:
                    self.mounting.setdefault(mount.name, set()).update(need)
        self.children: dict[str, list[str]] = {}
        for image in store.images() if images is None else images:
            if image.parent is not None:
                self.children.setdefault(image.parent, []).append(image.id)
        short_names = f"{store.driver}/l/"
        self._short_names = {
            entry.owner: entry.path
            for entry in ledger.entries
            if entry.category is Category.RECORD and entry.path.startswith(short_names)
        }
        self.names: dict[Thing, str] = {}
        self.commands: dict[Thing, str] = {}
        self.running = {self.containers[one.id] for one in listed if one.runs}
        self.guarded: dict[Thing, str] = {}
        self.needs: dict[str, tuple[Need, ...]] = {}
        self.with_volumes: dict[Thing, frozenset[Thing]] = {}
        self.follows: dict[Thing, Need] = {}
        self.groups: dict[str, frozenset[Thing]] = {}
        self.tried: dict[Thing, Need] = {}
        self.alone: dict[Thing, str] = {}
        self.references: dict[Thing, tuple[str, ...]] = {}
        self.anonymous: set[str] = set()
        self.dependents = {thing: self.of_container[id_] - {thing} for id_, thing in self.containers.items()}

    def removable(self) -> Removable:
        """All that was found."""
        return Removable(
            names=self.names,
            commands=self.commands,
            running=frozenset(self.running),
            guarded=self.guarded,
            needs=self.needs,
            with_volumes=self.with_volumes,
            follows=self.follows,
            groups=self.groups,
            dependents=self.dependents,
            tried=self.tried,
            alone=self.alone,
            references=self.references,
            anonymous=frozenset(self.anonymous),
        )

    # ------------------------------------------------------------------ one by one
    def thing(self, kind: ThingKind, id_: str, name: str, command: str = "") -> Thing:
        """A thing that may go. Of one that was told before, the first name and command stay."""
        thing = Thing(kind, id_)
        if thing not in self.names:
            self.names[thing] = name
            if command:
                self.commands[thing] = command
        return thing

    def goes(self, path: str, *needs: Need) -> None:
        """What must go for a path to go, as alternatives."""
        self.needs[path] = needs

    def layer_goes(self, directory: str, *needs: Need) -> None:
        """What must go for a layer's directory to go, and its short name with it."""
        self.goes(directory, *needs)
        short = self._short_names.get(directory.rpartition("/")[2])
        if short is not None:
            self.goes(short, *needs)

    # ------------------------------------------------------------------ a kind at a time
    def add_log(self, container: Container) -> None:
        """A container's log: it goes with the container, or is emptied alone."""
        if container.log_path and container.log_size:
            log = self.thing(ThingKind.LOG, container.id, f"log of {called(container)}")
            self.goes(container.log_path, self.of_container[container.id], frozenset((log,)))

    def add_volumes(self, volumes: Iterable[Volume], *command: str) -> None:
        """Volumes, each kept by the containers that mount it; the words of ``command`` and its name remove one."""
        for volume in volumes:
            if volume.path is not None:
                name = volume.name
                thing = self.thing(ThingKind.VOLUME, name, f"volume {name}", command_of(*command, names=(name,)))
                self.dependents[thing] = frozenset(self.mounting.get(name, ()))
                self.goes(f"volumes/{name}", self.dependents[thing] | {thing})

    def add_orphans(self) -> None:
        """What nobody claims, unless a rule knows better: so this comes last."""
        for entry in self._ledger.entries:
            if entry.category is Category.ORPHAN and entry.path not in self.needs:
                thing = self.thing(ThingKind.ORPHAN, entry.path, "")
                self.layer_goes(entry.path, frozenset((thing,)))

    def with_all_above(self, image: str) -> Need:
        """An image, all that were made of it, and every container of any of these; only after all are named."""
        need: set[Thing] = set()
        for id_ in reached(image, self.children):
            thing = Thing(ThingKind.IMAGE, id_)
            if thing in self.names:
                need.add(thing)
            need.update(self.users.get(id_, ()))
        return frozenset(need)


def command_of(*words: str, names: Sequence[str] = ()) -> str:
    """A command to be given to a shell. A name is whatever a record holds: it must stay one word, and no option."""
    end_of_options = ("--",) if any(name.startswith("-") for name in names) else ()
    return shlex.join((*words, *end_of_options, *names))


def called(container: Container) -> str:
    """What a container is called in commands."""
    return container.name or container.id[:12]


def reached(start: str, ways: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """``start`` and all that it leads to, each once."""
    seen: set[str] = set()
    pending = [start]
    while pending:
        here = pending.pop()
        if here not in seen:
            seen.add(here)
            yield here
            pending.extend(ways.get(here, ()))
