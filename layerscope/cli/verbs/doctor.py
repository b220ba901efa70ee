"""``doctor``: what is damaged, what docker makes of it, what still can be read, how to repair it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.render import json
from layerscope.cli.render.escape import replaced
from layerscope.model.problem import Severity

if TYPE_CHECKING:
    from layerscope.model.diagnosis import Diagnosis


@click.command("doctor")
@root_options(json=True)
@click.option("-q", "--quick", is_flag=True, help="Records only; don't hash the layers.")
def doctor(options: Options, quick: bool) -> int:
    """Every damaged or inconsistent record: what docker does with it, what can be read, how to repair it."""
    from layerscope.services.doctor import examine

    out = Output(options.ascii)
    with options.session() as session, Progress("hashed") as progress:
        found = examine(session, layers=not quick, progress=progress.tell)
        progress.clear()
        if options.json:
            out.array(map(_shape, found))
        elif found:
            out.lines(line for diagnosis in found for line in _lines(diagnosis, out))
        else:
            out.line("nothing is damaged")
    return int(any(diagnosis.severity is not Severity.NOTE for diagnosis in found))


def _lines(diagnosis: Diagnosis, out: Output) -> Iterator[str]:
    yield f"{diagnosis.severity}: {diagnosis.rule}: {out.name(diagnosis.path)}".rstrip(": ")
    for word, text in (
        ("what", diagnosis.what),
        ("docker", diagnosis.docker),
        ("readable", diagnosis.readable),
        ("repair", diagnosis.repair),
    ):
        if text:
            yield f"    {word:8}  {out.text(text)}"


def _shape(diagnosis: Diagnosis) -> dict[str, Any]:
    """Problem, with what only a diagnosis has."""
    return {
        **json.problem(diagnosis.problem),
        "rule": diagnosis.rule,
        "outcome": str(diagnosis.outcome),
        "docker": replaced(diagnosis.docker),
        "readable": replaced(diagnosis.readable),
        "repair": replaced(diagnosis.repair),
    }
