"""The dialects in which a layer's directory says "this name is gone" and "hide what lies below".

| dialect | a name is gone | a directory hides the lower one |
| --- | --- | --- |
| kernel | character device 0:0, or an empty file with xattr P``whiteout`` | xattr P``opaque`` = ``y`` |
| aufs, OCI names | a regular file ``.wh.NAME`` | a regular file ``.wh..wh..opq`` in it |

P is ``trusted.overlay.``, or ``user.overlay.`` where the overlay was mounted with ``userxattr``. A dialect is a value
that is handed in; marks of another dialect are ordinary entries.

Sources: kernel Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories", seen on Linux 6.18;
OCI image spec, layer.md, "Whiteouts".
"""

from __future__ import annotations

import errno
import os
import stat as modes
from dataclasses import dataclass

NAME_PREFIX = ".wh."
NAME_OPAQUE = ".wh..wh..opq"
_REDIRECT_MAX = 256


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which marks count. ``prefix`` ends in a dot, e.g. ``trusted.overlay.``."""

    prefix: str
    devices: bool = True
    xattrs: bool = True
    names: bool = False

    @property
    def opaque_key(self) -> str:
        """The xattr of a directory: ``y`` hides the lower one, ``x`` says that xattr whiteouts are in here."""
        return self.prefix + "opaque"

    @property
    def whiteout_key(self) -> str:
        """The xattr that makes an empty regular file a whiteout, whatever its value."""
        return self.prefix + "whiteout"

    @property
    def redirect_key(self) -> str:
        """The xattr that says under which name the layers below hold this object."""
        return self.prefix + "redirect"

    @property
    def metacopy_key(self) -> str:
        """The xattr of a regular file whose data is in a layer below."""
        return self.prefix + "metacopy"

    def is_own(self, key: str) -> bool:
        """Whether an xattr is a mark of the overlay itself, not part of the file (escaped ones are the file's)."""
        return key.startswith(self.prefix) and not key.startswith(self.prefix + "overlay.")


TRUSTED = Dialect("trusted.overlay.")
USER = Dialect("user.overlay.")


def dialect_for(xattr_prefix: str) -> Dialect:
    """The kernel's dialect for ``trusted`` or ``user``."""
    return USER if xattr_prefix == "user" else TRUSTED


def is_whiteout_device(stat: os.stat_result) -> bool:
    """Whether it is a character device 0:0; mode and owner carry no meaning."""
    return modes.S_ISCHR(stat.st_mode) and stat.st_rdev == 0


def parse_redirect(value: bytes) -> str:
    """The target of a redirect: one name (same parent, below), or an absolute path in the layers below.

    Raises:
        OSError: EINVAL for empty, ``/``, ``//x``, ``/x/`` or a slash in a name; EACCES for ``.`` and ``..``, as the
            kernel gives them.
    """
    text = os.fsdecode(value)
    names = text[1:].split("/") if text.startswith("/") else [text]
    if len(value) > _REDIRECT_MAX or any(not name or "/" in name or "\0" in name for name in names):
        raise OSError(errno.EINVAL, "invalid redirect", text)
    if any(name in (".", "..") for name in names):
        raise OSError(errno.EACCES, "redirect leads out of the layer", text)
    return text
