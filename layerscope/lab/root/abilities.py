"""What this user may make in a file system, and so in which form a layer's marks, owners and devices are kept there.

| wanted | best | next best |
| --- | --- | --- |
| whiteout | character device 0:0 | empty file with the whiteout attribute; else a file ``.wh.NAME`` |
| opaque directory | attribute ``trusted.overlay.opaque`` | ``user.overlay.opaque``; else a file ``.wh..wh..opq`` |
| owner, mode, attributes | the file's own | ``user.containers.override_stat`` and the side record |
| device node | itself | refused, or an empty file with ``override_stat`` where that is asked for |

Making a device 0:0 needs no privilege since Linux 5.8; ``trusted.*`` needs CAP_SYS_ADMIN in the initial user namespace.
"""

from __future__ import annotations

import os
import stat as modes
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from layerscope.formats.whiteout import TRUSTED, Dialect

_FOREIGN_ID = 65533


class WhiteoutForm(StrEnum):
    """How a deleted name is marked."""

    DEVICE = "device"
    XATTR = "xattr"
    NAME = "name"


class DeviceForm(StrEnum):
    """What becomes of a device node that isn't a whiteout."""

    NODE = "node"
    OVERRIDE = "override"
    REFUSE = "refuse"


class Abilities(Struct, frozen=True):
    """The forms in which a layer can be kept.

    ``prefix``: that of the overlay's attributes, ending in a dot. ``owners``: any owner, mode and attribute can be set;
    without it they are kept in overrides. ``user_xattrs``: overrides fit on files and directories themselves.
    """

    prefix: str = TRUSTED.prefix
    whiteouts: WhiteoutForm = WhiteoutForm.DEVICE
    owners: bool = True
    devices: DeviceForm = DeviceForm.NODE
    user_xattrs: bool = True

    @property
    def dialect(self) -> Dialect:
        """The marks that count when what was made is read again."""
        xattrs, names = self.whiteouts is WhiteoutForm.XATTR, self.whiteouts is WhiteoutForm.NAME
        return Dialect(self.prefix, devices=True, xattrs=xattrs, names=names)


ROOT = Abilities()
"""What root can do on a Linux file system: everything as docker leaves it."""


def abilities_in(directory: Path, xattr_prefix: str | None = None) -> Abilities:
    """What this user can make below ``directory``, found by trying in a temporary directory there.

    Args:
        directory: an existing directory.
        xattr_prefix: ``trusted`` or ``user``; None takes ``trusted`` where it can be set.

    Raises:
        OSError: nothing can be made there at all.
    """
    with tempfile.TemporaryDirectory(prefix=".layerscope-", dir=directory) as folder:
        file = Path(folder, "file")
        file.touch()

        def settable(prefix: str) -> bool:
            return _can(lambda: os.setxattr(file, f"{prefix}.overlay.opaque", b"n"))

        prefix = xattr_prefix or ("trusted" if settable("trusted") else "user")
        marked = settable(prefix)
        whiteouts = WhiteoutForm.XATTR
        if _can(lambda: os.mknod(Path(folder, "whiteout"), modes.S_IFCHR, os.makedev(0, 0))):
            whiteouts = WhiteoutForm.DEVICE
        node = _can(lambda: os.mknod(Path(folder, "device"), modes.S_IFCHR, os.makedev(1, 3)))
        return Abilities(
            prefix=f"{prefix}.overlay.",
            whiteouts=whiteouts if marked else WhiteoutForm.NAME,
            owners=_can(lambda: os.chown(file, _FOREIGN_ID, _FOREIGN_ID)),
            devices=DeviceForm.NODE if node else DeviceForm.REFUSE,
            user_xattrs=settable("user"),
        )


def _can(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, AttributeError):  # macOS has no os.setxattr
        return False
    return True
