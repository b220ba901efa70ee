"""Where roots are looked for when none is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerscope.stores.candidates import candidates


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def root_at(path: Path) -> None:
    (path / "image").mkdir(parents=True)


def test_the_usual_places_in_order(tmp_path: Path) -> None:
    home = tmp_path / "home/me"
    write(tmp_path / "etc/docker/daemon.json", '{"data-root": "/srv/docker", "debug": true}')
    write(tmp_path / "etc/containers/storage.conf", '[storage]\ndriver = "overlay"\ngraphroot = "/srv/podman"\n')
    write(tmp_path / "usr/share/containers/storage.conf", '[storage]\ngraphroot = "/srv/vendor"\n')
    found = list(candidates(home, tmp_path))
    assert [Path(path) for path, _ in found] == [
        tmp_path / "srv/docker",
        tmp_path / "var/lib/docker",
        home / ".local/share/docker",
        tmp_path / "srv/podman",
        tmp_path / "srv/vendor",
        tmp_path / "var/lib/containers/storage",
        home / ".local/share/containers/storage",
    ]
    assert {reason for _, reason in found} == {"is not there"}


def test_why_a_place_is_not_taken(tmp_path: Path) -> None:
    root_at(tmp_path / "home/.local/share/docker")
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/docker").write_text("a file")
    (tmp_path / "var/lib/containers/storage").mkdir(parents=True)
    found = {os.path.relpath(path, tmp_path): why for path, why in candidates(tmp_path / "home", tmp_path)}
    assert found["var/lib/docker"] == "is not a directory"
    assert found["var/lib/containers/storage"] == "is empty"
    assert found["home/.local/share/docker"] is None


def test_the_configured_place_is_tried_once(tmp_path: Path) -> None:
    write(tmp_path / "etc/docker/daemon.json", '{"data-root": "/var/lib/docker"}')
    root_at(tmp_path / "var/lib/docker")
    found = list(candidates(tmp_path / "home", tmp_path))
    assert found[0] == (str(tmp_path / "var/lib/docker"), None)
    assert len({path for path, _ in found}) == len(found)


def test_the_older_name_of_the_option(tmp_path: Path) -> None:
    write(tmp_path / "etc/docker/daemon.json", '{"graph": "/srv/old"}')
    assert next(candidates(tmp_path / "home", tmp_path))[0] == str(tmp_path / "srv/old")


@pytest.mark.parametrize("text", ["", "{", "\0", "[" * 100_000])
def test_a_configuration_that_cannot_be_understood_is_told(tmp_path: Path, text: str) -> None:
    write(tmp_path / "etc/docker/daemon.json", text)
    write(tmp_path / "etc/containers/storage.conf", text or "=")
    reasons = dict(candidates(tmp_path / "home", tmp_path))
    assert str(reasons[str(tmp_path / "etc/docker/daemon.json")]).startswith("is not JSON")
    assert str(reasons[str(tmp_path / "etc/containers/storage.conf")]).startswith("is not TOML")
    assert str(tmp_path / "var/lib/docker") in reasons


@pytest.mark.parametrize("text", ["[]", '{"data-root": 7}', '{"data-root": ""}', "null"])
def test_a_configuration_that_names_no_place(tmp_path: Path, text: str) -> None:
    write(tmp_path / "etc/docker/daemon.json", text)
    assert next(candidates(tmp_path / "home", tmp_path))[0] == str(tmp_path / "var/lib/docker")
