"""``verify``: layers rebuilt and hashed against their diff IDs, and compared with all that their records tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.reference import RefType, find_subject
from layerscope.cli.render.docker_form import UNKNOWN, short_id, size
from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.cli.render.json import base64
from layerscope.cli.report import exit_code, tell

if TYPE_CHECKING:
    from layerscope.model.verdict import Finding, Verdict

_WORDS = {True: "ok", False: "CHANGED", None: "unknown"}


@click.command("verify")
@root_options(json=True)
@click.argument("ref", type=RefType(), required=False)
@click.option("--deep", is_flag=True, help="Metadata, links, attributes, flags, checksums and added files, too.")
@click.option("-j", "--processes", type=click.IntRange(min=1), metavar="N", help="How many at once.")
def verify(options: Options, ref: str | None, deep: bool, processes: int | None) -> int:
    """Check every layer, or those of REF: rebuilt from its record and its files, hashed, against its diff ID."""
    from layerscope.services.verify.layers import verify as verdicts_of

    out = Output(options.ascii)
    failed = 0
    with options.session() as session, Progress("hashed") as progress:
        subject = None if ref is None else find_subject(session, ref, needs="records")
        found = verdicts_of(session, subject, deep=deep, processes=processes, progress=progress.tell)

        def counted() -> Iterator[Verdict]:
            nonlocal failed
            for verdict in found:
                failed += verdict.ok is False
                progress.clear()
                yield verdict

        if options.json:
            out.array(_shape(verdict) for verdict in counted())
        else:
            out.lines(line for verdict in counted() for line in _lines(verdict, out))
        code = exit_code(session.problems())
    if failed:
        tell("1 layer isn't what its record says" if failed == 1 else f"{failed} layers aren't what their records say")
    return 1 if failed else code


def _lines(verdict: Verdict, out: Output) -> Iterator[str]:
    if verdict.chain_id is not None:
        what, name = "layer", str(verdict.chain_id)
    elif verdict.image is not None:
        what, name = "image", verdict.image
    else:
        what, name = "blob", ""
    measured = size(verdict.size_bytes) if verdict.size_bytes else UNKNOWN
    shown = short_id(name) if name else UNKNOWN
    yield f"{_WORDS[verdict.ok]:8} {what} {shown:12} {measured:>8}  {out.text(verdict.skipped)}".rstrip()
    for finding in verdict.findings:
        yield f"    {out.name(finding.path)}  {out.text(finding.what)}"
    if verdict.more:
        yield f"    and {verdict.more} more"


def _shape(verdict: Verdict) -> dict[str, Any]:
    """Verdict."""
    return {
        "chain_id": verdict.chain_id,
        "diff_id": verdict.diff_id,
        "cache_id": None if verdict.cache_id is None else replaced(verdict.cache_id),
        "image": verdict.image,
        "ok": verdict.ok,
        "skipped": replaced(verdict.skipped) if verdict.skipped else None,
        "computed": verdict.computed,
        "bytes": verdict.size_bytes,
        "problems": [_problem(finding) for finding in verdict.findings],
        "more_problems": verdict.more,
    }


def _problem(finding: Finding) -> dict[str, Any]:
    path: dict[str, Any] = {"path": replaced(finding.path)}
    if not is_utf8(finding.path):
        path["path_base64"] = base64(bytes_of(finding.path))
    return {
        **path,
        "what": replaced(finding.what),
        "subject": replaced(finding.subject),
        "recorded": replaced(finding.recorded) if finding.recorded else None,
        "found": replaced(finding.found) if finding.found else None,
    }
