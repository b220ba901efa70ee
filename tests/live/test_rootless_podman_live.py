"""Owners in a store that a podman without privilege wrote just now, as that podman and its containers see them."""

from __future__ import annotations

import stat as modes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rootless_podman
from engine import minimal_tar
from rootless_podman import KINDS, RootlessPodman
from rootless_user import COUNT, FIRST_GROUP, FIRST_USER, GROUP, MORE_USERS, USER

from layerscope import open_root
from layerscope.services import Session
from layerscope.services.verify.layers import verify

pytestmark = [pytest.mark.root, pytest.mark.podman]

EDIT = """
echo new > /data/new; chown 5:6 /data/new /data/root
echo set > /data/set; chmod 4750 /data/set
rm /data/one; mkdir /data/made; chown 11:12 /data/made; ln -s /nowhere /data/link
"""
LOOK = "stat -c '%n %u %g' /data /data/* /own; echo"
LETTERS = {modes.S_IFREG: "f", modes.S_IFDIR: "d", modes.S_IFLNK: "l", modes.S_IFIFO: "p", modes.S_IFCHR: "c"}


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RootlessPodman]:
    """A store with an image whose files have owners from both ends of the ranges, and containers on it."""
    reason = rootless_podman.missing(request.param)
    if reason:
        pytest.skip(reason)
    made = RootlessPodman(request.param)
    try:
        tar = minimal_tar()
        for command in ("sh", "chown", "chmod", "mkdir", "rm", "ln", "stat", "echo"):
            tar.link(f"bin/{command}", "busybox")
        tar.folder("data")
        tar.add("data/root", b"r")
        tar.add("data/one", b"1", uid=1, gid=2)
        tar.add("data/eleven", b"11", uid=11, gid=11)
        tar.add("data/far", b"f", uid=COUNT - 1, gid=COUNT - 1)
        tar.folder("data/dir", uid=33, gid=44)
        made.import_tar(tar.bytes(), "localhost/base:1")
        made.shell("editor", "localhost/base:1", EDIT)
        made.run("commit", "editor", "localhost/made:1")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def session(engine: RootlessPodman) -> Iterator[Session]:
    with open_root(engine.root) as opened:
        yield opened


def told_by(session: Session, name: str) -> dict[str, tuple[int, int, str, str]]:
    """The same facts as podman's, of ours."""
    found = {}
    for entry in session.entries(session.find(name), recursive=True):
        mode = entry.stat.st_mode
        permissions = f"{modes.S_IMODE(mode):o}"
        found[entry.path] = (entry.stat.st_uid, entry.stat.st_gid, permissions, LETTERS[modes.S_IFMT(mode)])
    return found


def test_owners_are_those_that_containers_see(engine: RootlessPodman, session: Session) -> None:
    ours = told_by(session, "editor")
    assert ours == engine.facts("editor")
    assert ours["data/new"][:2] == (5, 6) and ours["data/set"][:3] == (0, 0, "4750")
    assert ours["data/far"][:2] == (COUNT - 1, COUNT - 1)
    assert ours["data/dir"][:2] == (33, 44)


def test_what_they_are_on_disk_is_told(session: Session, engine: RootlessPodman) -> None:
    (told,) = (one for one in session.info().features if "owners are shown" in one)
    assert f"{USER}:{GROUP} on disk is 0:0 and {MORE_USERS}:{FIRST_GROUP} is 1:1" in told
    assert f"{engine.user.top}/etc" in told


def test_a_container_in_a_namespace_of_its_own(engine: RootlessPodman) -> None:
    """What it prints itself: its owners are shifted once more."""
    options = ("--uidmap", "0:100:1000", "--gidmap", "0:200:2000")
    printed = engine.shell("shifted", "localhost/base:1", f"echo > /own; {LOOK}", *options)
    lines = [line.split() for line in printed.splitlines() if line]
    theirs = {path.removeprefix("/"): (int(user), int(group)) for path, user, group in lines}
    assert theirs["data/far"] == (65534, 65534), "beyond its range"
    with open_root(engine.root) as session:
        ours = told_by(session, "shifted")
        if engine.keeps_image_owners:
            theirs["data/far"] = (COUNT - 1, COUNT - 1)
        assert {path: ours[path][:2] for path in theirs} == theirs
        assert session.info().problems == ()
        for level in session.levels(session.find("shifted")):
            assert [owner.cache_id for owner in session.owners(level.path or "")][:1] == [level.cache_id], level
        assert not [verdict for verdict in verify(session, session.find("shifted"), deep=True) if verdict.ok is False]
    assert theirs["own"] == (0, 0)
    assert len(theirs) >= 6


def test_a_store_whose_machine_is_not_known(engine: RootlessPodman, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", engine.root, tmp_path / "storage"], check=True)
    with open_root(tmp_path / "storage") as session:
        (told,) = (one for one in session.info().features if "owners are shown" in one)
        assert "owners are shown as on disk" in told
        if not engine.owners_in_attributes:
            assert told_by(session, "editor")["data/far"][:2] == (FIRST_USER + COUNT - 12, FIRST_GROUP + COUNT - 2)
