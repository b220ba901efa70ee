"""What is broken, what the engine makes of it, what still can be read, and how to repair it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from layerscope.model.problem import Problem, Severity


class Outcome(StrEnum):
    """What docker does at its next start."""

    REFUSES_TO_START = "refuses to start"
    FORGETS_NAMES = "forgets names"
    HIDES_IMAGE = "hides images"
    SKIPS_CONTAINER = "skips containers"
    FAILS_ON_USE = "fails on use"
    FAILS_ON_SAVE = "fails on save"
    MOUNTS_OTHER = "mounts other layers"
    KEEPS = "keeps it"
    CLEANS = "cleans it"
    REPAIRS = "repairs it"
    WORKS = "works"
    UNKNOWN = "unknown"


class Diagnosis(Struct, frozen=True):
    """One damaged or inconsistent thing.

    ``rule`` names the kind of damage. ``docker`` says what docker does with it, ``readable`` what can be read all the
    same, ``repair`` what to do; each a phrase without a full stop, "" where there is nothing to say. Nothing of a
    repair is ever done to a root that isn't a lab's.
    """

    rule: str
    path: str
    what: str
    outcome: Outcome
    docker: str
    readable: str
    repair: str
    severity: Severity

    @property
    def problem(self) -> Problem:
        """The same as a problem: its effect is what docker does, and what can be read."""
        effect = "; ".join(part for part in (self.docker, self.readable) if part)
        return Problem(self.path, self.what, effect, self.repair, self.severity)
