"""Whose IDs the files of a root are, where an engine keeps them under others than containers see.

A root for a remapped user namespace says so by its name; of a rootless engine's the machine that it belongs to tells.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.stores.detect import is_namespace

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.hostfs.owner_map import OwnerMap


class RootOwners(Struct, frozen=True):
    """How owners are mapped in a root (None: as they are on disk), and what is told of that ("" if nothing is)."""

    map: OwnerMap | None
    told: str


def root_owners(root: Directory, path: Path | str, rootless: bool, podmans: bool = False) -> RootOwners:
    """How owners are mapped in ``root``, which lies at ``path`` and is, or is not, that of a rootless engine.

    ``podmans``: it is one of containers/storage.
    """
    name = os.path.basename(os.path.realpath(path))
    if is_namespace(name):
        return _remapped(name)
    if not rootless:
        return RootOwners(None, "")
    from layerscope.stores.rootless_owners import rootless_owners

    return rootless_owners(root, path, podmans)


def _remapped(name: str) -> RootOwners:
    """By the name of the root. How many IDs were mapped is recorded nowhere: the usual number."""
    from layerscope.hostfs.owner_map import OwnerMap

    user, _, group = name.partition(".")
    told = f"remapped root: owners are shown as containers see them, {int(user)}:{int(group)} on disk is 0:0"
    return RootOwners(OwnerMap.remapped(int(user), int(group)), told)
