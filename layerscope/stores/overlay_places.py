"""Places that every engine has whose layers the kernel's overlayfs merges: one layer, its scratch, the short names.

Source: moby daemon/graphdriver/overlay2, containers/storage drivers/overlay, containerd snapshots/overlay.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Protocol

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.stores.records.files import Fault, read_line

_SHORT_NAME = re.compile(r"[A-Z2-7]{26}")
_IN_WORK = re.compile(r"#[0-9a-f]+")
_BESIDE = {"link", "lower", "committed", "lower-id", "merged"}
_IN_INDEX = re.compile(r"[0-9a-f]+|#[0-9a-f]+")


class LayerClaims(Protocol):
    """Who has each layer of a driver."""

    def claim(self, name: str) -> Claim | None:
        """Who has the layer ``name``; None for a name that is no layer's."""

    def exists(self, name: str) -> bool:
        """Whether the layer ``name`` has a directory now."""


def overlay_layer(claim: Claim, files: str, strict: bool = True) -> Place:
    """One layer of a driver that lets the kernel merge: its own files, and what overlayfs works in."""
    if claim.category is Category.ORPHAN:
        return Place(claim, whole=True, folder=True)
    return Place(claim, rule=partial(_in_layer, claim, files, strict), folder=True)


def _in_layer(claim: Claim, files: str, strict: bool, name: str) -> Place | None:
    """What lies beside the files of a layer: made when it is met, since a root has thousands of layers."""
    if name == files:
        return Place(claim, whole=True)
    if name == "work":
        return scratch(claim) if strict else Place(claim, whole=True)
    return Place(claim) if name in _BESIDE else None


def scratch(claim: Claim) -> Place:
    """The directory ``work`` of a mount: what overlayfs itself makes in it.

    ``incompat/volatile/dirty`` is there while a mount with the option ``volatile`` is, and after a crash.
    """
    temporary = by_pattern((_IN_WORK.fullmatch, Place(claim, whole=True)))
    index = by_pattern((_IN_INDEX.fullmatch, Place(claim, whole=True)))
    volatile = Place(claim, names={"volatile": Place(claim, names={"dirty": Place(claim)})})
    names = {
        "work": Place(claim, names={"incompat": volatile}, rule=temporary),
        "index": Place(claim, rule=index),
        "incompat": volatile,
    }
    return Place(claim, names=names)


def short_names(own: Claim, directory: Directory, claims: LayerClaims) -> Place:
    """``l/``: each short name belongs to the layer whose ``link`` file tells it."""
    claim = Claim(f"{own.path}/l", Category.RECORD, own.owner, "short names of layers, for mount options")
    folder = directory.enter("l")

    def short(name: str) -> Place | None:
        if not _SHORT_NAME.fullmatch(name):
            return None
        try:
            target = folder.readlink(name)
        except FileNotFoundError:
            return Place(Claim(f"{own.path}/l/{name}", Category.RECORD, "", "a short name that was just removed"))
        except OSError:
            return None
        parts = target.split("/")
        if len(parts) != 3 or parts[0] != ".." or parts[2] != "diff":
            return None
        id_, place = parts[1], f"{own.path}/l/{name}"
        if not claims.exists(id_):
            return Place(Claim(place, Category.ORPHAN, "", f"short name of {id_}, which is gone"))
        layer = claims.claim(id_)
        told = read_line(directory.enter(id_), "link")
        if isinstance(told, Fault) or not told.strip():
            # A killed removal takes the link file first; a creation writes it last.
            return Place(Claim(place, Category.RECORD, id_, f"short name of {id_}, which has no link file"))
        if told.strip() != name or layer is None:
            return None
        return Place(Claim(place, Category.RECORD, id_, f"{own.path}/{id_}/link", layer.rank))

    return Place(claim, rule=short)
