"""Tars that delete what they bring, and the like, unpacked by a bare containerd: what it made has no findings."""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from containerd_engine import Containerd, running_containerd
from odd_tars import CHANGES, CHANGES_OF_CHANGES, FILE, GONE, TARS, Change, Member, folder, packed
from random_members import random_members

from layerscope.model.verdict import Verdict
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

BELOW = (Member("y0"), Member("x", b"below"), folder("d"), Member("d/below", b"1"))
LINKED = (FILE, Member("z", b"", {"type": tarfile.LNKTYPE, "linkname": "x"}))
OPAQUE = Member("d/.wh..wh..opq")
AGAIN: dict[str, Sequence[Member]] = {
    "file, file": (FILE, Member("x", b"longer than before", {"mode": 0o600})),
    "file, whiteout, file": (FILE, GONE, FILE),
    "file, folder": (FILE, folder("x", mode=0o700), Member("x/f", b"1")),
    "folder, file": (folder("x"), Member("x/f", b"1"), FILE),
    "folder, folder": (folder("d", mode=0o700, uid=3), Member("d/f", b"1"), folder("d", mode=0o711)),
    "linked, file": (*LINKED, Member("x", b"other")),
    "linked, whiteout": (*LINKED, GONE),
    "inside, opaque folder": (Member("d/e/f", b"1"), OPAQUE, Member("d/g", b"2")),
    "named, opaque folder": (folder("d"), folder("d/e"), Member("d/e/f", b"1"), Member("d/e/i/f", b"1"), OPAQUE),
    "opaque folder": (OPAQUE,),
    "whiteout": (Member("d/e/.wh.x"), GONE),
    "whiteout with bytes": (Member(".wh.x", b"bytes"),),
    "link before 1970": (Member("x", b"", {"type": tarfile.SYMTYPE, "linkname": "y", "mtime": -100}), Member("y")),
}
OVER_AN_ENTRY = {
    *("file, whiteout", "link, whiteout", "hard link, whiteout", "folder, whiteout", "folder, whiteout, inside"),
    *("whiteout, inside", "inside, whiteout", "whiteout, whiteout inside", "zero device, whiteout"),
    *("file, whiteout, file", "linked, whiteout"),
}
REFUSED = {
    ("overlayfs", "base"): {"folder, whiteout"},
    ("overlayfs", "above"): OVER_AN_ENTRY,
    ("native", "base"): {"folder, whiteout"},
    ("native", "above"): {"folder, whiteout"},
}
"""What containerd itself takes not: a whiteout's device can't be made over an entry, nor an entry below one."""


def holding(content: bytes) -> Callable[[Path], None]:
    """Other bytes, but the time from before."""

    def change(path: Path) -> None:
        before = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


OF_THE_BASE = (
    Change("file, whiteout", "x", "added", Path.touch),
    Change("opaque folder", "d/x", "added", Path.touch),
    Change("whiteout, opaque folder", "d/f", "file", Path.unlink),
    Change("file, file", "x", "mode", lambda path: path.chmod(0o644)),
    Change("file, file", "x", "content", holding(b"Longer than before")),
    Change("file, file", "x", "length", holding(b"hello")),
    Change("file, file", "x", "file", Path.unlink),
    Change("file, whiteout, file", "x", "file", Path.unlink),
    Change("folder, file", "x", "content", holding(b"Hello")),
    Change("folder, folder", "d", "mode", lambda path: path.chmod(0o700)),
    Change("folder, folder", "d/f", "content", holding(b"2")),
    Change("named, opaque folder", "d/e/f", "file", Path.unlink),
    Change("named, opaque folder", "d/e", "mode", lambda path: path.chmod(0o700)),
    Change("inside, opaque folder", "d/g", "owner", lambda path: os.chown(path, 0, 77)),
)
"""Changes of what marks and later members left."""
OF_A_MARK = Change(
    "whiteout, opaque folder", "d", "opaque flag", lambda path: os.setxattr(path, "trusted.overlay.opaque", b"y")
)
"""In a base of the overlay's."""


class World:
    """A containerd with an image for each layer."""

    def __init__(self, engine: Containerd, snapshotter: str) -> None:
        self._engine = engine
        self.snapshotter = snapshotter
        self._made = 0

    def layer(self, members: Sequence[Member], place: str) -> str:
        """A new layer, the base or above another one; its chain ID.

        Raises:
            RuntimeError: containerd refused it.
        """
        self._made += 1
        tars = [packed([*members, Member(f"mark-{self._made}")])]
        if place == "above":
            tars.insert(0, packed(BELOW))
        self._engine.load(f"docker.io/t/odd:{self._made}", tars, snapshotter=self.snapshotter)
        chain, *more = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
        for diff_id in more:
            chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
        return chain

    def files(self, chain: str) -> Path:
        """Where a layer lies, as containerd would mount it."""
        self._engine.ctr("snapshots", "--snapshotter", self.snapshotter, "view", "look", chain)
        words = self._engine.ctr("snapshots", "--snapshotter", self.snapshotter, "mounts", "/m", "look").split()
        self._engine.ctr("snapshots", "--snapshotter", self.snapshotter, "rm", "look")
        if words[2] == "overlay":
            return Path(words[-1].partition("lowerdir=")[2].partition(":")[0])
        return Path(words[3])

    def verdicts(self, *, deep: bool = True) -> dict[str, Verdict]:
        """By chain ID."""
        with open_root(self._engine.root) as session:
            return {str(one.chain_id): one for one in verify(session, deep=deep) if one.chain_id}

    def found(self) -> dict[str, set[tuple[str, str]]]:
        """Paths and subjects of all findings by chain ID."""
        return {
            chain: {(found.path, found.subject) for found in one.findings} for chain, one in self.verdicts().items()
        }


def make(change: Change, layer: Path) -> None:
    """Make a change in a layer's directory, but for the time of the directory it is in."""
    place = layer / change.path
    before = place.parent.stat()
    change.make(place)
    os.utime(place.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module", params=["overlayfs", pytest.param("native", marks=pytest.mark.full)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with running_containerd() as engine:
        yield World(engine, str(request.param))


@pytest.mark.parametrize("place", ["base", "above"])
def test_what_containerd_made_has_no_findings(world: World, place: str) -> None:
    made, refused = {}, set()
    for name, members in {**TARS, **AGAIN}.items():
        try:
            made[name] = world.layer(members, place)
        except RuntimeError:
            refused.add(name)
    assert refused == REFUSED[world.snapshotter, place]
    for deep in (True, False):
        verdicts = world.verdicts(deep=deep)
        told = {name: (verdicts[chain].ok, verdicts[chain].findings) for name, chain in made.items()}
        assert told == dict.fromkeys(made, (True, ()))


@pytest.mark.parametrize("turn", [*range(2), *(pytest.param(turn, marks=pytest.mark.full) for turn in range(2, 12))])
def test_what_containerd_made_of_random_tars_has_no_findings(world: World, turn: int) -> None:
    rng = random.Random(turn)
    made = {}
    for number in range(30):
        members = random_members(rng)
        try:
            made[world.layer(members, ("base", "above")[number % 2])] = members
        except RuntimeError:
            continue
    verdicts = world.verdicts()
    assert [(made[chain], verdicts[chain].findings) for chain in made if verdicts[chain].ok is not True] == []
    assert len(made) >= 8


@pytest.mark.parametrize("place", ["base", "above"])
def test_each_change_to_it_is_named(world: World, place: str) -> None:
    expected = {}
    more = {"base": (*OF_THE_BASE, OF_A_MARK), "above": CHANGES_OF_CHANGES}[place]
    for change in (*CHANGES, *(more if world.snapshotter == "overlayfs" else OF_THE_BASE)):
        if not change.path:
            continue  # containerd makes the top of a layer itself
        chain = world.layer({**TARS, **AGAIN}[change.tar], place)
        make(change, world.files(chain))
        expected[chain] = {(f"/{change.path}", change.subject)}
    found = world.found()
    assert {chain: found[chain] for chain in expected} == expected
