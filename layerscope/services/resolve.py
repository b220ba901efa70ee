"""From a REF to the one image or container that it names.

In this order: exact container name or full id; exact image reference (``:latest`` added as docker does,
``docker.io/library/`` optional); id prefix, with or without ``sha256:``. Two matches of one rank are an error that
lists them.

Of podman's images a short name, one without a registry, is first that of an image of the machine's own, ``localhost/``
before it, then one of ``docker.io``, then whatever ends in it; where that fits several, podman takes one of them.
Sources: containers/common libimage runtime.go ``lookupImageInLocalStorage``; seen with podman 4.3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from operator import itemgetter

from msgspec.structs import replace

from layerscope.errors import UsageError
from layerscope.model.container import Container
from layerscope.model.digest import hex_of
from layerscope.model.image import Image
from layerscope.model.ref import Ref, SubjectKind
from layerscope.model.subject import Subject

_LISTED = 8


class Names:
    """What images and containers are called: made once for a root, however many names are looked up.

    Args:
        images: All images; what they are called mustn't change.
        containers: All containers.
        short_names: Short names mean what podman means by them.
    """

    def __init__(
        self, images: Iterable[Image], containers: Iterable[Container] = (), short_names: bool = False
    ) -> None:
        self._images = list(images)
        self._containers = list(containers)
        podmans = (self._by_own_name, self._by_reference, self._by_last_parts)
        self._by_references = podmans if short_names else (self._by_reference,)

    def subject(self, ref: Ref, kind: SubjectKind | None = None) -> Subject:
        """What ``ref`` names; ``kind`` narrows what is wanted, as a leading ``image:`` or ``container:`` does.

        Raises:
            UsageError: nothing or several things have that name, or the cut is beyond the wanted kind.
        """
        if kind and ref.kind and kind != ref.kind:
            raise UsageError(f"{ref.name!r} was called {_a(ref.kind)}, but {_a(kind)} is needed here")
        wanted = kind or ref.kind
        for rank in (self._exact, *self._by_references, self._by_prefix):
            found = [thing for thing in rank(ref.name) if wanted is None or _kind_of(thing) == wanted]
            if len(found) == 1:
                thing = found[0]
                if isinstance(thing, Container):
                    return Subject(None, thing, ref.cut, ref.path)
                return Subject(thing, None, ref.cut, ref.path)
            if found:
                hint = "write image: or container: before it, or more of the id"
                raise UsageError(f"{ref.name!r} is ambiguous: it fits {_list(found)}; {hint}")
        raise UsageError(f"no {wanted or 'image or container'} {ref.name!r} here; {self._known(wanted)}")

    def referred(self, name: str) -> Image | None:
        """The first image that has a reference which ``name`` means."""
        found = next((images for rank in self._by_references if (images := rank(name))), None)
        return found[0] if found else None

    def _exact(self, name: str) -> list[Image | Container]:
        called = self._called
        # A container may bear another one's id as its name.
        found = {id(one): one for key in (name, f"/{name.removeprefix('/')}") for one in called.get(key, ())}
        return list(found.values())

    @cached_property
    def _called(self) -> dict[str, list[Image | Container]]:
        """By their ids, and by the names of containers with a slash before them."""
        found: dict[str, list[Image | Container]] = {}
        for container in self._containers:
            found.setdefault(container.id, []).append(container)
            if container.name:
                found.setdefault(f"/{container.name}", []).append(container)
        for image in self._images:
            for identifier in {image.id, image.id.removeprefix("sha256:")}:
                found.setdefault(identifier, []).append(image)
        return found

    def _by_reference(self, name: str) -> list[Image]:
        found = {id(image): image for spelling in _spellings(name) for image in self._by_spelling.get(spelling, ())}
        return list(found.values())

    @cached_property
    def _by_spelling(self) -> dict[str, list[Image]]:
        """Images by their references, as docker shows them."""
        found: dict[str, list[Image]] = {}
        for image in self._images:
            for name in {familiar(name) for name in (*image.repo_tags, *image.repo_digests)}:
                found.setdefault(name, []).append(image)
        return found

    def _by_own_name(self, name: str) -> list[Image]:
        return self._by_reference(f"localhost/{name}") if _is_short(name) else []

    def _by_last_parts(self, name: str) -> list[Image]:
        if not _is_short(name):
            return []
        endings = tuple(f"/{spelling}" for spelling in _spellings(name))
        return [image for image in self._images if any(tag.endswith(endings) for tag in image.repo_tags)]

    def _by_prefix(self, name: str) -> list[Image | Container]:
        prefix = hex_of(name)
        if not prefix:
            return []
        things, identifiers = self._sorted
        found: list[tuple[int, Image | Container]] = []
        for place in range(bisect_left(identifiers, prefix), len(identifiers)):
            if not identifiers[place].startswith(prefix):
                break
            number, thing = things[place]
            if isinstance(thing, Image) or not name.startswith("sha256:"):
                found.append((number, thing))
        return [thing for _, thing in sorted(found, key=itemgetter(0))]

    @cached_property
    def _sorted(self) -> tuple[list[tuple[int, Image | Container]], list[str]]:
        """Everything, numbered, in the order of the ids; and these."""
        everything: list[tuple[str, Image | Container]] = [(hex_of(image.id), image) for image in self._images]
        everything.extend((container.id, container) for container in self._containers)
        order = sorted(range(len(everything)), key=lambda number: everything[number][0])
        return [(number, everything[number][1]) for number in order], [everything[number][0] for number in order]

    def _known(self, wanted: SubjectKind | None) -> str:
        names = [container.name for container in self._containers if container.name and wanted != "image"]
        names.extend(tag for image in self._images for tag in image.repo_tags if wanted != "container")
        if not names:
            return "this root has none with a name"
        shown = ", ".join(repr(name) for name in names[:_LISTED])
        return f"there are {shown}" + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def name_meant(image: Image, name: str, short_names: bool = False) -> str | None:
    """The image's own reference that ``name`` means; None if it is an ID, or a part of one."""
    own = (*image.repo_tags, *image.repo_digests)
    found = Names((replace(image, repo_tags=(one,), repo_digests=()) for one in own), (), short_names).referred(name)
    return None if found is None else found.repo_tags[0]


def _is_short(name: str) -> bool:
    """Whether a reference has no registry before it."""
    first, slash, _ = name.partition("/")
    return bool(name) and not (slash and (first == "localhost" or "." in first or ":" in first))


def familiar(reference: str) -> str:
    """A reference without ``docker.io/`` and ``library/``, as docker shows it."""
    short = reference.removeprefix("docker.io/").removeprefix("index.docker.io/")
    return short.removeprefix("library/") if short != reference or short.startswith("library/") else short


def _spellings(name: str) -> tuple[str, ...]:
    """The references that a name may mean: itself, and with ``:latest`` if it has neither tag nor digest."""
    short = familiar(name)
    last = short.rpartition("/")[2]
    return (short,) if ":" in last or "@" in last else (short, short + ":latest")


def _kind_of(thing: Image | Container) -> SubjectKind:
    return "container" if isinstance(thing, Container) else "image"


def _a(kind: str) -> str:
    return "an image" if kind == "image" else "a container"


def _list(found: Sequence[Image | Container]) -> str:
    words = []
    for thing in found[:_LISTED]:
        if isinstance(thing, Container):
            words.append(f"container {thing.name or '?'} ({thing.id[:12]})")
        else:
            words.append(f"image {', '.join(thing.repo_tags) or '<none>'} ({hex_of(thing.id)[:12]})")
    more = len(found) - _LISTED
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")
