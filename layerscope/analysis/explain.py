"""One entry in a few words: what it is, where it comes from, why it is seen or not."""

from __future__ import annotations

from layerscope.model.blame import Blame, BlameEvent, BlameStep
from layerscope.model.level import Role
from layerscope.overlay import MergedView, entry_at

_TYPES = {
    "file": "a regular file",
    "dir": "a directory",
    "symlink": "a symlink",
    "char": "a character device",
    "block": "a block device",
    "fifo": "a FIFO",
    "socket": "a socket",
}


def explain(view: MergedView, path: str, life: Blame) -> str:
    """A few sentences on the entry at ``path``, from its own facts; ``life`` is its blame in the same view."""
    sentences = []
    if life.visible:
        entry = entry_at(view, path)
        what = _TYPES.get(entry.type, entry.type)
        size = f" of {_bytes(entry.stat.st_size)}" if entry.type == "file" else ""
        sentences.append(f"{life.path} is {what}{size}, served by level {life.served_by}.")
    else:
        sentences.append(f"{life.path} is not in this view.")
    sentences.extend(_sentence(step) for step in life.steps)
    copies = sum(1 for step in life.steps if step.size is not None)
    if copies > 1 or (copies and not life.visible):
        kept = "copies are" if copies > 1 else "copy is"
        sentences.append(f"{copies} {kept} stored, {_bytes(life.paid_bytes)} in all.")
    return "\n".join(sentences)


def _bytes(count: int) -> str:
    return f"{count:,} byte" if count == 1 else f"{count:,} bytes"


def _sentence(step: BlameStep) -> str:
    who = {Role.RW: "the writable layer", Role.INIT: "the init layer", Role.IMAGE: "an image layer"}[step.role]
    where = f"Level {step.level} ({who})"
    by = f", by {step.created_by!r}" if step.created_by else ""
    fields = ", ".join(step.fields)
    return {
        BlameEvent.CREATED: f"{where} created it{by}.",
        BlameEvent.RECREATED: f"{where} made it anew{by}.",
        BlameEvent.MODIFIED: f"{where} copied it up and changed it ({fields}){by}.",
        BlameEvent.METADATA: f"{where} copied it up; its content is the same ({fields or 'nothing differs'}){by}.",
        BlameEvent.REPLACED: f"{where} replaced it{f' ({fields})' if fields else ''}{by}.",
        BlameEvent.DELETED: f"{where} deleted it with a whiteout{by}: the copies below stay stored.",
        BlameEvent.HIDDEN: f"{where} hides it: a directory above it was replaced or removed{by}.",
    }[step.event]
