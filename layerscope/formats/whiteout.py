"""The dialects in which a layer's directory says "this name is gone" and "hide what lies below".

| dialect | a name is gone | a directory hides the lower one |
| --- | --- | --- |
| kernel | character device 0:0, or an empty file with xattr P``whiteout`` | xattr P``opaque`` = ``y`` |
| aufs, OCI names | a regular file ``.wh.NAME`` | a regular file ``.wh..wh..opq`` in it |
| fuse-overlayfs | any of these | any of these, P also ``user.fuseoverlayfs.`` |
| whole trees | nothing: the name isn't there | nothing |

P is ``trusted.overlay.``, or ``user.overlay.`` where the overlay was mounted with ``userxattr``. A dialect is a value
that is handed in; marks of another dialect are ordinary entries. Where names are marks, all others that begin with
``.wh.`` are bookkeeping of the file system (``.wh..wh.plnk``, ``.wh..wh.orph``, ``.wh..wh.aufs``; fuse-overlayfs
leaves a device ``.wh..opq`` behind): neither entries nor marks.

Sources: kernel Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories", seen on Linux 6.18;
OCI image spec, layer.md, "Whiteouts"; aufs.5, and branches of a real aufs (Linux 6.1); fuse-overlayfs main.c, and
layers that a real one wrote under docker 20.10.24.
"""

from __future__ import annotations

import errno
import os
import stat as modes

from msgspec import Struct

NAME_PREFIX = ".wh."
NAME_OPAQUE = ".wh..wh..opq"
_REDIRECT_MAX = 256


class Dialect(Struct, frozen=True):
    """Which marks count.

    ``prefix`` is the beginning of xattrs that are marks, e.g. ``trusted.overlay.``; "" if none are. ``more_prefixes``
    count as much. ``xattrs``: whiteouts may be xattrs; ``devices``: devices; ``names``: names, opaque marks too.
    """

    prefix: str
    devices: bool = True
    xattrs: bool = True
    names: bool = False
    more_prefixes: tuple[str, ...] = ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The beginnings of all xattrs that are marks."""
        return (self.prefix, *self.more_prefixes) if self.prefix else ()

    @property
    def marked(self) -> bool:
        """Whether there are marks at all; else a directory is all there is."""
        return bool(self.prefix) or self.devices or self.names

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
        if self.more_prefixes and key.startswith(self.more_prefixes):
            return True
        return bool(self.prefix) and key.startswith(self.prefix) and not key.startswith(self.prefix + "overlay.")


TRUSTED = Dialect("trusted.overlay.")
USER = Dialect("user.overlay.")
NAMES = Dialect("", devices=False, xattrs=False, names=True)
"""aufs, and layers as their tars have them."""
UNMARKED = Dialect("", devices=False, xattrs=False)
"""Whole trees, in which nothing is a mark."""


def dialect_for(xattr_prefix: str) -> Dialect:
    """The kernel's dialect for ``trusted`` or ``user``."""
    return USER if xattr_prefix == "user" else TRUSTED


def fuse_overlayfs(kernel: Dialect) -> Dialect:
    """The mixture that fuse-overlayfs writes and obeys, whatever prefix the kernel's own dialect of the root has."""
    others = ("user.fuseoverlayfs.", *(one.prefix for one in (TRUSTED, USER) if one.prefix != kernel.prefix))
    return Dialect(kernel.prefix, names=True, more_prefixes=others)


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
