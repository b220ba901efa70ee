"""Tars that delete what they bring, and the like, imported into a lab: nothing to say until one thing is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from odd_tars import CHANGES, CHANGES_OF_CHANGES, FILE, FOLDER_GONE, GONE, TARS, Change, Member, packed, whiteout

from layerscope.cli.main import run
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="devices and owners can't be made without root"),
]
REFUSED = {"top /"}
"""An absolute name, which the lab takes not."""
OF_THE_LAB = (
    # Here the file stays whatever the order, and an implied folder is there by what lies in it.
    Change("file, whiteout", "x", "mode", lambda path: path.chmod(0o4755)),
    Change("folder, whiteout", "d", "owner", lambda path: os.chown(path, 0, 77)),
    Change("zero device, whiteout", "x", "owner", lambda path: os.chown(path, 0, 77)),
)


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["lab", "new", str(tmp_path / "lab"), "--empty"]) == 0
    return tmp_path / "lab"


def files(lab: Path, tar: bytes) -> Path:
    """The directory of a new layer."""
    records = lab / "image/overlay2/layerdb/sha256"
    before = set(records.iterdir()) if records.exists() else set()
    (lab.parent / "layer.tar").write_bytes(tar)
    assert run(["import", str(lab.parent / "layer.tar"), "--root", str(lab)]) == 0
    (record,) = set(records.iterdir()) - before
    return lab / "overlay2" / (record / "cache-id").read_text() / "diff"


def found(lab: Path) -> set[tuple[str, str]]:
    with open_root(lab) as session:
        return {(one.path, one.subject) for verdict in verify(session, deep=True) for one in verdict.findings}


@pytest.mark.parametrize("name", [name for name in TARS if name not in REFUSED])
def test_a_layer_just_made_has_no_findings(lab: Path, name: str) -> None:
    assert files(lab, packed(TARS[name])).is_dir()
    with open_root(lab) as session:
        assert [(verdict.ok, verdict.findings) for verdict in verify(session, deep=True)] == [(True, ())]


@pytest.mark.parametrize("change", [*CHANGES, *CHANGES_OF_CHANGES, *OF_THE_LAB], ids=lambda one: "-".join(one[:3]))
def test_each_change_to_it_is_named(lab: Path, change: Change) -> None:
    place = files(lab, packed(TARS[change.tar])) / change.path
    before = place.parent.stat()
    change.make(place)
    if change.path:
        os.utime(place.parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found(lab) == {(f"/{change.path}", change.subject)}


@pytest.mark.parametrize(
    ("members", "make"),
    [
        ((GONE,), Path.touch),
        ((GONE,), Path.mkdir),
        ((FOLDER_GONE, FILE), lambda path: path.with_name("d").mkdir()),
    ],
)
def test_what_lies_in_the_place_of_a_mere_whiteout_is_told_once(lab: Path, members: list[Member], make: object) -> None:
    layer = files(lab, packed(members))
    assert callable(make)
    removed = layer / ("x" if members[0] is GONE else "d")
    removed.unlink()
    make(layer / "x")
    assert found(lab) == {(f"/{removed.name}", "type")}


def test_a_whiteout_that_is_gone_or_another_s_is_told(lab: Path) -> None:
    layer = files(lab, packed((GONE, Member("y"))))
    os.chown(layer / "x", 0, 77)
    assert found(lab) == {("/x", "owner")}
    (layer / "x").unlink()
    assert found(lab) == {("/x", "entry")}
    whiteout(layer / "x")
    os.chown(layer / "x", 9, 0)
    assert found(lab) == set()


def test_a_whiteout_below_a_whiteout_need_not_be_there(lab: Path) -> None:
    """podman leaves the upper one alone; without that one, both are told."""
    layer = files(lab, packed(TARS["whiteout, whiteout inside"]))
    (layer / "d/f").unlink()
    assert found(lab) == {("/d/f", "entry")}
    (layer / "d").rmdir()
    whiteout(layer / "d")
    os.chown(layer / "d", 9, 0)
    assert found(lab) == set()
    (layer / "d").unlink()
    assert found(lab) == {("/d", "entry"), ("/d/f", "entry")}
