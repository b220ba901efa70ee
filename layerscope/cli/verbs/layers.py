"""The verbs about layers: ``stack``, ``diff``, ``blame``, ``explain``, ``whose``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.reference import RefType, find_subject, path_of
from layerscope.cli.render import json
from layerscope.cli.render.docker_form import UNKNOWN, short_id, size
from layerscope.cli.render.table import aligned
from layerscope.cli.report import exit_code, tell
from layerscope.errors import UsageError
from layerscope.formats.history_text import command_title
from layerscope.model.change import ChangeKind

if TYPE_CHECKING:
    from layerscope.model.blame import Blame
    from layerscope.model.change import Change
    from layerscope.model.owner import Owner
    from layerscope.model.subject import Subject
    from layerscope.services.session import Session


@click.command("stack")
@root_options(json=True)
@click.argument("ref", type=RefType())
@click.option("--no-counts", is_flag=True, help="Don't read the layers to count what each one does.")
def stack(options: Options, ref: str, no_counts: bool) -> int:
    """The layers of REF, top first, drawn to scale."""
    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, needs="layers")
        with Progress("counting") as progress:
            levels = session.stack(subject, not no_counts, progress.passed)
        if options.json:
            out.array(map(json.stack_level, levels))
        else:
            from layerscope.cli.render.blocks import Look, blocks

            out.lines(blocks(levels, Look(out.glyphs, out.color, out.width, out.text)))
        return exit_code(session.problems())


@click.command("diff")
@root_options(json=True)
@click.argument("ref", type=RefType())
@click.argument("other", type=RefType(), required=False)
@click.option("--corrected", is_flag=True, help="Every real difference, without the defects of docker's algorithm.")
def diff(options: Options, ref: str, other: str | None, corrected: bool) -> int:
    """What container REF changed, as docker diff says it; with OTHER, what differs from REF to OTHER."""
    out = Output(options.ascii)
    with options.session() as session:
        if other is None:
            changes: Iterable[Change]
            changes = session.changes(_container(session, ref), corrected=corrected, detail=options.json)
        else:
            old, new = find_subject(session, ref), find_subject(session, other)
            with Progress("comparing") as progress:
                changes = session.differences(old, new, progress.passed)
        if options.json:
            out.array(map(json.change, changes))
        else:
            out.lines(_change_lines(changes, out))
        return exit_code(session.problems())


def _container(session: Session, text: str) -> Subject:
    try:
        return find_subject(session, text, kind="container", cut=False, needs="records")
    except UsageError:
        subject = find_subject(session, text, cut=False, needs="records")
        raise UsageError(f"{subject.name} is an image: name a container, or two things to compare") from None


def _change_lines(changes: Iterable[Change], out: Output) -> Iterator[str]:
    name, letters = out.name, {kind: kind.value for kind in ChangeKind}
    return (f"{letters[change.kind]} /{name(change.path)}" for change in changes)


@click.command("blame")
@root_options(json=True)
@click.argument("ref", type=RefType(path="needed"), metavar="REF:PATH")
def blame(options: Options, ref: str) -> int:
    """The life of a path, base first: what each layer did to it, and the command behind it."""
    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, path="needed")
        life = session.blame(subject, path_of(subject))
        if options.json:
            out.document(json.blame(life))
        else:
            out.lines(_blame_lines(life, out))
        return exit_code(session.problems())


def _blame_lines(life: Blame, out: Output) -> Iterator[str]:
    seen = f"served by level {life.served_by}" if life.visible else "not visible"
    yield f"/{out.name(life.path.removeprefix('/'))}: {seen}, {size(life.paid_bytes)} stored"
    rows = [["LEVEL", "ROLE", "EVENT", "SIZE", "CHANGED", "SHA256", "CREATED BY"]]
    for step in life.steps:
        rows.append(
            [
                str(step.level),
                str(step.role),
                str(step.event),
                "" if step.size is None else size(step.size),
                ",".join(map(out.text, step.fields)),
                (step.sha256 or "")[:12],
                out.text(command_title(step.created_by)),
            ]
        )
    yield from aligned(rows, frozenset({0, 3}), out.width)


@click.command("explain")
@root_options(json=True)
@click.argument("ref", type=RefType(path="needed"), metavar="REF:PATH")
def explain(options: Options, ref: str) -> int:
    """In a few words what an entry is, and why it is seen or not."""
    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, path="needed")
        path = path_of(subject)
        text = session.explain(subject, path)
        if options.json:
            out.document(json.explanation(path, text))
        else:
            out.lines(map(out.text, text.splitlines()))
        return exit_code(session.problems())


@click.command("whose")
@root_options(json=True)
@click.argument("thing")
def whose(options: Options, thing: str) -> int:
    """Who owns THING: a path, an id or its beginning, a short name of l/, a chain or diff ID, a line of mount(8)."""
    out = Output(options.ascii)
    with options.session() as session:
        found = session.owners(thing)
        if options.json:
            out.array(map(json.owner, found))
        else:
            out.lines(aligned(_owner_cells(owner, out) for owner in found))
        if not found:
            tell(f"nothing here claims {thing!r}")
        return exit_code(session.problems())


def _owner_cells(owner: Owner, out: Output) -> list[str]:
    names = ", ".join(owner.names) or UNKNOWN
    return [
        owner.kind,
        out.text(short_id(owner.id)),
        out.text(names),
        out.name(owner.path or ""),
        f"claimed by {out.name(owner.claimed_by)}" if owner.claimed_by else out.text(owner.reason),
    ]
