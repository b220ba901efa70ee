"""Extended attributes of one entry, as far as this user can see them: what he may not read is not there.

``entry`` is a path or a descriptor; a path is best one below ``/proc/self/fd``, so that nothing above its last name is
followed. Systems without extended attributes have none. Source: xattr(7), listxattr(2).
"""

from __future__ import annotations

import errno
import os

ABSENT = {errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOTSUP}
"""Errors that mean: there is none, or none that this user can see."""


def value_of(entry: str | int, key: str, *, follow: bool = True) -> bytes | None:
    """The value of one attribute, None if it is absent or not readable. Raises OSError for every other trouble."""
    try:
        return os.getxattr(entry, key, follow_symlinks=follow)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    except AttributeError:  # pragma: no cover - macOS has no os.getxattr
        return None


def keys_of(entry: str | int, *, follow: bool = True) -> list[str]:
    """The names of all attributes, in the file system's order. Raises OSError as :func:`value_of`."""
    try:
        return os.listxattr(entry, follow_symlinks=follow)
    except OSError as error:
        if error.errno in ABSENT:
            return []
        raise
    except AttributeError:  # pragma: no cover - macOS has no os.listxattr
        return []


def values_of(entry: str | int, *, follow: bool = True) -> dict[str, bytes]:
    """All attributes with their values. Raises OSError as :func:`value_of`."""
    values = {key: value_of(entry, key, follow=follow) for key in keys_of(entry, follow=follow)}
    return {key: value for key, value in values.items() if value is not None}
