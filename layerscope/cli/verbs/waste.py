"""The verb ``waste``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.reference import RefType, find_subject
from layerscope.cli.render import waste as render
from layerscope.cli.report import exit_code, tell
from layerscope.errors import CorruptError, RootError, UnsupportedError, UsageError
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject

if TYPE_CHECKING:
    from layerscope.model.waste import RuleResult, Waste
    from layerscope.services.session import Session
    from layerscope.services.waste_rules import Rule

_SHOWN = 20
_BATCH = 512


@click.command("waste")
@root_options(json=True)
@click.argument("ref", type=RefType(), required=False)
@click.option("--max-waste", metavar="SIZE", help="Exit 1 if more bytes are wasted.")
@click.option("--min-efficiency", metavar="RATIO", help="Exit 1 if less of what is stored is in view (0.95 or 95%).")
@click.option(
    "--rules",
    "rules_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Lines RULE: LIMIT; exit 1 if one isn't kept. A .dive-ci file is understood.",
)
@click.option("--no-same-content", is_flag=True, help="Don't read files to find content that is stored twice.")
@click.option("--everywhere", is_flag=True, help="Look for the same content in all other layers of the root, too.")
@click.option("--all", "everything", is_flag=True, help="List every wasted copy, not only the biggest.")
def waste(
    options: Options,
    ref: str | None,
    max_waste: str | None,
    min_efficiency: str | None,
    rules_file: Path | None,
    no_same_content: bool,
    everywhere: bool,
    everything: bool,
) -> int:
    """Bytes that REF stores for nothing, by cause, with the command and the remedy; without REF, all images."""
    from layerscope.services.waste import waste_of
    from layerscope.services.waste_rules import check_rules

    if everywhere and (ref is None or no_same_content):
        raise UsageError("--everywhere needs a REF, and excludes --no-same-content")
    out = Output(options.ascii)
    rules = _rules(max_waste, min_efficiency, rules_file)
    with options.session() as session:
        if ref is None:
            return _all_images(options, session, rules, not no_same_content, out)
        subject = find_subject(session, ref)
        with Progress("looking for waste") as progress:
            report = waste_of(session, subject, not no_same_content, progress.passed, everywhere)
        with report as found:
            totals = found.waste
            results = check_rules(rules, totals)
            if options.json:
                _write(render.document(found.subject, totals, results, found.items(), out.terminal), out)
                out.write(b"\n")
            else:
                shown = None if everything else _SHOWN
                out.lines(render.lines(found.subject, totals, found.items(), shown, out))
            return max(_broken(found.subject, results), exit_code([*found.problems, *session.problems()]))


def _all_images(options: Options, session: Session, rules: Sequence[Rule], same_content: bool, out: Output) -> int:
    from layerscope.services.waste import waste_of
    from layerscope.services.waste_rules import check_rules

    broken = 0
    problems: list[Problem] = []
    rows: list[tuple[Subject, Waste]] = []
    before = b"[\n"
    for usage in session.images():
        try:
            with Progress("looking for waste") as progress:
                report = waste_of(session, Subject(usage.image, None), same_content, progress.passed)
        except (RootError, UnsupportedError, CorruptError) as error:  # one image's damage costs that image
            problems.append(Problem("", str(error), "it is left out"))
            continue
        with report as found:
            totals = found.waste
            results = check_rules(rules, totals)
            if options.json:
                out.write(before)
                _write(render.document(found.subject, totals, results, found.items(), out.terminal), out)
                before = b",\n"
            rows.append((found.subject, totals))
            broken = max(broken, _broken(found.subject, results))
            problems.extend(found.problems)
    if options.json:
        out.write(b"\n]\n" if rows else b"[]\n")
    else:
        out.lines(render.overview(rows, out))
    return max(broken, exit_code([*problems, *session.problems()]))


def _rules(max_waste: str | None, min_efficiency: str | None, rules_file: Path | None) -> list[Rule]:
    from layerscope.services.waste_rules import parse_limit, read_rules

    rules = [] if rules_file is None else read_rules(rules_file)
    for name, limit in (("max-waste", max_waste), ("min-efficiency", min_efficiency)):
        if limit is not None:
            rules.append((name, parse_limit(name, limit)))
    return rules


def _broken(subject: Subject, results: Sequence[RuleResult]) -> int:
    """1 if a rule isn't kept, which is told; else 0."""
    broken = [result for result in results if not result.ok]
    for result in broken:
        tell(render.broken_rule(subject.name, result))
    return 1 if broken else 0


def _write(pieces: Iterable[bytes], out: Output) -> None:
    waiting: list[bytes] = []
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) > _BATCH:
            out.write(b"".join(waiting))
            waiting.clear()
    out.write(b"".join(waiting))
