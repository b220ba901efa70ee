"""Containers that a kill cut off before their config was written: docker loads none of them, and removes none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.model.claim import Category
from layerscope.stores.docker.cache_claims import claims_now
from layerscope.stores.docker.store import DockerStore

FIRST_STEPS: list[list[str]] = [[], ["checkpoints"], ["checkpoints", ".tmp-hostconfig.json12"], ["hostconfig.json"]]
"""What a directory of ``containers`` holds when docker 20.10 is killed in each of the first steps: none at first."""


@pytest.mark.parametrize("names", FIRST_STEPS, ids=len)
def test_their_layers_are_nobodys(records_copy: Path, names: list[str]) -> None:
    folder = next(one for one in sorted((records_copy / "containers").iterdir()))
    mount = records_copy / "image/overlay2/layerdb/mounts" / folder.name
    layers = [(mount / name).read_text() for name in ("mount-id", "init-id")]
    kinds = {Category.CONTAINER_RW, Category.CONTAINER_INIT}
    assert {category(records_copy, layer) for layer in layers} == kinds
    shutil.rmtree(folder)
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    assert {category(records_copy, layer) for layer in layers} == {Category.ORPHAN}


def test_a_config_that_is_broken_is_none_of_them(records_copy: Path) -> None:
    folder = next(one for one in sorted((records_copy / "containers").iterdir()))
    (folder / "config.v2.json").write_text("")
    layer = (records_copy / "image/overlay2/layerdb/mounts" / folder.name / "mount-id").read_text()
    assert category(records_copy, layer) is Category.CONTAINER_RW


def category(root: Path, layer: str) -> Category | None:
    claim = claims_now(DockerStore(Directory.open_root(root), root, "overlay2")).claim(layer)
    return claim.category if claim is not None else None
