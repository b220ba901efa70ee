"""Tars that delete what they bring, and the like, imported by a live engine: what it made has no findings."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import ApiError, Engine
from odd_tars import CHANGES, CHANGES_OF_CHANGES, LOST_IN_TREES, OVER_A_WHITEOUT, TARS, Change, Member, packed

from layerscope.errors import CommitError
from layerscope.lab.layer.unpack import unpack
from layerscope.model.verdict import Verdict
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

REFUSED = {"overlay2": {*OVER_A_WHITEOUT, "whiteout, whiteout inside"}, "vfs": {"folder, whiteout"}}
"""What the engine itself takes not."""
LOST = {"overlay2": frozenset(), "vfs": LOST_IN_TREES}
"""Whose bytes are gone: nobody can give that tar back."""
OF_TREES = (
    Change("top /", "", "mode", lambda path: path.chmod(0o700)),
    Change("link, whiteout", "x", "added", lambda path: path.symlink_to("y")),
    Change("file, whiteout", "x", "added", Path.touch),
    Change("zero device", "x", "mode", lambda path: path.chmod(0o600)),
)
OF_CHANGES = (
    Change("top /", "", "mode", lambda path: path.chmod(0o755)),
    Change("top /", "", "owner", lambda path: os.chown(path, 0, 0)),
)


class World:
    """An engine with one layer of each tar, and one more for each change."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.driver = engine.driver
        self.layers: dict[str, str] = {}
        self._made = 0

    def layer(self, tar: str) -> str:
        """A new layer of a tar; its chain ID."""
        self._made += 1
        mark = Member(f"mark-{self._made}")
        image = self.engine.import_image(packed([*TARS[tar], mark]), f"odd:{self._made}")
        return str(self.engine.get(f"/images/{image}/json")["RootFS"]["Layers"][0])

    def files(self, chain: str) -> Path:
        """Where the layer lies."""
        record = self.engine.root / f"image/{self.driver}/layerdb/sha256" / chain.removeprefix("sha256:")
        cache = (record / "cache-id").read_text()
        if self.driver == "vfs":
            return self.engine.root / "vfs/dir" / cache
        return self.engine.root / "overlay2" / cache / "diff"

    def verdicts(self) -> dict[str, Verdict]:
        """By chain ID."""
        with open_root(self.engine.root) as session:
            return {str(one.chain_id): one for one in verify(session, deep=True)}


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    engine = Engine(request.param)
    try:
        engine.start()
        yield World(engine)
    finally:
        engine.remove()


def test_what_the_engine_made_has_no_findings(world: World) -> None:
    made, refused = {}, set()
    for tar in TARS:
        try:
            made[tar] = world.layer(tar)
        except ApiError:
            refused.add(tar)
    assert refused == REFUSED[world.driver]
    verdicts = world.verdicts()
    found = {tar: [(one.path, one.subject) for one in verdicts[chain].findings] for tar, chain in made.items()}
    assert found == {tar: [] for tar in made}
    assert {tar for tar, chain in made.items() if verdicts[chain].ok is not True} == LOST[world.driver]


def test_a_tar_that_ends_inside_of_its_last_padding_is_whole(world: World, tmp_path: Path) -> None:
    """One that ends a byte earlier, inside of content, isn't: for the engine and for us."""
    content = os.urandom(5)
    data = packed([Member("d/x", b"1"), Member(f"y-{tmp_path.name}", content)])
    end = data.index(content) + len(content)
    world.engine.import_image(data[: end + 7], "odd:padding")
    config = world.engine.get("/images/odd:padding/json")
    (chain,) = config["RootFS"]["Layers"]
    (tmp_path / "whole").mkdir()
    assert unpack(io.BytesIO(data[: end + 7]), tmp_path / "whole").diff_id == chain
    assert (tmp_path / "whole" / f"y-{tmp_path.name}").read_bytes() == content
    with pytest.raises(ApiError, match="could not verify layer data"):  # the engine's record lost the padding
        world.engine.call("GET", "/images/odd:padding/get")
    assert world.verdicts()[chain].ok is False
    with pytest.raises(ApiError):
        world.engine.import_image(data[: end - 1], "odd:content")
    (tmp_path / "cut").mkdir()
    with pytest.raises(CommitError, match="before its content's end"):
        unpack(io.BytesIO(data[: end - 1]), tmp_path / "cut")


def test_each_change_to_it_is_named(world: World) -> None:
    more = OF_TREES if world.driver == "vfs" else (*OF_CHANGES, *CHANGES_OF_CHANGES)
    expected = {}
    for change in (*CHANGES, *more):
        chain = world.layer(change.tar)
        place = world.files(chain) / change.path
        before = place.parent.stat()
        change.make(place)
        if change.path:
            os.utime(place.parent, ns=(before.st_atime_ns, before.st_mtime_ns))
        expected[chain] = {(f"/{change.path}", change.subject)}
    verdicts = world.verdicts()
    assert {chain: {(one.path, one.subject) for one in verdicts[chain].findings} for chain in expected} == expected


def test_the_top_of_a_layer_as_the_engine_leaves_it(world: World) -> None:
    """``.`` is passed over in a layer of changes, ``/`` isn't; a whole tree gets both."""
    tops = {tar: world.files(world.layer(tar)).stat() for tar in ("top ./", "top .", "top behind", "top /")}
    given, made = (0o42711, 7, 8), (0o40755, 0, 0)
    seen = {tar: (top.st_mode, top.st_uid, top.st_gid) for tar, top in tops.items()}
    other = given if world.driver == "vfs" else made
    assert seen == {"top ./": other, "top .": other, "top behind": other, "top /": given}
