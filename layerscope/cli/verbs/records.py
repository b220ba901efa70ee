"""The verbs that read records only: ``info``, ``images``, ``history``, ``inspect``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, ids_alone, root_options, whole_ids
from layerscope.cli.output import Output
from layerscope.cli.reference import RefType, find_subject, refuse
from layerscope.cli.render import docker_form, json
from layerscope.cli.render.table import aligned
from layerscope.cli.report import exit_code, line
from layerscope.model.root import RootSummary
from layerscope.model.subject import ImageUsage, Subject

if TYPE_CHECKING:
    from layerscope.services.session import Session

_HELD = {True: "yes", False: "no", None: "unknown"}


@click.command("info")
@root_options(json=True)
def info(options: Options) -> int:
    """What was found: store, drivers, traces of the engine, what can't be seen, problems."""
    out = Output(options.ascii)
    with options.session() as session:
        summary = session.info()
        if options.json:
            out.document(json.info(summary))
        else:
            out.lines(f"{key}: {out.text(value)}" for key, value in _info_lines(summary))
        return exit_code(summary.problems, listed=True)


def _info_lines(summary: RootSummary) -> Iterator[tuple[str, str]]:
    yield "root", summary.root
    if summary.other_root:
        yield "containerd root", summary.other_root
    yield "store", summary.store
    yield "driver", summary.driver
    if len(summary.drivers) > 1:
        yield "drivers", ", ".join(summary.drivers)
    if summary.namespace:
        yield "namespace", summary.namespace
    if len(summary.namespaces) > 1:
        yield "namespaces", ", ".join(summary.namespaces)
    yield "engine", summary.engine or docker_form.UNKNOWN
    yield "held by a daemon", f"{_HELD[summary.daemon.held]} ({summary.daemon.evidence})"
    yield "xattr prefix", summary.xattr_prefix or "none: marks are names"
    for name, count in summary.counts.items():
        yield name.replace("_", " "), str(count)
    if summary.features:
        yield "features", ", ".join(summary.features)
    for text in summary.unseen:
        yield "unseen", text
    for problem in summary.problems:
        yield "problem", line(problem)
    if not summary.problems:
        yield "problems", "none"


@click.command("images")
@root_options(json=True)
@click.option("-a", "--all", "everything", is_flag=True, help="Intermediate images too, as docker images -a.")
@click.option("--tree", is_flag=True, help="The layers as a tree of shared prefixes.")
@whole_ids
@ids_alone
def images(options: Options, everything: bool, tree: bool, no_trunc: bool, quiet: bool) -> int:
    """Images, newest first, with what they share with others and what is theirs alone."""
    from layerscope.services.measured_sizes import measured_images

    out = Output(options.ascii)
    with options.session() as session:
        found = [item for item in measured_images(session) if everything or not item.intermediate]
        if options.json:
            out.array(map(json.image, found))
        elif tree:
            out.lines(_tree_lines(session, found, out))
        else:
            now = time.time_ns()
            rows = [row for item in found for row in docker_form.image_rows(item, now, no_trunc)]
            out.table(docker_form.IMAGES_HEADER, rows, 2 if quiet else None)
        return exit_code(session.problems())


def _tree_lines(session: Session, found: Sequence[ImageUsage], out: Output) -> Iterator[str]:
    from layerscope.cli.render.tree import LayerTree, TreeLayer, tree_lines, tree_row
    from layerscope.services.measured_sizes import measured_layers

    tree, measured = LayerTree(), measured_layers(session, (item.image for item in found))
    for item in found:
        levels = session.levels(Subject(item.image, None))
        names = ", ".join(item.image.repo_tags) or docker_form.short_id(item.image.id)
        tree.add(
            names,
            [
                TreeLayer(level.chain_id, measured.get(level.chain_id, level.size), level.created_by)
                for level in levels
                if level.chain_id is not None
            ],
        )
    rows = [tree_row(guide, layer) for guide, layer in tree_lines(tree, out.glyphs)]
    yield from aligned(([out.text(cell) for cell in row] for row in rows), frozenset({1}), out.width)
    for name in tree.bare:
        yield f"{out.text(name)} (no layers)"


@click.command("history")
@root_options(json=True)
@click.argument("image", type=RefType(kind="image"))
@whole_ids
@ids_alone
def history(options: Options, image: str, no_trunc: bool, quiet: bool) -> int:
    """How IMAGE was made, newest step first, with the level and the layer that each step made."""
    out = Output(options.ascii)
    with options.session() as session:
        from layerscope.services.measured_sizes import measured_history
        from layerscope.services.unread import layers_unknown

        subject = find_subject(session, image, kind="image", cut=False, needs="records")
        rows = measured_history(session, subject)
        if not rows:
            refuse(layers_unknown(subject))
        if options.json:
            out.array(map(json.history_row, rows))
        else:
            assert subject.image is not None
            by_id = {str(item.image.id): item.image for item in session.images()}
            ids = docker_form.history_ids(subject.image, len(rows), by_id.get)
            cells = docker_form.history_rows(rows, ids, time.time_ns(), no_trunc, out.ellipsis)
            out.table(docker_form.HISTORY_HEADER, cells, 0 if quiet else None)
        return exit_code(session.problems())


@click.command("inspect")
@root_options(json=True)
@click.argument("ref", type=RefType())
def inspect(options: Options, ref: str) -> int:
    """The engine's own records of an image or container, joined, as JSON."""
    out = Output(options.ascii)
    with options.session() as session:
        records = session.records(find_subject(session, ref, cut=False, needs="records"))
        out.document(json.plain(records))
        return exit_code(session.problems())
