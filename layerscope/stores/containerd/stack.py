"""Stacks of snapshots as levels.

The chain of parents is what is mounted. Its members that are named by a chain ID are image layers. docker commits a
layer on top of the init layer of the container that made it, so the init layers of containers that are long gone lie
between the layers of an image: they are levels, too. Builds by BuildKit and pulled images have none.
Source: moby daemon/containerd/image_snapshot.go, image_commit.go; seen with docker 28 and 29.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from layerscope.model.digest import ChainID, DiffID, is_digest, is_hex64
from layerscope.model.level import Absence, Level, Role
from layerscope.stores.containerd.snapshots import Snapshot, Snapshots

_INIT = "-init"


class Member(Struct, frozen=True):
    """One member of a stack: a snapshot, or a layer that is not unpacked here (``snapshot`` None)."""

    key: str
    snapshot: Snapshot | None

    @property
    def chain_id(self) -> ChainID | None:
        """The chain ID that it is named by, if it is."""
        return ChainID(self.key) if is_digest(self.key) else None


def image_stack(chain: Sequence[ChainID], snapshots: Snapshots) -> tuple[Member, ...]:
    """The stack of an image whose layers are ``chain``, base first: what is unpacked, then the layers that aren't.

    Layers that are missing below the lowest snapshot come first.
    """
    top = next((index for index in reversed(range(len(chain))) if chain[index] in snapshots.by_key), None)
    if top is None:
        return tuple(Member(link, None) for link in chain)
    unpacked = [Member(snapshot.key, snapshot) for snapshot in snapshots.chain(chain[top])]
    there = {member.key for member in unpacked}
    below = [Member(link, None) for link in chain[:top] if link not in there]
    return (*below, *unpacked, *(Member(link, None) for link in chain[top + 1 :]))


def top_chain_id(stack: Sequence[Member]) -> ChainID | None:
    """The chain ID of the highest image layer."""
    return next((member.chain_id for member in reversed(stack) if member.chain_id), None)


def levels_of(
    stack: Sequence[Member],
    diff_ids: Mapping[ChainID, DiffID],
    commands: Mapping[ChainID, str],
    absence: Absence | None = None,
) -> list[Level]:
    """The levels of a stack without a writable layer, base first, ``path`` unset.

    ``absence`` is that of layers without a snapshot.
    """
    levels = [_level(number, member, diff_ids, commands) for number, member in enumerate(stack, 1)]
    return [level if level.cache_id is not None else replace(level, absence=absence) for level in levels]


def _level(number: int, member: Member, diff_ids: Mapping[ChainID, DiffID], commands: Mapping[ChainID, str]) -> Level:
    chain = member.chain_id
    owner = member.key.removesuffix(_INIT)
    is_init = member.key.endswith(_INIT)
    command = commands.get(chain, "") if chain else f"snapshot {member.key}"
    if is_init:
        command = f"layer for mount points of container {owner[:12] if is_hex64(owner) else owner}"
    return Level(
        number=number,
        role=Role.INIT if is_init else Role.IMAGE,
        cache_id=member.snapshot.cache_id if member.snapshot else None,
        chain_id=chain,
        diff_id=diff_ids.get(chain) if chain else None,
        size=member.snapshot.size if member.snapshot else None,
        created_by=command,
    )
