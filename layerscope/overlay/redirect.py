"""What an object must carry to be found under another name: where its lower part or its data lies, or that it has none.

| object | mark |
| --- | --- |
| a directory that goes on below | redirect: its old name in the same parent, else the path of its lower part |
| a directory of the upper layer alone, in a merged parent | opaque: nothing of its new name shows through |
| a metadata-only copy | redirect: the name, or the path, of the copy that has its data |

A redirect is at most 256 bytes long. Source: fs/overlayfs/dir.c, ovl_set_redirect, ovl_set_opaque.
"""

from __future__ import annotations

import errno
import os

from layerscope.hostfs import Directory
from layerscope.overlay.part import Part
from layerscope.overlay.target import Target, failure
from layerscope.overlay.writer import Writer

_REDIRECT_MAX = 256


def mark_moved(
    writer: Writer, old: Target, folder: Directory, new: Target, lower_path: str | None, *, same_parent: bool
) -> None:
    """Mark ``old``, which lies in the upper ``folder`` and is about to become ``new``.

    ``lower_path``: where the topmost lower layer has the directory, None if none has.

    Raises:
        OSError: EXDEV where it can't be marked.
    """
    upper = writer.upper
    if not old.is_dir:
        if writer.keeps_data_below(folder, old.name):
            redirect_file(writer, old, folder, absolute=not same_parent or _is_linked_below(writer, old))
        return
    with folder.held() as fd:
        if lower_path is not None:
            present = folder.xattr(writer.dialect.redirect_key, old.name)
            if present is not None and (same_parent or present.startswith(b"/")):
                return
            value = os.fsencode(old.name if same_parent else "/" + lower_path)
            if len(value) > _REDIRECT_MAX:
                raise failure(errno.EXDEV, old.path)
            upper.set_mark(fd, old.name, writer.dialect.redirect_key, value)
        elif writer.is_merged(writer.view().directory("/" + new.parent.path)):
            try:
                upper.set_mark(fd, old.name, writer.dialect.opaque_key, b"y")
            except OSError:
                raise failure(errno.EXDEV, old.path) from None


def _is_linked_below(writer: Writer, target: Target) -> bool:
    """Whether the file has more names than one in the topmost lower layer that has it."""
    part, name = _lower_copy(writer, target)
    return part.directory.stat(name).st_nlink > 1


def _lower_copy(writer: Writer, target: Target) -> tuple[Part, str]:
    """The topmost lower copy of a file whose copy in the upper layer has no data."""
    parent = writer.view().directory("/" + target.parent.path)
    found = parent.lookup(target.name)
    assert found is not None
    _, lower, *_ = parent.copies_of(found.part, target.name)
    return lower


def redirect_file(writer: Writer, target: Target, folder: Directory, *, absolute: bool) -> None:
    """Tell a metadata-only copy where its data lies, before it gets another name.

    ``absolute``: by a path from the top of the layers, which serves in every directory.

    Raises:
        OSError: EXDEV for a path that is too long.
    """
    key = writer.dialect.redirect_key
    present = folder.xattr(key, target.name)
    if present is not None and (not absolute or present.startswith(b"/")):
        return
    value = target.name
    if absolute:
        part, name = _lower_copy(writer, target)
        value = "/" + (f"{part.path}/{name}" if part.path else name)
    if len(os.fsencode(value)) > _REDIRECT_MAX:
        raise failure(errno.EXDEV, target.path)
    with folder.held() as fd:
        writer.upper.set_mark(fd, target.name, key, os.fsencode(value))
