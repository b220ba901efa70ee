"""What comes back if things go: words of a user into things, and the answer with what keeps the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from layerscope.analysis.ledger.reclaim import Returns, needs_of, plan, weights
from layerscope.errors import UnsupportedError, UsageError
from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Candidate, Kept, Need, Reclaim, Removable, Thing, ThingKind
from layerscope.model.ref import Ref
from layerscope.services.ledger import ledger
from layerscope.services.resolve import name_meant
from layerscope.services.session import Session
from layerscope.stores.base import SharesStorage, WithoutRoot
from layerscope.stores.claims import Removals

GROUPS = {
    "stopped-containers": "all containers that don't run (container prune)",
    "dangling-images": "images without a name and child (image prune)",
    "unused-images": "images that no container uses (image prune -a)",
    "unused-volumes": "volumes that no container mounts (volume prune -a; before docker 23.0 volume prune)",
    "anonymous-volumes": "those of them that were made without a name (volume prune since docker 23.0)",
    "build-cache": "what only the build cache holds (builder prune -a)",
    "unused-layers": "layers that nothing leads to",
    "orphans": "what nobody claims",
    "logs": "logs of containers",
}
"""Words that stand for many things."""

_ORDER = (ThingKind.CONTAINER, ThingKind.IMAGE, ThingKind.VOLUME, ThingKind.BUILD_CACHE)
_PLANNED = {
    ThingKind.CONTAINER,
    ThingKind.IMAGE,
    ThingKind.BUILD_CACHE,
    ThingKind.ORPHAN,
    ThingKind.UNUSED_LAYER,
}
"""What a plan may take if nobody says: nothing that holds data of its own."""


def reclaim(
    session: Session,
    words: Sequence[str] = (),
    wanted: int | None = None,
    with_volumes: bool = False,
    counted: Ledger | None = None,
) -> Reclaim:
    """What comes back if ``words`` go; without words the candidates, with ``wanted`` (bytes) a plan.

    Args:
        session: the opened root.
        words: REFs, ``volume:NAME`` or words of :data:`GROUPS`.
        wanted: bytes to be freed, by things among ``words`` (without words: by what holds no data of its own).
        with_volumes: take the anonymous volumes of containers too, as ``docker rm -v`` does.
        counted: the ledger, if it was just made.

    Raises:
        UsageError: a word names nothing, or two things.
        UnsupportedError: this store's rules of removal aren't known.
    """
    store = session.store
    if isinstance(store, WithoutRoot):
        raise UnsupportedError(f"this is {store.without_root}, no data root: nothing in it can be given back")
    if not isinstance(store, Removals):
        raise UnsupportedError(f"what a {store.name} store would give back can't be told yet")
    ledger_ = counted if counted is not None else ledger(session)
    removable = store.removable(ledger_)
    returns = Returns(weights(ledger_, removable))
    if not words:  # nothing was asked for that could be kept: of a root of many things this is half of what is known
        removable = replace(removable, needs={})
    answer = _Answer(session, ledger_, removable, returns)
    asked = answer.things(words)
    if with_volumes:
        volumes = {volume for thing in asked for volume in removable.with_volumes.get(thing, ())}
        asked |= volumes & removable.names.keys()
    return answer.plan(asked, wanted, words) if wanted is not None else answer.given(asked, words)


class _Answer:
    def __init__(self, session: Session, counted: Ledger, removable: Removable, returns: Returns) -> None:
        self._session = session
        self._ledger = counted
        self._removable = removable
        self._returns = returns
        self._named: dict[Thing, set[str]] = {}
        self._untagged: dict[Thing, str] = {}

    # ------------------------------------------------------------------ words
    def things(self, words: Iterable[str]) -> set[Thing]:
        found: set[Thing] = set()
        whole: set[Thing] = set()
        for word in words:
            if word in GROUPS:
                whole |= self._group(word)
            else:
                found.add(self._one(word))
        for thing, named in self._named.items():
            left = [name for name in self._removable.references.get(thing, ()) if name not in named]
            if left and thing not in whole:
                self._untagged[thing] = f"it is also named {', '.join(left)}"
        return found | whole

    def _group(self, word: str) -> set[Thing]:
        names = self._removable.names
        if word in self._removable.groups:
            return set(self._removable.groups[word])
        if word == "stopped-containers":
            return {thing for thing in names if thing.kind is ThingKind.CONTAINER} - self._removable.running
        if word == "dangling-images":
            parents = {image.parent for image in self._session.store.images()}
            dangling = {one.id for one in self._session.store.images() if not one.repo_tags and one.id not in parents}
            return {thing for thing in names if thing.kind is ThingKind.IMAGE and thing.id in dangling}
        if word in ("unused-volumes", "anonymous-volumes"):
            plain = {one.name for one in self._session.store.volumes() if not one.options and one.driver == "local"}
            if word == "anonymous-volumes":
                plain &= self._removable.anonymous
            volumes = (thing for thing in names if thing.kind is ThingKind.VOLUME and thing.id in plain)
            return {thing for thing in volumes if not self._removable.dependents.get(thing)}
        kinds = {
            "unused-images": ThingKind.IMAGE,
            "build-cache": ThingKind.BUILD_CACHE,
            "unused-layers": ThingKind.UNUSED_LAYER,
            "orphans": ThingKind.ORPHAN,
            "logs": ThingKind.LOG,
        }
        return {thing for thing in names if thing.kind is kinds[word]}

    def _one(self, word: str) -> Thing:
        kind, colon, name = word.partition(":")
        if colon and kind in (ThingKind.VOLUME, ThingKind.LOG, ThingKind.ORPHAN):
            if kind == ThingKind.LOG:
                name = str(self._container(name).id)
            thing = Thing(ThingKind(kind), name)
            if thing not in self._removable.names:
                raise UsageError(f"there is no {kind} {name!r} that could go")
            return thing
        subject = self._session.find(Ref.parse(word))
        if subject.path is not None or subject.cut is not None:
            raise UsageError(f"{word!r} holds a path or a level, which has no meaning here")
        if subject.container is not None:
            thing = Thing(ThingKind.CONTAINER, subject.container.id)
            if thing not in self._removable.names:
                raise UsageError(f"nothing removes the container {word!r}: its engine doesn't know it")
            return thing
        assert subject.image is not None
        thing = Thing(ThingKind.IMAGE, subject.image.id)
        if thing not in self._removable.names:
            raise UsageError(f"{word!r} has no name: it goes with the last image that was made of it, not before")
        own = name_meant(subject.image, Ref.parse(word).name, isinstance(self._session.store, SharesStorage))
        names = self._removable.references.get(thing, ())
        self._named.setdefault(thing, set()).update(names if own is None else (own,))
        return thing

    def _container(self, name: str) -> Thing:
        subject = self._session.find(Ref.parse(name), kind="container")
        assert subject.container is not None
        return Thing(ThingKind.CONTAINER, subject.container.id)

    # ------------------------------------------------------------------ answers
    def given(self, asked: set[Thing], words: Sequence[str]) -> Reclaim:
        going = self._going(asked)
        return Reclaim(
            asked=tuple(words),
            frees_disk=self._returns.freed(going),
            kept=tuple(self._kept(asked, going)),
            commands=self._commands(going),
            candidates=() if words else self.candidates(),
            at_most=self._ledger.shares_extents,
        )

    def plan(self, asked: set[Thing], wanted: int, words: Sequence[str]) -> Reclaim:
        if words:
            useful = self._going(asked)
        else:
            allowed = {thing for thing in self._removable.names if thing.kind in _PLANNED}
            useful = self._going(allowed - self._removable.running)
        useful &= self._removable.names.keys()
        chosen, exact = plan(self._returns, sorted(useful, key=lambda one: (one.kind, one.id)), wanted)
        value = self._returns.freed(chosen)
        return Reclaim(
            asked=tuple(words),
            frees_disk=value,
            kept=(),
            commands=self._commands(chosen),
            candidates=tuple(self._candidate(thing) for thing in self._in_order(chosen)),
            at_most=self._ledger.shares_extents,
            wanted=wanted,
            bound=value if exact else wanted,
            exact=exact,
            enough=value >= wanted,
        )

    def candidates(self) -> tuple[Candidate, ...]:
        """Everything that gives something back by itself, the most first."""
        stays = self._removable.guarded.keys() | self._untagged.keys()
        found = [self._candidate(thing) for thing in self._removable.names if thing not in stays]
        useful = [one for one in found if one.frees_disk]
        return tuple(sorted(useful, key=lambda one: (-one.frees_disk, one.thing.kind, one.thing.id)))

    def _going(self, asked: Iterable[Thing]) -> frozenset[Thing]:
        stays = self._removable.guarded.keys() | self._untagged.keys()
        left = {thing for thing in asked if thing not in stays}
        while True:
            going = self._with_followers(left)
            refused = {thing for thing in left if not self._removable.dependents.get(thing, frozenset()) <= going}
            if not refused:
                return going
            left -= refused

    def _with_followers(self, things: Iterable[Thing]) -> frozenset[Thing]:
        """The things, and what the engine removes of itself when they are gone."""
        follows = self._removable.follows
        going = {*things, *self._going_anyway}
        pending = list(going)
        while pending:
            for thing in self._followers.get(pending.pop(), ()):
                if thing not in going and follows[thing] <= going:
                    going.add(thing)
                    pending.append(thing)
        return frozenset(going)

    @cached_property
    def _going_anyway(self) -> frozenset[Thing]:
        """What waits for nothing to be gone."""
        return frozenset(thing for thing, need in self._removable.follows.items() if not need)

    @cached_property
    def _followers(self) -> dict[Thing, list[Thing]]:
        """By each thing what may follow it, if all else that this waits for is gone too."""
        return _turned(self._removable.follows)

    def _candidate(self, thing: Thing) -> Candidate:
        going = self._with_followers((thing,))
        return Candidate(
            thing=thing,
            name=self._name(thing),
            frees_disk=self._returns.freed(going),
            command=" && ".join(self._commands(going)),
        )

    def _kept(self, asked: set[Thing], going: frozenset[Thing]) -> Iterable[Kept]:
        # What a container leaves behind is no part of it: its image and volumes are told of when they are asked for.
        wanted = {thing for thing in asked if thing.kind is not ThingKind.CONTAINER or thing not in going}
        refused = {thing for thing in asked if not self._removable.dependents.get(thing, frozenset()) <= going}
        for entry, needs in needs_of(self._ledger, self._removable):
            if any(need <= going for need in needs) or not any(need & wanted for need in needs):
                continue
            missing = min((need - going for need in needs if need & wanted), key=len)
            missing = missing - refused or missing
            because = tuple(sorted(self._why(thing) for thing in missing))
            yield Kept(entry.path, entry.disk, because)

    def _why(self, thing: Thing) -> str:
        if thing in self._removable.guarded:
            return self._removable.guarded[thing]
        if thing in self._untagged:
            return self._untagged[thing]
        if thing not in self._removable.names:
            return "a writable layer whose container is gone, or can't be loaded, stands on it"
        name = self._name(thing)
        return f"{thing.kind} {name}" if thing.kind in (ThingKind.CONTAINER, ThingKind.IMAGE) else name

    def _name(self, thing: Thing) -> str:
        return self._removable.names[thing] or f"{thing.kind} {thing.id}"

    def _in_order(self, things: Iterable[Thing]) -> list[Thing]:
        """Containers before the images that they are of, images before those that they were made of."""
        sizes = self._dependents
        more = self._removable.dependents
        place = {kind: number for number, kind in enumerate(_ORDER)}

        def key(one: Thing) -> tuple[int, int, str]:
            alike = sum(other.kind is one.kind for other in more.get(one, ()))
            return place.get(one.kind, len(_ORDER)), sizes.get(one.id, 0) + alike, one.id

        return sorted(things, key=key)

    @cached_property
    def _dependents(self) -> dict[str, int]:
        """How many images stand above each image, by parents."""
        parents = {image.id: image.parent for image in self._session.store.images()}
        counts: dict[str, int] = dict.fromkeys(parents, 0)
        for image in parents:
            seen: set[str] = {image}
            above = parents[image]
            while above is not None and above in counts and above not in seen:
                seen.add(above)
                counts[above] += 1
                above = parents[above]
        return counts

    def _commands(self, going: frozenset[Thing]) -> tuple[str, ...]:
        follows, alone = self._removable.follows, self._leading_to_failure(going)
        asked = {thing for thing in going if thing not in follows or not follows[thing] <= going}
        commands = [
            self._removable.alone[thing] if thing in alone else self._removable.commands.get(thing, "")
            for thing in self._in_order(asked | alone)
        ]
        return tuple(dict.fromkeys(command for command in commands if command))

    @cached_property
    def _tried_after(self) -> dict[Thing, list[Thing]]:
        """By each thing, what the engine may try to remove once it is gone."""
        return _turned(self._removable.tried)

    def _leading_to_failure(self, going: frozenset[Thing]) -> frozenset[Thing]:
        """What goes, and after which the engine would try to remove, one by one, until it fails on what stays."""
        tried = self._removable.tried
        after = {parent for thing in going for parent in self._tried_after.get(thing, ())}
        pending = [thing for thing in after - going if tried[thing] <= going]
        found: set[Thing] = set()
        while pending:
            for thing in (tried.get(pending.pop(), frozenset()) & going) - found:
                if thing in self._removable.alone:
                    found.add(thing)
                    pending.append(thing)
        return frozenset(found)


def _turned(needs: Mapping[Thing, Need]) -> dict[Thing, list[Thing]]:
    """By each thing those whose needs it is among."""
    found: dict[Thing, list[Thing]] = {}
    for one, need in needs.items():
        for thing in need:
            found.setdefault(thing, []).append(one)
    return found
