"""The verb ``find``."""

from __future__ import annotations

import re
import stat as modes
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.reference import RefType, find_subject
from layerscope.cli.render import json
from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.cli.render.marks import colored, mark
from layerscope.cli.report import exit_code
from layerscope.errors import UsageError
from layerscope.model.entry import EntryState

if TYPE_CHECKING:
    from layerscope.model.found import FoundEntry
    from layerscope.services.find import Search, Select

_LETTERS = {
    "f": "file",
    "d": "dir",
    "l": "symlink",
    "c": "char",
    "b": "block",
    "p": "fifo",
    "s": "socket",
    "w": "whiteout",
}
_CHANGES = {str(state): state for state in EntryState} | {"deleted": EntryState.WHITEOUT}
_OWNER = re.compile(r"([0-9]{0,10})(?::([0-9]{0,10}))?", re.ASCII)


@click.command("find")
@root_options(json=True)
@click.argument("pattern")
@click.argument("ref", type=RefType(), required=False)
@click.option("--regex", is_flag=True, help="PATTERN is a regular expression, found anywhere in the path.")
@click.option("-i", "--ignore-case", is_flag=True, help="Letters fit whatever their case.")
@click.option(
    "--type", "types", multiple=True, metavar="T", help="f d l c b p s or w (whiteout), also as words; several fit any."
)
@click.option("--size", "sizes", multiple=True, metavar="[+-]SIZE", help="Larger, smaller, or exactly; 10MB, 1KiB.")
@click.option("--change", "changes", multiple=True, metavar="C", help=f"What the level did: {', '.join(_CHANGES)}.")
@click.option("--owner", metavar="[UID][:GID]", help="Numbers, as the layers have them.")
@click.option("--setuid", is_flag=True, help="Only with the setuid bit.")
@click.option("--setgid", is_flag=True, help="Only with the setgid bit.")
@click.option("--cap", is_flag=True, help="Only files with capabilities.")
@click.option("--deleted", is_flag=True, help="Only what is gone from the view and still stored in a layer.")
@click.option("--visible", is_flag=True, help="Only what is in the view.")
def find(
    options: Options,
    pattern: str,
    ref: str | None,
    regex: bool,
    ignore_case: bool,
    types: tuple[str, ...],
    sizes: tuple[str, ...],
    changes: tuple[str, ...],
    owner: str | None,
    setuid: bool,
    setgid: bool,
    cap: bool,
    deleted: bool,
    visible: bool,
) -> int:
    """Every stored copy of names that fit PATTERN, in all layers or in those of REF.

    A glob without a slash is held against names, one with a slash against whole paths (** crosses slashes).
    """
    from layerscope.model.found import Wanted
    from layerscope.services.find import Search, names_like

    if deleted and visible:
        raise UsageError("--deleted and --visible exclude each other")
    out = Output(options.ascii)
    uid, gid = _owner(owner)
    progress = Progress("searched")
    wanted = Wanted(
        _counted(names_like(pattern, regex, ignore_case), progress),
        types=frozenset(_types(types)),
        sizes=_sizes(sizes),
        states=frozenset(_states(changes)),
        uid=uid,
        gid=gid,
        setuid=setuid,
        setgid=setgid,
        capabilities=cap,
        deleted=deleted,
        visible=visible,
    )
    with options.session() as session, progress:
        subject = None if ref is None else find_subject(session, ref)
        search = Search(session, subject, wanted, details=options.json)
        if options.json:
            out.array_of_texts(_unmixed(_texts(search, out.terminal), progress, out))
        else:
            out.lines(_unmixed(_lines(search.hits(), out), progress, out))
        return exit_code([*search.problems, *session.problems()])


def _counted(select: Select, progress: Progress) -> Select:
    """``select``, which tells how many names it was asked about: a search without a hit may take long in silence."""
    asked = 0

    def counting(folder: str, names: Collection[str]) -> Iterable[str]:
        nonlocal asked
        asked += len(names)
        progress.count(asked, None)
        return select(folder, names)

    return counting


def _unmixed(found: Iterable[str], progress: Progress, out: Output) -> Iterator[str]:
    """``found``; where it is written to the terminal that shows the progress, the first of it ends that."""
    for text in found:
        if out.terminal:
            progress.end()
        yield text


def _texts(search: Search, terminal: bool) -> Iterator[str]:
    """The elements of the answer as JSON, many in one text where they lie together."""
    from layerscope.cli.render.document import element_text
    from layerscope.cli.render.found_json import run_text
    from layerscope.model.found import FoundRun

    for found in search.runs():
        if not isinstance(found, FoundRun):
            yield element_text(_shape(found), terminal)
        elif terminal or (text := run_text(found)) is None:
            yield from (element_text(_shape(one), terminal) for one in found.entries())
        else:
            yield text


def _shape(found: FoundEntry) -> json.Shape:
    """Entry, with where to get it."""
    shape = {
        **json.entry(found.entry, found.entry.xattrs or {}),
        "ref": replaced(found.ref) if found.ref else None,
        "holders": [replaced(holder) for holder in found.holders],
        "gone": found.gone,
    }
    if not is_utf8(found.ref):
        shape["ref_base64"] = json.base64(bytes_of(found.ref))
    return shape


def _lines(hits: Iterable[FoundEntry], out: Output) -> Iterator[str]:
    for found in hits:
        entry, stat = found.entry, found.entry.stat
        sign = mark(entry.state, out.glyphs, entry.hidden)
        place = found.ref or f"{found.holders[0]}:/{entry.path}"
        name = out.name(place)
        if entry.target is not None:
            name += f" -> {out.name(entry.target)}"
        if entry.hidden_by is not None:
            name += f"  (hidden by level {entry.hidden_by})"
        more = len(found.holders) - 1
        if more:
            name += f"  (and {more} more)"
        owner = f"{stat.st_uid}:{stat.st_gid}"
        facts = f"{modes.filemode(stat.st_mode)} {owner:<11} {stat.st_size:>11}"
        yield f"{entry.level:>3} {colored(sign, entry.state, out.color)} {facts}  {name}"


# ---------------------------------------------------------------------- what the options say
def _words(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from value.split(",")


def _types(values: Iterable[str]) -> Iterator[str]:
    for word in _words(values):
        name = _LETTERS.get(word, word)
        if name not in _LETTERS.values():
            raise UsageError(f"{word!r} is no type: expected {', '.join(f'{k} ({v})' for k, v in _LETTERS.items())}")
        yield name


def _states(values: Iterable[str]) -> Iterator[EntryState]:
    for word in _words(values):
        if word not in _CHANGES:
            raise UsageError(f"{word!r} is no change: expected {', '.join(_CHANGES)}")
        yield _CHANGES[word]


def _sizes(values: Iterable[str]) -> tuple[int | None, int | None]:
    from layerscope.services.waste_rules import parse_size

    least: int | None = None
    most: int | None = None
    for value in values:
        size = parse_size(value.lstrip("+-") if value[:1] in ("+", "-") else value)
        if not value.startswith("-"):
            lower = size + 1 if value.startswith("+") else size
            least = lower if least is None else max(least, lower)
        if not value.startswith("+"):
            upper = size - 1 if value.startswith("-") else size
            most = upper if most is None else min(most, upper)
    return least, most


def _owner(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _OWNER.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise UsageError(f"{text!r} is no owner: expected UID, UID:GID or :GID, as numbers")
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] else None
