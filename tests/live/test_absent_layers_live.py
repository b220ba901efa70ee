"""Containers and images whose layers have no files in the root: what is really so is said, as the engine has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from containerd_engine import Containerd, running_containerd
from engine import minimal_tar

from layerscope import open_root
from layerscope.errors import UnsupportedError
from layerscope.model.problem import Problem
from layerscope.services.session import Session

BASE = "docker.io/t/base:1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Containerd]:
    """Containers in order, without a snapshot, on a directory, of another snapshotter; an image that isn't unpacked."""
    with running_containerd() as made:
        tar = minimal_tar()
        tar.link("bin/sh", "busybox")
        made.load(BASE, [tar.bytes()])
        for name in ("kept", "lost"):
            made.ctr("containers", "create", BASE, name)
        made.ctr("snapshots", "rm", "lost")
        (made.home / "directory").mkdir()
        made.ctr("containers", "create", "--rootfs", str(made.home / "directory"), "outside")
        made.ctr("images", "import", "--no-unpack", str(made.home / "image.tar"), namespace="other")
        yield made


def snapshots(engine: Containerd, namespace: str) -> set[str]:
    """The keys that containerd lists."""
    return {line.split()[0] for line in engine.ctr("snapshots", "ls", namespace=namespace).splitlines()[1:]}


def absences(session: Session, name: str) -> list[Problem]:
    """What is told of the levels of something."""
    session.view(session.find(name))
    return [problem for problem in session.problems() if problem.what.startswith("level ")]


def test_one_that_has_its_snapshot(engine: Containerd) -> None:
    assert "kept" in snapshots(engine, "default")
    with open_root(engine.root, namespace="default") as session:
        assert absences(session, "kept") == []


def test_one_whose_snapshot_is_gone(engine: Containerd) -> None:
    assert "lost" not in snapshots(engine, "default")
    with open_root(engine.root, namespace="default") as session:
        (told,) = absences(session, "lost")
        assert told.what == (
            "level 2: has no files any more: overlayfs has no snapshot “lost”; it was removed, or never made"
        )
        assert "its image can be shown" in told.hint
        with pytest.raises(UnsupportedError, match=r"no snapshot “lost”.*its image can be shown"):
            session.changes(session.find("lost"))


def test_one_that_was_made_on_a_directory(engine: Containerd) -> None:
    with open_root(engine.root, namespace="default") as session:
        (told,) = absences(session, "outside")
        assert told.what == (
            f"level 1: has no snapshot: the container was made on the directory “{engine.home}/directory” of its host"
        )
        assert told.hint == "look at that directory"
        outside = next(one.container for one in session.containers() if one.container.name == "outside")
    assert [problem.what for problem in outside.problems] == [
        "container “outside” has no snapshot: its files lie in a directory of its host"
    ]


def test_an_image_that_is_not_unpacked(engine: Containerd) -> None:
    """The command in the hint is tried: afterwards its files can be shown."""
    assert snapshots(engine, "other") == set()
    with open_root(engine.root, namespace="other") as session:
        (told,) = absences(session, BASE)
    assert told.what == "level 1: is not unpacked here: overlayfs has no snapshot of it"
    assert told.hint.startswith("ctr images mount, of its image, unpacks it")
    point = engine.home / "point"
    point.mkdir()
    engine.ctr("images", "mount", BASE, str(point), namespace="other")
    engine.ctr("images", "unmount", str(point), namespace="other")
    with open_root(engine.root, namespace="other") as session:
        assert absences(session, BASE) == []
        assert any(entry.path == "bin/sh" for entry in session.entries(session.find(BASE), "/bin"))
