"""The verbs about files of the merged view: ``ls``, ``cat``, ``extract``, ``export``."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.reference import RefType, find_subject, path_of
from layerscope.cli.render import json
from layerscope.cli.render.marks import colored, mark
from layerscope.cli.report import exit_code, line, tell
from layerscope.cli.sink import sink, written_aside
from layerscope.errors import CommitError, UsageError
from layerscope.formats.gotime import to_datetime
from layerscope.model.entry import Entry
from layerscope.model.problem import Severity

if TYPE_CHECKING:
    from layerscope.services.session import Session


@click.command("ls")
@root_options(json=True)
@click.argument("ref", type=RefType(path="optional"), metavar="REF[:PATH]")
@click.option("-R", "--recursive", is_flag=True, help="Everything below, too.")
@click.option("--all", "everything", is_flag=True, help="Also what whiteouts and opaque directories hide.")
@click.option("-l", "long", is_flag=True, help="Accepted; the listing is always long.")
def ls(options: Options, ref: str, recursive: bool, everything: bool, long: bool) -> int:
    """A directory of the merged view, with the level that serves each entry."""
    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, path="optional")
        path = path_of(subject)
        entries = session.entries(subject, path, recursive=recursive, hidden=everything, xattrs=options.json)
        if options.json:
            out.array(json.entry(entry, entry.xattrs or {}) for entry in entries)
        else:
            out.lines(_entry_lines(entries, recursive, out))
        return exit_code(session.problems())


def _entry_lines(entries: Iterable[Entry], whole_paths: bool, out: Output) -> Iterator[str]:
    """One line an entry, in columns that are wide enough nearly always, so that nothing waits for the last entry."""
    arrow = " -> "
    for entry in entries:
        stat = entry.stat
        sign = mark(entry.state, out.glyphs, entry.hidden)
        size = _device(stat) or str(stat.st_size)
        owner = f"{stat.st_uid}:{stat.st_gid}"
        name = out.name("/" + entry.path if whole_paths else entry.name)
        if entry.is_dir and not name.endswith("/"):
            name += "/"
        if entry.target is not None:
            name += arrow + out.name(entry.target)
        elif entry.link_to is not None:
            name += f" = /{out.name(entry.link_to)}"
        if entry.hidden_by is not None:
            name += f"  (hidden by level {entry.hidden_by})"
        facts = f"{modes.filemode(stat.st_mode)} {owner:<11} {size:>11} {_time(stat.st_mtime_ns)}"
        yield f"{entry.level:>3} {colored(sign, entry.state, out.color)} {facts}  {name}"


def _device(stat: os.stat_result) -> str | None:
    if modes.S_ISCHR(stat.st_mode) or modes.S_ISBLK(stat.st_mode):
        return f"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)}"
    return None


def _time(nanoseconds: int) -> str:
    """Local time, to the second."""
    moment = to_datetime(nanoseconds)
    if moment is None:
        return "?".ljust(19)
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return f"{moment:%Y-%m-%d %H:%M:%S}"


@click.command("cat")
@root_options()
@click.argument("ref", type=RefType(path="needed"), metavar="REF:PATH")
@click.option("--from", "level", type=click.IntRange(min=1), metavar="N", help="The copy that level N holds.")
def cat(options: Options, ref: str, level: int | None) -> int:
    """The bytes of a file, as the merged view serves them or as one level holds them."""
    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, path="needed")
        with session.open_file(subject, path_of(subject), level=level) as file:
            out.copy(file)
        return exit_code(session.problems())


@click.command("extract")
@root_options()
@click.argument("ref", type=RefType(path="needed"), metavar="REF:PATH")
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
def extract(options: Options, ref: str, destination: Path) -> int:
    """Copy a file, link or directory out of the root to DEST; never follows a link out of the layers."""
    if str(destination) == "-":
        raise UsageError("extract writes files: cat gives the bytes of one, cp REF:/PATH - a tar of several")
    with options.session() as session:
        _refuse_below_root(destination, session)
        subject = find_subject(session, ref, path="needed")
        with Progress("extracting") as progress:
            told = session.extract(subject, path_of(subject), destination, progress.passed)
        notes = [problem for problem in told if problem.severity is Severity.NOTE]
        if notes:
            tell(line(notes[0]) + (f"; and {len(notes) - 1} more like it" if len(notes) > 1 else ""))
        return exit_code([*told, *session.problems()])


@click.command("export")
@root_options()
@click.argument("ref", type=RefType())
@click.option("-o", "--output", metavar="TAR", help="Where to write it; - is standard output, the default in a pipe.")
def export(options: Options, ref: str, output: str | None) -> int:
    """The merged view as a tar, as docker export writes it."""
    out = Output(options.ascii)
    if output in (None, "-") and out.terminal:
        raise UsageError("a tar is not for a terminal: name a file with -o, or use a pipe")
    with options.session() as session:
        target = None if output in (None, "-") else Path(output)
        if target is not None:
            _refuse_below_root(target, session)
        subject = find_subject(session, ref)
        if target is None:
            with Progress("exporting") as progress:
                told = session.export(subject, sink(out.write), progress.passed)
        else:
            with Progress("exporting") as progress, written_aside(target) as file:
                told = session.export(subject, file, progress.passed)
        return exit_code([*told, *session.problems()])


def _refuse_below_root(target: Path, session: Session) -> None:
    try:
        below = any(target.resolve().is_relative_to(root.resolve()) for root in session.paths)
    except (OSError, RuntimeError) as error:
        raise CommitError(f"cannot write to {target}: {error}") from None
    if below:
        raise CommitError(f"cannot write to {target}: it is below the root that is being read")
