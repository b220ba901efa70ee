"""A daemon that keeps its containers' files under other owners, as ``--userns-remap`` says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_facts
from engine import Engine, minimal_tar

from layerscope import open_root
from layerscope.services import Session

FIRST = 165_536
SCRIPT = """
mount --bind "$1/ranges" /etc/subuid
mount --bind "$1/ranges" /etc/subgid
shift
exec "$@"
"""
EDIT = """
echo new > /data/new; chown 33:44 /data/new
chown 65535:1 /data/kept
rm -r /data/old; mkdir /data/old; chown 5:6 /data/old
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The user and group ``nobody`` and ``nogroup`` have a range; the machine's own files stay as they are."""
    made = Engine(options=["--userns-remap=nobody:nogroup"])
    try:
        for path in ("/etc/subuid", "/etc/subgid"):
            Path(path).touch()
        (made.home / "ranges").write_text(f"nobody:{FIRST}:65536\nnogroup:{FIRST}:65536\n")
        (made.home / "before").write_text(SCRIPT)
        made.before = ("unshare", "-m", "sh", str(made.home / "before"), str(made.home))
        made.home.chmod(0o711)
        made.start()
        tar = minimal_tar()
        tar.folder("data")
        tar.add("data/kept", b"kept\n", uid=5, gid=7)
        tar.folder("data/old", uid=9)
        tar.add("data/old/gone", b"gone\n", uid=65_535, gid=65_535)
        made.import_image(tar.bytes(), "remapped/base:1")
        made.shell("remapped/base:1", EDIT, name="editor")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module", params=["running", "killed"])
def session(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Session]:
    if request.param == "killed":
        engine.stop()
    (root,) = (path for path in engine.root.iterdir() if path.name == f"{FIRST}.{FIRST}")
    with open_root(root) as opened:
        yield opened


@pytest.fixture(scope="module")
def told(engine: Engine) -> dict[str, bytes]:
    """The daemon's own answers."""
    ids = {"diff": "/containers/editor/changes", "export": "/containers/editor/export"}
    return {name: engine.call("GET", path) for name, path in ids.items()}


def test_owners_are_those_that_a_container_sees(told: dict[str, bytes], session: Session) -> None:
    """An owner of the host's own, outside of the range, is nobody inside; docker leaves such a file out of a tar."""
    wanted = tree_facts.by_first_name(tree_facts.of_tar(told["export"]))
    found = tree_facts.of_session(session, session.find("editor"))
    unmapped = set(found) - set(wanted)
    assert unmapped <= {"etc/mtab"}
    assert {path: facts for path, facts in found.items() if path not in unmapped} == wanted
    listed = {
        entry.path: (entry.stat.st_uid, entry.stat.st_gid) for entry in session.entries(session.find("editor"), "/data")
    }
    assert listed["data/new"] == (33, 44) and listed["data/kept"] == (65535, 1) and listed["data/old"] == (5, 6)


def test_the_tar_of_an_export(told: dict[str, bytes], session: Session) -> None:
    out = io.BytesIO()
    session.export(session.find("editor"), out)
    ours, theirs = tree_facts.of_tar(out.getvalue()), tree_facts.of_tar(told["export"])
    assert {path: facts for path, facts in ours.items() if path in theirs} == theirs


def test_diff(told: dict[str, bytes], session: Session) -> None:
    kinds = {0: "C", 1: "A", 2: "D"}
    theirs = sorted((kinds[change["Kind"]], change["Path"]) for change in json.loads(told["diff"]))
    changes = session.changes(session.find("editor"))
    assert sorted((str(change.kind), "/" + change.path) for change in changes) == theirs


def test_it_is_told(session: Session) -> None:
    assert any(f"{FIRST}:{FIRST} on disk is 0:0" in feature for feature in session.info().features)
