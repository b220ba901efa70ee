"""A root whose images lie in an additional store: the sample, taken apart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import podman_roots
import pytest
from podman_roots import truth

from layerscope import open_root
from layerscope.services import Session

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a copy without whiteouts and marks is another root")
CONFIG = '[storage]\n[storage.options]\nadditionalimagestores = ["/shared"]\n'


@pytest.fixture
def machine(tmp_path: Path, podman_samples: dict[str, Path]) -> Path:
    """A machine's root directory: images and their layers are below ``shared``, all else is where it belongs."""
    (tmp_path / "var/lib/containers").mkdir(parents=True)
    own = podman_roots.copy(podman_samples["overlay"], tmp_path / "var/lib/containers/storage")
    shared = podman_roots.copy(podman_samples["overlay"], tmp_path / "shared")
    for root, kept in ((own, False), (shared, True)):
        layers = json.loads((root / "overlay-layers/layers.json").read_text())
        mine = [layer for layer in layers if ("diff-digest" in layer) == kept]
        (root / "overlay-layers/layers.json").write_text(json.dumps(mine))
        for layer in layers:
            if layer not in mine:
                (root / "overlay" / layer["id"]).rename(tmp_path / f"gone-{root.name}-{layer['id']}")
    (own / "overlay-images/images.json").write_text("[]")
    (shared / "overlay-containers/containers.json").write_text("[]")
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/containers/storage.conf").write_text(CONFIG)
    return tmp_path


def images(session: Session) -> dict[str, int | None]:
    """Sizes by ID."""
    return {usage.image.id.removeprefix("sha256:"): usage.image.size for usage in session.images()}


@needs_root
def test_all_is_as_if_it_lay_together(machine: Path) -> None:
    with open_root(machine / "var/lib/containers/storage") as session:
        assert images(session) == {image["Id"]: image["Size"] for image in truth("overlay", "images-all")}
        letters = {"added": "A", "changed": "C", "deleted": "D"}
        for name, told in truth("overlay", "container-diff").items():
            ours = {f"{change.kind} /{change.path}" for change in session.changes(session.find(name))}
            assert ours == {f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths}
        records = session.records(session.find("localhost/demo/base:1"))
        assert str(records["path"]).startswith(f"{machine}/shared/overlay-images/")
        assert session.paths == (machine / "var/lib/containers/storage", machine / "shared")


def test_without_the_configuration_its_images_are_missing(machine: Path) -> None:
    (machine / "etc/containers/storage.conf").unlink()
    with open_root(machine / "var/lib/containers/storage") as session:
        assert images(session) == {}
        names = {one.name for one in session.store.containers()}
        assert names == {"run1", "exit1", "created1", "fromcommit", "orphan"}
        assert all(one.problems for one in session.store.containers())


def test_the_vendors_configuration_counts_if_there_is_no_other(machine: Path) -> None:
    vendor = machine / "usr/share/containers"
    vendor.mkdir(parents=True)
    (machine / "etc/containers/storage.conf").rename(vendor / "storage.conf")
    with open_root(machine / "var/lib/containers/storage") as session:
        assert len(images(session)) == 13


def test_a_store_behind_a_link_is_not_opened(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A mounted disk must not lead its reader to the reader's own files."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (machine / "shared").rename(elsewhere / "shared")
    (machine / "shared").symlink_to(elsewhere / "shared")
    with open_root(machine / "var/lib/containers/storage") as session:
        assert images(session) == {}
        assert any("can't be opened" in problem.what for problem in session.problems())


@pytest.mark.parametrize("text", ["=", "[" * 100_000, "[storage]\noptions = 7\n", "storage = []\n", "\0"])
def test_a_configuration_that_says_nothing(machine: Path, text: str) -> None:
    (machine / "etc/containers/storage.conf").write_text(text)
    with open_root(machine / "var/lib/containers/storage") as session:
        assert images(session) == {}


def test_a_users_own_configuration(machine: Path) -> None:
    home = machine / "home/me"
    (home / ".local/share").mkdir(parents=True)
    (machine / "var/lib/containers").rename(home / ".local/share/containers")
    (home / ".config").mkdir()
    (machine / "etc/containers").rename(home / ".config/containers")
    with open_root(home / ".local/share/containers/storage") as session:
        assert len(images(session)) == 13


@pytest.mark.parametrize("value", ["/../../etc", "relative", "/", "/shared/../shared", "/no\\u0000thing"])
def test_paths_that_lead_elsewhere(machine: Path, value: str) -> None:
    text = CONFIG.replace("/shared", value)
    (machine / "etc/containers/storage.conf").write_text(text)
    with open_root(machine / "var/lib/containers/storage") as session:
        assert images(session) == {}
