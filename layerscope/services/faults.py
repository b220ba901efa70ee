"""System errors told as ours: what was being done, what was found, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layerscope.errors import LayerscopeError, PermissionDenied, RootError, UnsupportedError, UsageError
from layerscope.formats.escape import escape
from layerscope.model.tree import ContentsAbsent

if TYPE_CHECKING:
    from layerscope.model.subject import Subject
    from layerscope.services.session import Session

_SAID = {
    errno.ENOENT: "there is no such path in this view",
    errno.ENOTDIR: "a part of that path isn't a directory",
    errno.EISDIR: "it is a directory; layerscope ls lists it",
    errno.ELOOP: "it is a loop of symlinks",
    errno.EINVAL: "it is no regular file (or its redirect mark is invalid): there are no bytes to read",
    errno.ENAMETOOLONG: "that name is too long",
}


@contextmanager
def told(doing: str, session: Session | None = None, subject: Subject | None = None) -> Iterator[None]:
    """Turn an OSError inside the ``with`` into one line that says what was being done.

    ``session`` and ``subject``: whose view a path is looked for in, so that one that isn't found is judged by whether
    all of the view could be read.

    Raises:
        UsageError: the path is not there, or is of the wrong kind.
        PermissionDenied: this user may not read it.
        UnsupportedError: it is known by name only, its bytes aren't here.
        RootError: the disk said no, or what is there is damaged, so that nobody knows whether the path is there.
    """
    try:
        yield
    except LayerscopeError:
        raise
    except PermissionError:
        raise PermissionDenied(f"{escape(doing)}: permission denied; run as root") from None
    except ContentsAbsent as error:
        raise UnsupportedError(f"{escape(doing)}: {error.why}") from None
    except OSError as error:
        plain = os.strerror(error.errno or 0)
        # An input/output error of ours says what is missing; one of the disk's says nothing.
        own = error.strerror if error.errno == errno.EIO and error.strerror != plain else None
        said = _SAID.get(error.errno or 0)
        if own is not None or said is None:
            raise RootError(f"{escape(doing)}: {escape(own or error.strerror or plain)}") from None
        lost = ""
        if error.errno == errno.ENOENT and session is not None and subject is not None:
            from layerscope.services.unread import unread

            lost = unread(session, subject)
        if lost:
            raise RootError(f"{escape(doing)}: it is not in what can be read: {escape(lost)}") from None
        raise UsageError(f"{escape(doing)}: {escape(said)}") from None
