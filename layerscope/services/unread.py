"""What damage leaves unknown of a subject: whether there is any answer, and whether what isn't found isn't there."""

from __future__ import annotations

from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.subject import Subject
from layerscope.services.session import Session


def layers_unknown(subject: Subject) -> str:
    """Why no layer of an image is known, "" if some are: its record is damaged or gone."""
    image = subject.image
    if image is None or image.chain_ids or not image.broken:
        return ""
    damage = next(problem for problem in image.problems if problem.severity is Severity.ERROR)
    return f"the layers of {subject.name} aren't known: {_one_line(damage)}"


def nothing_read(session: Session, subject: Subject) -> str:
    """Why nothing at all of a subject's view can be read, "" if something can, or if there is nothing in it."""
    levels = session.levels(subject)[: subject.cut]
    if not levels:
        return layers_unknown(subject) if subject.cut != 0 else ""
    view, problems = session.contents.view(levels)
    if view.levels:
        return ""
    damage = next((problem for problem in problems if problem.severity is Severity.ERROR), None)
    return f"nothing of {subject.name} can be read" + (f": {_one_line(damage)}" if damage is not None else "")


def unread(session: Session, subject: Subject) -> str:
    """What of a subject's view can't be read, "" if nothing: a path that isn't found may be there all the same."""
    unknown = layers_unknown(subject)
    if unknown:
        return unknown
    damaged = {problem.path for problem in session.contents.found_damage() if problem.severity is not Severity.NOTE}
    read = {level.number: level.kind for level in session.view(subject).levels}
    whole = max((number for number, kind in read.items() if kind is LayerKind.SNAPSHOT), default=0)
    for level in session.levels(subject)[whole : subject.cut]:
        if level.number not in read or level.path in damaged:
            return f"level {level.number} is damaged or gone (layerscope doctor tells more)"
    return ""


def _one_line(damage: Problem) -> str:
    told = ": ".join(part for part in (damage.path, damage.what) if part)
    return f"{told} ({damage.hint})" if damage.hint else told
