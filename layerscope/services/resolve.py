"""From a REF to the one image or container that it names.

In this order: exact container name or full id; exact image reference (``:latest`` added as docker does,
``docker.io/library/`` optional); id prefix, with or without ``sha256:``. Two matches of one rank are an error that
lists them.

Of podman's images a short name, one without a registry, is first that of an image of the machine's own, ``localhost/``
before it, then one of ``docker.io``, then whatever ends in it; where that fits several, podman takes one of them.
Sources: containers/common libimage runtime.go ``lookupImageInLocalStorage``; seen with podman 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from layerscope.errors import UsageError
from layerscope.model.container import Container
from layerscope.model.digest import hex_of
from layerscope.model.image import Image
from layerscope.model.ref import Ref, SubjectKind
from layerscope.model.subject import Subject

_LISTED = 8


def resolve(
    ref: Ref,
    images: Iterable[Image],
    containers: Iterable[Container],
    kind: SubjectKind | None = None,
    short_names: bool = False,
) -> Subject:
    """What ``ref`` names; ``kind`` narrows what is wanted, as a leading ``image:`` or ``container:`` does.

    ``short_names``: short names mean what podman means by them.

    Raises:
        UsageError: nothing or several things have that name, or the cut is beyond the wanted kind.
    """
    if kind and ref.kind and kind != ref.kind:
        raise UsageError(f"{ref.name!r} was called {_a(ref.kind)}, but {_a(kind)} is needed here")
    wanted = kind or ref.kind
    image_list = list(images) if wanted != "container" else []
    container_list = list(containers) if wanted != "image" else []
    for rank in _PODMANS_RANKS if short_names else _RANKS:
        found = rank(ref.name, image_list, container_list)
        if len(found) == 1:
            thing = found[0]
            if isinstance(thing, Container):
                return Subject(None, thing, ref.cut, ref.path)
            return Subject(thing, None, ref.cut, ref.path)
        if found:
            hint = "write image: or container: before it, or more of the id"
            raise UsageError(f"{ref.name!r} is ambiguous: it fits {_list(found)}; {hint}")
    raise UsageError(f"no {wanted or 'image or container'} {ref.name!r} here; {_known(image_list, container_list)}")


def name_meant(image: Image, name: str, short_names: bool = False) -> str | None:
    """The image's own reference that ``name`` means; None if it is an ID, or a part of one."""
    for rank in (_by_own_name, _by_reference, _by_last_parts) if short_names else (_by_reference,):
        for own in (*image.repo_tags, *image.repo_digests):
            if rank(name, [replace(image, repo_tags=(own,), repo_digests=())], []):
                return own
    return None


def _exact(name: str, images: list[Image], containers: list[Container]) -> list[Image | Container]:
    wanted = name.removeprefix("/")
    found: list[Image | Container] = [
        container for container in containers if container.id == name or (container.name and container.name == wanted)
    ]
    found.extend(image for image in images if image.id in (name, "sha256:" + name))
    return found


def _by_reference(name: str, images: list[Image], containers: list[Container]) -> list[Image | Container]:
    spellings = _spellings(name)
    return [image for image in images if _names(image) & spellings]


def _by_own_name(name: str, images: list[Image], containers: list[Container]) -> list[Image | Container]:
    return _by_reference(f"localhost/{name}", images, containers) if _is_short(name) else []


def _by_last_parts(name: str, images: list[Image], containers: list[Container]) -> list[Image | Container]:
    if not _is_short(name):
        return []
    endings = tuple(f"/{spelling}" for spelling in _spellings(name))
    return [image for image in images if any(tag.endswith(endings) for tag in image.repo_tags)]


def _is_short(name: str) -> bool:
    """Whether a reference has no registry before it."""
    first, slash, _ = name.partition("/")
    return bool(name) and not (slash and (first == "localhost" or "." in first or ":" in first))


def _names(image: Image) -> set[str]:
    return {familiar(name) for name in (*image.repo_tags, *image.repo_digests)}


def familiar(reference: str) -> str:
    """A reference without ``docker.io/`` and ``library/``, as docker shows it."""
    short = reference.removeprefix("docker.io/").removeprefix("index.docker.io/")
    return short.removeprefix("library/") if short != reference or short.startswith("library/") else short


def _spellings(name: str) -> set[str]:
    """The references that a name may mean: itself, and with ``:latest`` if it has neither tag nor digest."""
    short = familiar(name)
    last = short.rpartition("/")[2]
    return {short} if ":" in last or "@" in last else {short, short + ":latest"}


def _by_prefix(name: str, images: list[Image], containers: list[Container]) -> list[Image | Container]:
    prefix = hex_of(name)
    if not prefix:
        return []
    found: list[Image | Container] = [image for image in images if hex_of(image.id).startswith(prefix)]
    if not name.startswith("sha256:"):
        found.extend(container for container in containers if container.id.startswith(prefix))
    return found


_RANKS = (_exact, _by_reference, _by_prefix)
_PODMANS_RANKS = (_exact, _by_own_name, _by_reference, _by_last_parts, _by_prefix)


def _a(kind: str) -> str:
    return "an image" if kind == "image" else "a container"


def _list(found: list[Image | Container]) -> str:
    words = []
    for thing in found[:_LISTED]:
        if isinstance(thing, Container):
            words.append(f"container {thing.name or '?'} ({thing.id[:12]})")
        else:
            words.append(f"image {', '.join(thing.repo_tags) or '<none>'} ({hex_of(thing.id)[:12]})")
    more = len(found) - _LISTED
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")


def _known(images: list[Image], containers: list[Container]) -> str:
    names = [container.name for container in containers if container.name]
    names.extend(tag for image in images for tag in image.repo_tags)
    if not names:
        return "this root has none with a name"
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    return f"there are {shown}" + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
