"""What this process can't see: told from its capabilities, not guessed from what is missing.

``trusted.*`` extended attributes are shown only to a process with CAP_SYS_ADMIN in the initial user namespace
(xattr(7)); for anybody else they don't exist. O_NOATIME needs CAP_FOWNER for other people's files (open(2)).
"""

from __future__ import annotations

import os

from msgspec import Struct

_CAP_DAC_READ_SEARCH, _CAP_FOWNER, _CAP_SYS_ADMIN = 2, 3, 21


class Privilege(Struct, frozen=True):
    """Whether this process sees ``trusted.*`` attributes, reads everything, and can keep access times."""

    trusted_xattrs: bool
    reads_everything: bool
    keeps_atime: bool


def _effective_capabilities() -> int | None:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        pass
    return None


def _in_initial_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map") as file:
            fields = file.read().split()
    except OSError:
        return True
    return fields[:3] == ["0", "0", "4294967295"]


def privilege() -> Privilege:
    """What this process may see."""
    capabilities = _effective_capabilities()
    if capabilities is None:
        root = os.geteuid() == 0
        return Privilege(root, root, root)
    return Privilege(
        trusted_xattrs=bool(capabilities >> _CAP_SYS_ADMIN & 1) and _in_initial_user_namespace(),
        reads_everything=bool(capabilities >> _CAP_DAC_READ_SEARCH & 1) or bool(capabilities >> 1 & 1),
        keeps_atime=bool(capabilities >> _CAP_FOWNER & 1),
    )
