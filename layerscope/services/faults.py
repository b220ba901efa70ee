"""System errors told as ours: what was being done, what was found, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from layerscope.errors import LayerscopeError, PermissionDenied, RootError, UnsupportedError, UsageError
from layerscope.formats.escape import escape
from layerscope.model.tree import ContentsAbsent

_SAID = {
    errno.ENOENT: "there is no such path in this view",
    errno.ENOTDIR: "a part of that path isn't a directory",
    errno.EISDIR: "it is a directory; layerscope ls lists it",
    errno.ELOOP: "it is a loop of symlinks",
    errno.EINVAL: "it is no regular file (or its redirect mark is invalid): there are no bytes to read",
    errno.ENAMETOOLONG: "that name is too long",
}


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn an OSError inside the ``with`` into one line that says what was being done.

    Raises:
        UsageError: the path is not there, or is of the wrong kind.
        PermissionDenied: this user may not read it.
        UnsupportedError: it is known by name only, its bytes aren't here.
        RootError: the disk said no.
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
        said = own or _SAID.get(error.errno or 0)
        if said is None:
            raise RootError(f"{escape(doing)}: {error.strerror or plain}") from None
        raise UsageError(f"{escape(doing)}: {escape(said)}") from None
