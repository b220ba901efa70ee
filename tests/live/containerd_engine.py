"""A real containerd on a root of its own, spoken to by ctr, apart from every other of the machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from engine import PROGRAMS, die_with_parent

START_SECONDS = 30.0
NAMESPACES = ("default", "other")
_LEFT_OUT = (
    "grpc.v1.cri",
    "snapshotter.v1.aufs",
    "snapshotter.v1.btrfs",
    "snapshotter.v1.devmapper",
    "snapshotter.v1.zfs",
)
CONFIG = f"""\
version = 2
disabled_plugins = {[f"io.containerd.{name}" for name in _LEFT_OUT]}
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "1h"
  mutation_threshold = 0
"""
"""The garbage collector runs only when it is asked to, so that a removal's bytes come back at a known moment."""


@cache
def missing() -> str | None:
    """Why no containerd can be started here, or None."""
    if os.geteuid() != 0:
        return "starting a containerd needs root"
    for program in ("containerd", "ctr", "runc"):
        if shutil.which(program, path=PROGRAMS) is None:
            return f"{program} is not installed in {PROGRAMS}"
    return None


class Containerd:
    """One containerd. ``root`` is its root; it stays until :meth:`remove`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="lsc-", dir="/var/tmp"))
        self.root = self.home / "root"
        self._address = self.home / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        config = self.home / "config.toml"
        config.write_text(CONFIG)
        program = shutil.which("containerd", path=PROGRAMS) or "containerd"
        words = [program, "-c", config, "--root", self.root, "--state", self.home / "x", "-a", self._address]
        environment = {**os.environ, "PATH": PROGRAMS}
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, preexec_fn=die_with_parent)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ctr("version")
                return
            except RuntimeError:
                if self._process.poll() is not None or time.monotonic() > end:
                    tail = (self.home / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"containerd did not start:\n{tail}") from None
                time.sleep(0.1)

    def ctr(self, *words: str, namespace: str = "default") -> str:
        """What a command of ctr's prints."""
        program = shutil.which("ctr", path=PROGRAMS) or "ctr"
        command = [program, "-a", str(self._address), "-n", namespace, *words]
        done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PATH": PROGRAMS})
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(words)}: {done.returncode}: {os.fsdecode(done.stderr)[-500:]}")
        return os.fsdecode(done.stdout)

    def load(self, name: str, layers: list[bytes], namespace: str = "default", snapshotter: str = "overlayfs") -> None:
        """An image of these tars, base first."""
        file = self.home / "image.tar"
        file.write_bytes(image_archive(name, layers))
        self.ctr("images", "import", "--snapshotter", snapshotter, str(file), namespace=namespace)

    def run(self, image: str, id_: str, script: str, namespace: str = "default") -> None:
        """A container that runs ``script`` and isn't waited for."""
        words = ("--runc-root", str(self.home / "runc"), image, id_, "/bin/sh", "-c", script)
        self.ctr("run", "-d", *words, namespace=namespace)

    def collect(self) -> None:
        """Let the garbage collector run."""
        self.ctr("leases", "create", "--id", "collect")
        self.ctr("leases", "rm", "--sync", "collect")

    def remove(self) -> None:
        """End it and its containers, and remove everything."""
        for namespace in NAMESPACES:
            for task in self._tasks(namespace):
                with suppress(RuntimeError):
                    self.ctr("tasks", "rm", "-f", task, namespace=namespace)
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = line.split()[1]
            if point.startswith(f"{self.home}/"):
                subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.home, ignore_errors=True)

    def _tasks(self, namespace: str) -> list[str]:
        try:
            return [line.split()[0] for line in self.ctr("tasks", "ls", namespace=namespace).splitlines()[1:]]
        except RuntimeError:
            return []


@contextmanager
def running_containerd() -> Iterator[Containerd]:
    """An empty containerd; the test skips where it can't run."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    made = Containerd()
    try:
        made.start()
        yield made
    finally:
        made.remove()


def image_archive(name: str, layers: list[bytes]) -> bytes:
    """An archive as docker save wrote it."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created_by": name} for _ in layers],
    }
    files = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(files)}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode(), **files}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()
