"""Standard error: what went wrong, in lines that a terminal can take."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from layerscope.cli.render.escape import escaped_text

if TYPE_CHECKING:
    from layerscope.model.problem import Problem

_SHOWN = 5


def tell(message: str) -> None:
    """One line on standard error, whatever the message holds."""
    try:
        sys.stderr.write(f"layerscope: {escaped_text(message)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # nobody can be told


def exit_code(problems: Sequence[Problem], listed: bool = False) -> int:
    """1 if there are problems that are more than notes, else 0; says how many and (unless ``listed``) the first."""
    from layerscope.model.problem import Severity

    real = list(dict.fromkeys(problem for problem in problems if problem.severity is not Severity.NOTE))
    if not real:
        return 0
    count = "1 problem" if len(real) == 1 else f"{len(real)} problems"
    tell(f"{count} found; the answer is what could be read")
    for problem in () if listed else real[:_SHOWN]:
        tell(f"  {line(problem)}")
    if len(real) > _SHOWN and not listed:
        tell(f"  and {len(real) - _SHOWN} more: layerscope info lists them")
    return 1


def line(problem: Problem) -> str:
    """``error: PATH: what; effect; hint``."""
    told = "; ".join(part for part in (problem.what, problem.effect, problem.hint) if part)
    return f"{problem.severity}: {problem.path}: {told}" if problem.path else f"{problem.severity}: {told}"


def os_error(error: OSError) -> str:
    """What the operating system refused, and where."""
    what = error.strerror or os.strerror(error.errno or 0)
    where = error.filename
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    return f"cannot read {where}: {what}" if where else f"cannot read: {what}"
