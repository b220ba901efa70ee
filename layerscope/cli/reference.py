"""REF arguments: what they may name, what they must not have, and how they are completed in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from layerscope.cli.options import options_of
from layerscope.errors import LayerscopeError, RootError, UsageError
from layerscope.model.ref import Ref, SubjectKind
from layerscope.model.subject import Subject

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerscope.services.session import Session

if TYPE_CHECKING:
    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # a class that takes arguments only in newer versions

PathRule = Literal["none", "optional", "needed"]
Need = Literal["records", "layers", "files"]


class RefType(_Type):
    """A REF; ``kind`` and ``path`` narrow what is offered when it is completed."""

    name = "ref"

    def __init__(self, kind: SubjectKind | None = None, path: PathRule = "none") -> None:
        self.kind = kind
        self.path = path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        """Names of images and containers, and after ``NAME:/`` paths; nothing where the root can't be read."""
        from click.shell_completion import CompletionItem

        try:
            with options_of(ctx).session() as session:
                found = list(_candidates(session, self, incomplete))
        except (LayerscopeError, OSError):
            return []
        return [CompletionItem(text) for text in found]


def _candidates(session: Session, wanted: RefType, incomplete: str) -> list[str]:
    subject_text, colon, path = incomplete.partition(":/")
    if colon and wanted.path != "none":
        folder = ("/" + path).rpartition("/")[0]
        listed = session.entries(session.find(subject_text), folder or "/", detail=False)
        texts = [f"{subject_text}:/{entry.path}{'/' if entry.is_dir else ''}" for entry in listed]
        return [text for text in texts if text.startswith(incomplete) and text.isprintable()]
    before = next((word for word in ("image:", "container:") if incomplete.startswith(word)), "")
    after = ":/" if wanted.path == "needed" else ""
    names: list[str] = []
    if wanted.kind != "image" and before != "image:":
        names += [item.container.name for item in session.containers(sizes=False) if item.container.name]
    if wanted.kind != "container" and before != "container:":
        names += [tag for item in session.images() for tag in item.image.repo_tags]
    return [before + name + after for name in names if (before + name).startswith(incomplete)]


def find_subject(
    session: Session,
    text: str,
    *,
    kind: SubjectKind | None = None,
    path: PathRule = "none",
    cut: bool = True,
    needs: Need = "files",
) -> Subject:
    """What ``text`` names.

    Args:
        session: the opened root.
        text: the REF as typed.
        kind: the one kind that is wanted.
        path: whether the REF must, may or must not hold a path.
        cut: whether it may hold ``@N``.
        needs: what the answer is made of.

    Raises:
        UsageError: it names nothing or several things, or has a part too many or too few.
        RootError: damage has left nothing of what it needs: its layers aren't known, or the files of none can be read.
    """
    ref = Ref.parse(text)
    if path == "none" and ref.path is not None:
        raise UsageError(f"{text!r} holds a path, which has no meaning here: give the image or container alone")
    if path == "needed" and ref.path is None:
        raise UsageError(f"{text!r} names no path: write {text}:/PATH")
    if not cut and ref.cut is not None:
        raise UsageError(f"{text!r} holds a level, which has no meaning here: leave out @{ref.cut}")
    subject = session.find(ref, kind=kind)
    if needs != "records":
        from layerscope.services.unread import layers_unknown, nothing_read

        refuse(layers_unknown(subject) if needs == "layers" else nothing_read(session, subject))
    return subject


def refuse(why: str) -> None:
    """Go no further with a subject of which damage has left nothing to tell; ``why`` is "" where it has not.

    Raises:
        RootError: there is no answer.
    """
    if why:
        raise RootError(why)


def path_of(subject: Subject) -> str:
    """The path of a REF, ``/`` if it has none."""
    return subject.path or "/"
