"""Committing a container: its upper directory becomes a layer, and an image on top of its own.

Order as docker's: layer directory, layer record, config, metadata, names. An upper with nothing in it adds no layer.
Source: moby daemon/commit.go, daemon/images/image_commit.go; seen with 20.10.24, 26.1.5, 28.5.2, 29.7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from layerscope.errors import CommitError, CorruptError
from layerscope.formats.engine_rules import rules_of
from layerscope.lab.build.changes import changed
from layerscope.lab.container.directories import files_of, writable_layer
from layerscope.lab.container.run_config import merged
from layerscope.lab.image.config import Maker, committed_config
from layerscope.lab.image.tagging import Reference, stage_tags
from layerscope.lab.layer.new import MOST_LAYERS, LayerMaker
from layerscope.lab.layer.pack import LayerTar
from layerscope.lab.layer.upper import DOCKER_MARKS, CommitRules
from layerscope.lab.root.abilities import DeviceForm
from layerscope.lab.root.records import stage_image
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.container import Container
from layerscope.model.digest import CacheID, DiffID, ImageID
from layerscope.model.image import Image
from layerscope.model.problem import Problem
from layerscope.model.tree import LayerDirectory
from layerscope.overlay.owners import OwnedDirectory, read_owners

EMPTY_TAR = DiffID("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""The diff ID of a layer with nothing in it: 1024 zeros."""
_BUILT_LOCALLY = 26
"""The oldest engine seen to note which images were made on it."""


class CommitOptions(Struct, frozen=True):
    """How to commit. ``users`` and ``groups``: owner names by id, which engines before 23 write."""

    maker: Maker
    changes: Sequence[str] = ()
    users: Mapping[int, bytes] = field(default_factory=dict)
    groups: Mapping[int, bytes] = field(default_factory=dict)


class Committed(Struct, frozen=True):
    """What a commit made: the image, and its new layer (None if nothing had changed)."""

    image: ImageID
    diff_id: DiffID | None
    problems: tuple[Problem, ...]


def upper_tar(root: LabRoot, cache_id: CacheID, options: CommitOptions) -> LayerTar:
    """The tar of the upper directory ``cache_id``.

    Raises:
        CommitError: what is kept beside it of owners is damaged.
    """
    rules = CommitRules(rules_of(options.maker.engine), DOCKER_MARKS, options.users, options.groups)
    top: LayerDirectory = files_of(root, cache_id)
    if root.overrides:
        try:
            owners = read_owners(root.top.descend(f"{DRIVER}/{cache_id}"), "diff", root.top.stat_self())
        except CorruptError as error:
            raise CommitError(f"cannot read {DRIVER}/{cache_id}: {error}") from None
        top, rules = OwnedDirectory(top, owners), replace(rules, dialect=root.abilities.dialect)
    return LayerTar(top, rules)


def _go_on() -> None:
    """Nobody wants it to stop."""


def commit_container(
    root: LabRoot,
    container: Container,
    parent: Image | None,
    options: CommitOptions,
    name: Reference | None,
    tick: Callable[[], None] = _go_on,
) -> Committed:
    """Make an image of what a container has changed.

    Args:
        root: where.
        container: the container; nothing may have it mounted.
        parent: its image, None if it has none.
        options: how.
        name: the new image's.
        tick: called for each piece of the layer; may raise to stop, and nothing was changed.

    Raises:
        UsageError: a change isn't right.
        CommitError: an entry can't be in a layer, the stack would be too deep, or the disk said no.
    """
    doing = f"cannot commit {container.name or container.id[:12]}"
    mount_id = writable_layer(root, container, doing)
    if container.image_id is not None and (parent is None or parent.broken or not parent.config):
        raise CommitError(f"{doing}: its image {container.image_id} is gone or broken")
    ran = dict(container.config.get("Config") or {})
    if options.changes:
        config = merged(changed(ran, options.changes), ran)
    else:
        # docker merges the config with itself here, which turns missing labels into none.
        ran["Labels"] = ran.get("Labels") or {}
        config = ran
    top = parent.chain_ids[-1] if parent is not None and parent.chain_ids else None
    upper = upper_tar(root, mount_id, options)
    with Transaction(root.disk, doing) as transaction:
        diff_id: DiffID | None = None
        problems: tuple[Problem, ...] = ()
        if _has_entries(root, mount_id):
            if parent is not None and len(parent.chain_ids) >= MOST_LAYERS:
                raise CommitError(f"{doing}: its image has {MOST_LAYERS} layers already, docker takes no more")
            # A device that could only be kept as a file when it was made is kept so again.
            devices = DeviceForm.OVERRIDE if root.overrides and root.abilities.devices is DeviceForm.REFUSE else None
            maker = LayerMaker(root, transaction, rules_of(options.maker.engine), devices)
            upper.tick = tick
            layer = maker.make(upper, top, unless=EMPTY_TAR)
            diff_id = layer.unpacked.diff_id if layer.unpacked.diff_id != EMPTY_TAR else None
            problems = (*upper.problems, *layer.unpacked.problems)
        made = committed_config(
            parent.config if parent else None,
            container.id,
            ran,
            config,
            diff_id,
            options.maker,
            str(container.config.get("OS") or "linux"),
        )
        stage_image(transaction, made.id, made.data, container.image_id, options.maker.major >= _BUILT_LOCALLY)
        stage_tags(root, transaction, {name: made.id} if name else {})
        transaction.publish()
    return Committed(made.id, diff_id, problems)


def _has_entries(root: LabRoot, cache_id: CacheID) -> bool:
    found: Iterable[object] = files_of(root, cache_id).scan()
    return any(True for _ in found)
