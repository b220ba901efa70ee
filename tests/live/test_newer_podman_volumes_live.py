"""Volumes of a newer podman that are more than a folder: where they are mounted from, as podman tells it."""

from __future__ import annotations

import time

import podman_engine
import pytest
from newer_podman_world import BASE, build

from layerscope import open_root

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.full]


def test_volumes_of_images() -> None:
    """Such a volume is a container of containers/storage, and mounted somewhere only while it is used."""
    podman = podman_engine.made("newer overlay")
    try:
        build(podman)
        podman.run("volume", "create", "--driver", "image", "--opt", f"image={BASE}", "of-image")
        script = "echo x > /v/x; echo ready; sleep 10000"
        podman.shell("runs", BASE, script, "-d", "-v", "of-image:/v", "-v", "plain:/w")
        podman.create("created", BASE, "-v", "of-image:/v")
        while "ready" not in podman.run("logs", "runs"):
            time.sleep(0.05)
        mounted_from = set()
        for ended in (False, True):
            if ended:
                podman.run("kill", "runs")
                podman.run("wait", "runs")
            told = {one["Name"]: one["Mounts"] for one in podman.inspect("container", ["runs", "created"])}
            with open_root(podman.root) as session:
                ours = {one.name: one.mounts for one in session.store.containers() if one.name in told}
                assert {one.id for one in session.store.containers()} == {
                    one["Id"] for one in podman.json("ps", "-a", "--external", "--no-trunc")
                }
            for name, mounts in told.items():
                theirs = sorted((one["Name"], one["Source"], one["Destination"]) for one in mounts)
                assert sorted((one.name, one.source, one.destination) for one in ours[name]) == theirs
                mounted_from.update(source for volume, source, _ in theirs if volume == "of-image")
        assert "" in mounted_from
        assert len(mounted_from) == 2
    finally:
        podman.remove()
