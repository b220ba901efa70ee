"""The containerd that dockerd starts for itself names no image while containers run and once all is killed."""

from __future__ import annotations

from engine import started

from layerscope.hostfs import Directory
from layerscope.stores.containerd.idle import is_idle


def test_the_containerd_of_a_graph_driver_is_idle() -> None:
    with started(image="base:1") as engine:
        root = Directory.open_root(engine.root)
        try:
            assert is_idle(root)
            engine.run("base:1", ["/bin/busybox", "sleep", "600"], name="sleeper", wait=False)
            (container,) = engine.get("/containers/json")
            assert (container["Names"], container["State"]) == (["/sleeper"], "running")
            assert is_idle(root), "a container that runs has a record there, and no snapshot"
            engine.kill()
            assert is_idle(root)
        finally:
            root.close()
