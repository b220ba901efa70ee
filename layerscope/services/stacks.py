"""All stacks of a root: of images, of containers, and of layers that none of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from layerscope.drivers import RecordsLower
from layerscope.model.digest import CacheID, ChainID, hex_of
from layerscope.model.image import Layer
from layerscope.model.level import Level, Role
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.services.session import Session


class SearchedStack(Struct, frozen=True):
    """One thing that is looked through; ``ref`` names it for other verbs, "" if they can't be told of it."""

    ref: str
    shown: str
    view: MergedView
    levels: Mapping[int, Level]


def stack_of(session: Session, subject: Subject, ref: str = "") -> SearchedStack:
    """The stack of one thing, up to its cut."""
    levels = {level.number: level for level in session.levels(subject)}
    return SearchedStack(ref or _ref_of(subject), subject.name, session.view(subject), levels)


def _ref_of(subject: Subject) -> str:
    """The shortest name that means this thing and no other of its kind."""
    if subject.container is not None:
        return subject.container.name or subject.container.id
    assert subject.image is not None
    return subject.image.repo_tags[0] if subject.image.repo_tags else hex_of(subject.image.id)


def all_stacks(session: Session) -> Iterator[SearchedStack]:
    """Images and containers, then layers that none of them has."""
    subjects = [Subject(None, usage.container) for usage in session.containers(sizes=False)]
    subjects += [Subject(usage.image, None) for usage in session.images()]
    refs = [_ref_of(subject) for subject in subjects]
    times = Counter(refs)
    known: set[CacheID] = set()
    for subject, ref in zip(subjects, refs, strict=True):
        kind = "" if times[ref] == 1 else "container:" if subject.container is not None else "image:"
        stack = stack_of(session, subject, kind + ref)
        known.update(level.cache_id for level in stack.levels.values() if level.cache_id is not None)
        yield stack
    yield from _unclaimed(session, known)


def _unclaimed(session: Session, known: set[CacheID]) -> Iterator[SearchedStack]:
    """Recorded layers of no image and no container, and what lies in the driver's folder without a record."""
    contents, layers = session.contents, session.store.layers()
    parents = {layer.parent for layer in layers.values()}
    for chain_id, layer in layers.items():
        if chain_id not in parents and layer.cache_id is not None and layer.cache_id not in known:
            levels = tuple(_chain(chain_id, layers))
            known.update(level.cache_id for level in levels if level.cache_id is not None)
            yield _unnamed(session, f"layer {chain_id}", levels)
    driver = contents.driver
    for cache_id in () if driver is None else driver.layer_ids():
        if cache_id not in known:
            below = driver.lower_ids(cache_id) if isinstance(driver, RecordsLower) else None
            cache_ids = [*reversed(below or ()), cache_id]
            levels = tuple(Level(number, Role.IMAGE, one) for number, one in enumerate(cache_ids, 1))
            yield _unnamed(session, f"unclaimed {cache_id}", levels)


def _chain(chain_id: ChainID, layers: Mapping[ChainID, Layer]) -> Iterator[Level]:
    chain: list[Layer] = []
    current: ChainID | None = chain_id
    while current is not None and current in layers and len(chain) <= len(layers):
        chain.append(layers[current])
        current = layers[current].parent
    for number, layer in enumerate(reversed(chain), 1):
        yield Level(number, Role.IMAGE, layer.cache_id, layer.chain_id, layer.diff_id)


def _unnamed(session: Session, shown: str, levels: tuple[Level, ...]) -> SearchedStack:
    driver = session.contents.driver
    placed = tuple(
        replace(level, path=driver.layer_path(level.cache_id)) if driver and level.cache_id else level
        for level in levels
    )
    view, problems = session.contents.view(placed)
    view.problems.extend(problems)
    return SearchedStack("", shown, view, {level.number: level for level in placed})
