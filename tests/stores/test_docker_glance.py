"""The records of one container, read alone, say of it what all records of the root say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.stores.docker.driver_records import AllRecords
from layerscope.stores.docker.glance import glimpses, store_of
from layerscope.stores.docker.store import DockerStore


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit", "overlay", "vfs", "aufs", "zfs", "btrfs"])
def test_one_alone_is_as_among_all(unpacked: Callable[[str], Path], sample: str) -> None:
    root = unpacked(sample)
    store = DockerStore(Directory.open_root(root), root, sample.partition("-")[0])
    found = glimpses(store, 1)
    assert found is not None
    assert [one.id for one in found] == [one.id for one in store.containers()]
    for glimpse, container in zip(found, store.containers(), strict=True):
        alone = store_of(glimpse, store)
        assert alone.containers() == (container,)
        assert alone.levels(container) == store.levels(container)
        assert set(alone.layers()) == {level.chain_id for level in store.levels(container) if level.chain_id}
        assert [image.id for image in alone.images()] == [container.image_id]
        assert list(alone.mounts()) == [container.id]


def test_an_image_that_is_gone_is_told_of_by_the_container(records_copy: Path) -> None:
    store = DockerStore(Directory.open_root(records_copy), records_copy, "overlay2")
    glimpse = (glimpses(store, 1) or ())[0]
    assert glimpse.image_id is not None
    (records_copy / "image/overlay2/imagedb/content/sha256" / glimpse.image_id.removeprefix("sha256:")).unlink()
    (container,) = store_of(glimpse, store).containers()
    assert any("gone or can't be read" in problem.what for problem in container.problems)
    assert container.chain_id is not None


def test_a_store_reads_what_it_is_given_to_read(overlay2_root: Path) -> None:
    """Layers of another driver's records aren't looked for, whatever driver the store is of."""
    top = Directory.open_root(overlay2_root)
    asked: list[str] = []

    class Told(AllRecords):
        def configs(self):  # type: ignore[no-untyped-def]
            asked.append("configs")
            return super().configs()

        def mounts_elsewhere(self) -> frozenset[str]:
            asked.append("elsewhere")
            return super().mounts_elsewhere()

    store = DockerStore(top, overlay2_root, "overlay2", records=Told(top, "overlay2"))
    assert store.images() == DockerStore(top, overlay2_root, "overlay2").images()
    assert asked == ["configs"]
    assert store.containers() and store.containers()
    assert asked == ["configs", "elsewhere"]
