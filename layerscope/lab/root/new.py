"""A new lab root: made aside and renamed, so that it is whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.hostfs.removal import remove_tree
from layerscope.lab.archive.importing import import_image
from layerscope.lab.image import base as base_image
from layerscope.lab.image.config import Maker
from layerscope.lab.image.tagging import parse_tag
from layerscope.lab.root.abilities import abilities_in
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.marker import MARKER, write_marker_text
from layerscope.lab.root.records import make_empty_root
from layerscope.lab.root.root import LabRoot

_PODMAN_DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
_SIGNS = (
    MARKER,
    "image/*/layerdb",
    "io.containerd.metadata.v1.bolt",
    *(f"{driver}-images/images.json" for driver in _PODMAN_DRIVERS),
)
"""What a lab, and the roots of docker, containerd and podman have at their top."""
_ENGINE = "24"
_DOCKER_VERSION = "24.0.9"


def make_lab(path: Path, *, empty: bool = False) -> None:
    """A lab root at ``path``, with a small image in it unless it is to be ``empty``.

    Raises:
        CommitError: there is something at ``path`` already (an empty directory is taken), it lies inside of another
            root, or the disk said no.
    """
    shown = escape(os.fspath(path))
    path = Path(os.path.abspath(path))
    _demand_free(path, shown)
    _demand_outside(path, shown)
    aside = path.with_name(f".{path.name}.layerscope-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir(0o710)
        try:
            _fill(aside, empty)
            os.rename(aside, path)
        except BaseException:
            remove_tree(aside)
            raise
    except OSError as error:
        raise CommitError(f"cannot make a lab at {shown}: {error.strerror or error}") from None


def _demand_free(path: Path, shown: str) -> None:
    try:
        entries = os.listdir(path)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise CommitError(f"cannot make a lab at {shown}: it is a file") from None
    except OSError as error:
        raise CommitError(f"cannot make a lab at {shown}: {error.strerror}") from None
    if entries or path.is_symlink():
        what = f"it is not empty (it has {escape(sorted(entries)[0])})" if entries else "it is a symlink"
        raise CommitError(f"cannot make a lab at {shown}: {what}; name a new directory")


def _demand_outside(path: Path, shown: str) -> None:
    """Nothing is written below another root, whose bytes would have no owner there."""
    for above in Path(os.path.realpath(path)).parents:
        if any(next(above.glob(sign), None) is not None for sign in _SIGNS):
            inside = escape(os.fspath(above))
            raise CommitError(f"cannot make a lab at {shown}: it lies inside of {inside}, which is a root itself")


def _fill(path: Path, empty: bool) -> None:
    top = Directory.open_root(path)
    try:
        disk = Disk(top)
        make_empty_root(disk)
        prefix = abilities_in(path).prefix.partition(".")[0]
        disk.write(MARKER, write_marker_text(prefix).encode(), 0o644)
    finally:
        top.close()
    if empty:
        return
    maker = Maker(_ENGINE, _DOCKER_VERSION, base_image.CREATED, comment=base_image.COMMENT)
    with LabRoot.open(path) as root:
        tar, name = base_image.base_tar(), parse_tag(base_image.NAME)
        import_image(root, tar, "the lab's first image", maker, name, base_image.CHANGES)
