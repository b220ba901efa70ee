"""The sample roots of storage drivers, with the answers of the engines that wrote them.

A new driver is one more line in ``SAMPLES``, with its root and the daemon's answers below ``tests/data``.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import podman_answers
from sample_roots import DATA


class Sample(NamedTuple):
    """A root below ``tests/data``, the driver that wrote it, the folder of the answers, and whether it has files.

    ``engine``: ``docker``, or ``podman``, which has no init layers, and counts other things into containers' sizes.
    ``in_devices``: layers are devices of a pool, and their directories are there while one is mounted only.
    """

    folder: str
    driver: str
    answers: str = "truth"
    has_files: bool = True
    engine: str = "docker"
    in_devices: bool = False

    def answer(self, name: str) -> Any:
        """One of the daemon's answers, by its file's name; None if there is none."""
        if self.engine == "podman":
            return podman_answers.answer(self.driver, name)
        path = DATA / self.folder / self.answers / name
        if not path.exists():
            return None
        text = path.read_text()
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text) if name.endswith(".json") else text.splitlines()


SAMPLES = (
    Sample("overlay2", "overlay2"),
    Sample("overlay2", "overlay2", "truth-26.1"),
    Sample("overlay2-buildkit", "overlay2"),
    Sample("overlay", "overlay"),
    Sample("vfs", "vfs"),
    Sample("btrfs", "btrfs"),
    Sample("fuse-overlayfs", "fuse-overlayfs"),
    Sample("aufs", "aufs"),
    Sample("devicemapper/ext4", "devicemapper", in_devices=True),
    Sample("devicemapper/xfs", "devicemapper", in_devices=True),
    Sample("zfs", "zfs", has_files=False),
    Sample("podman/overlay", "overlay", engine="podman"),
    Sample("podman/vfs", "vfs", engine="podman"),
)
