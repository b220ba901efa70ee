"""What a commit of a container would make, before it is made: the changes, the new layer's sizes, its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.lab.build.changes import changed
from layerscope.lab.image.commit import EMPTY_TAR
from layerscope.lab.image.commit import Committed as Committed
from layerscope.lab.image.tagging import parse_tag
from layerscope.model.change import Change
from layerscope.model.container import Container
from layerscope.model.digest import DiffID, ImageID
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject
from layerscope.services.lab.changes import changing_lab, said
from layerscope.services.lab.lab import commit_options
from layerscope.services.session import Session

_STEP_BYTES = 4 << 20


class Place(Struct, frozen=True):
    """Where the new layer would go: on the image's ``levels`` (base first), as level ``number``, and what the
    container has changed, as docker's diff lists it."""

    levels: tuple[Level, ...]
    number: int
    changes: tuple[Change, ...]


class NewLayer(Struct, frozen=True):
    """The layer itself. ``size`` is docker's, ``tar_bytes`` the length of its tar, ``members`` what is in that.

    ``diff_id`` is None where nothing has changed: then a commit adds no layer.
    """

    size: int
    tar_bytes: int
    members: int
    diff_id: DiffID | None
    problems: tuple[Problem, ...]


def place_of(session: Session, container: Container) -> Place:
    """Where a commit would put a layer, and what would be in it.

    Raises:
        LayerscopeError: the writable layer can't be read.
    """
    subject = Subject(None, container)
    levels = tuple(level for level in session.levels(subject) if level.role is Role.IMAGE)
    return Place(levels, len(levels) + 1, tuple(session.changes(subject)))


def new_layer(root: Path, container: str, tell: Callable[[int], None] = lambda count: None) -> NewLayer:
    """Make the layer's tar without keeping it; ``tell`` gets the bytes until now, and may raise to stop.

    Raises:
        LayerscopeError: an entry can't be in a layer, or the lab can't be locked.
    """
    digest, length, told = sha256(), 0, 0
    try:
        with changing_lab(root) as lab:
            tar = lab.layer_of(container)
            for chunk in tar.chunks():
                digest.update(chunk)
                length += len(chunk)
                if length - told >= _STEP_BYTES:
                    tell(length)
                    told = length
    except OSError as error:
        raise CommitError(f"cannot read what {container[:12]} has changed: {said(error)}") from None
    diff_id = DiffID(f"sha256:{digest.hexdigest()}")
    return NewLayer(
        tar.size, length, tar.members, None if diff_id == EMPTY_TAR or not tar.members else diff_id, tuple(tar.problems)
    )


def check_name(session: Session, name: str) -> str:
    """What giving this name to a new image would mean for others, in a line; "" if nothing.

    Raises:
        UsageError: docker takes no such name.
    """
    if not name:
        return "without a name it can be found by its id only"
    reference = parse_tag(name)
    for usage in session.images():
        if reference.text in usage.image.repo_tags:
            return f"{escape(reference.text)} moves here from the image {_short(usage.image.id)}"
    return "" if reference.text == name else f"it will be called {escape(reference.text)}"


def check_changes(container: Container, lines: Sequence[str]) -> None:
    """Try instructions such as ``CMD``, ``ENV`` on the container's config.

    Raises:
        UsageError: one of them isn't right.
    """
    changed(dict(container.config.get("Config") or {}), lines)


def commit(
    root: Path,
    container: str,
    name: str,
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> Committed:
    """Make the image.

    Raises:
        LayerscopeError: it can't be made; nothing was changed.
    """
    options = commit_options(author=author, message=message, changes=changes)
    with changing_lab(root) as lab:
        return lab.commit(container, name, options=options, tick=tick)


def create(root: Path, image: str, name: str) -> str:
    """A new container of an image (by a name, which docker would keep, or id); gives its id.

    Raises:
        LayerscopeError: the name isn't right or in use, or the disk said no.
    """
    with changing_lab(root) as lab:
        return lab.create(image, name)


def _short(image: ImageID) -> str:
    return image.removeprefix("sha256:")[:12]
