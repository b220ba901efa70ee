"""What to change so that bytes are no longer wasted, in one sentence."""

from __future__ import annotations

from layerscope.model.level import Level, Role
from layerscope.model.waste import Cause

_COPIES = ("COPY ", "ADD ", "#(nop) COPY", "#(nop) ADD")

_SAME_COMMAND = {
    Cause.DELETED: "remove it in the same RUN that makes it, or make it in an earlier stage and copy only the result",
    Cause.OVERWRITTEN: "write its last content in the step that makes it, or join the two steps",
    Cause.METADATA: "set mode, owner and times in the step that makes it: the whole file was stored again",
    Cause.OPAQUE: "remove and make the directory anew in the same RUN that makes it, or join the two steps",
}
_COPIED = {
    Cause.DELETED: "don't copy it in: name it in .dockerignore, or copy less",
    Cause.OVERWRITTEN: "don't copy it in where a later step writes it, or copy its last content",
    Cause.METADATA: "use COPY --chown and --chmod: the whole file was stored again",
    Cause.OPAQUE: "don't copy into a directory that a later step makes anew",
}
_FROM_CONTAINER = "hidden by the container's own layer; the image keeps it for all others: a commit would not shrink it"
_IN_BASE = "it comes with the base image: take a smaller base, or join all layers into one (docker build --squash)"
_SAME_CONTENT = "keep one copy, and make the others hard links in the same step, or symlinks"


def remedy(cause: Cause, holder: Level | None, hider: Level | None) -> str:
    """What would help. ``holder`` stores the bytes, ``hider`` is the level that hides them."""
    if cause is Cause.SAME_CONTENT:
        return _SAME_CONTENT
    if hider is not None and hider.role is not Role.IMAGE and (holder is None or holder.role is Role.IMAGE):
        return _FROM_CONTAINER
    said = holder.created_by.removeprefix("/bin/sh -c ").lstrip() if holder is not None else ""
    if said.startswith(_COPIES):
        if holder is not None and holder.number == 1 and "/" in said.rpartition(" in ")[2] and "file:" in said:
            return f"{_SAME_COMMAND[cause]}; {_IN_BASE}"
        return _COPIED[cause]
    return _SAME_COMMAND[cause]
