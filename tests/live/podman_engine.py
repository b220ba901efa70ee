"""A real podman on a store of its own, apart from every other of the machine.

Its root, run root and temporary files lie in one new folder; containers get no network. Nothing of it keeps running.
It is the podman that is installed here, or one of a system with newer engines, which lies in a folder of this machine:
then the store is in that system, and a link leads there, so both sides have it by one path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from engine import PROGRAMS, busybox, minimal_tar

WAIT_SECONDS = 10.0
NEWER = "LAYERSCOPE_NEWER_ENGINES"
KINDS = ("overlay", "vfs", *(pytest.param(f"newer {driver}", marks=pytest.mark.full) for driver in ("overlay", "vfs")))
"""For fixtures: what :func:`made` makes."""
# The defaults are higher than a machine without privilege over its limits allows.
QUIET = "PODMAN_IGNORE_CGROUPSV1_WARNING"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@cache
def missing() -> str | None:
    """Why no podman can run containers here, or None. Where all is installed one is run, to see."""
    if os.geteuid() != 0:
        return "a rootful podman needs root"
    if shutil.which("podman", path=PROGRAMS) is None:
        return f"podman is not installed in {PROGRAMS}"
    if shutil.which("crun", path=PROGRAMS) is None and shutil.which("runc", path=PROGRAMS) is None:
        return f"neither crun nor runc is installed in {PROGRAMS}"
    return _failure(None)


@cache
def missing_newer() -> str | None:
    """Why no podman of a system with newer engines can run containers here, or None."""
    if os.geteuid() != 0:
        return "a rootful podman needs root"
    if newer_system() is None:
        return f"{NEWER} names no folder with a system that has newer engines"
    return _failure(newer_system())


def newer_system() -> Path | None:
    """The root directory of a system with newer engines, which has its ``/proc``, ``/dev`` and ``/sys``."""
    named = os.environ.get(NEWER)
    if not named or not Path(named, "usr/bin/podman").exists() or not Path(named, "proc/self").exists():
        return None
    return Path(named)


def _failure(system: Path | None) -> str | None:
    if busybox() is None:
        return "no static busybox to run in containers (apt-get install busybox-static)"
    engine = Podman("overlay", system=system)
    try:
        engine.import_tar(minimal_tar().bytes(), "localhost/probe:1")
        words = ("--network", "none", "localhost/probe:1", "/bin/busybox", "true")
        engine.run("run", *LIMITS, *words)
    except (RuntimeError, AssertionError, OSError) as error:
        return f"podman can't run containers here: {' '.join(str(error).split())[-300:]}"
    finally:
        engine.remove()
    return None


def made(kind: str, place: str = "root") -> Podman:
    """A new store of one of :data:`KINDS`; the test is skipped where there can be none."""
    newer, _, driver = kind.rpartition(" ")
    reason = missing_newer() if newer else missing()
    if reason:
        pytest.skip(reason)
    return Podman(driver, place, newer_system() if newer else None)


@contextmanager
def bound(kind: str) -> Iterator[Podman]:
    """As :func:`made`, with the store mounted on itself as podman does it; nothing is left of it afterwards."""
    podman = made(kind)
    try:
        podman.root.mkdir()
        subprocess.run(["mount", "--bind", podman.root, podman.root], check=True)
        yield podman
    finally:
        podman.remove()


class Podman:
    """One store. ``root`` is its graph root; it stays until :meth:`remove`.

    ``system`` is the root directory of the system that its programs are of; None: this one's.
    """

    def __init__(self, driver: str, place: str = "root", system: Path | None = None) -> None:
        self.driver = driver
        self._place = Path(tempfile.mkdtemp(prefix="lsp-", dir=f"{system or ''}/var/tmp"))
        self.home = Path("/var/tmp", self._place.name)
        if system is not None:
            self.home.symlink_to(self._place)
        self.root = self.home / place
        self._system = system
        self.environment = {**os.environ, "PATH": PROGRAMS, "TMPDIR": str(self.home), QUIET: "1"}
        runtime = self._find("crun", "runc") if system is None else self._find("runc", "crun")
        self._command = [
            *(() if system is None else ("chroot", str(system))),
            self._find("podman"),
            *("--root", str(self.root), "--runroot", str(self.home / "run"), "--tmpdir", str(self.home / "tmp")),
            *("--storage-driver", driver, "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--runtime", runtime),
        ]

    def _find(self, *names: str) -> str:
        """The first of the programs that there is."""
        top = str(self._system or "")
        path = ":".join(f"{top}{folder}" for folder in PROGRAMS.split(":"))
        found = (shutil.which(name, path=path) for name in names)
        return next((one.removeprefix(top) for one in found if one), names[-1])

    def add_image_store(self, root: Path) -> None:
        """From now on images of ``root`` are used, too."""
        self._command += ["--storage-opt", f"{self.driver}.imagestore={root}"]

    def keep_images_in(self, root: Path) -> None:
        """From now on images are kept in ``root``, apart from containers."""
        self._command += ["--imagestore", str(root)]

    def run(self, *arguments: str, data: bytes | None = None, ends: int = 0) -> str:
        """What a command of podman's prints; it must end with ``ends``."""
        done = subprocess.run(
            [*self._command, *arguments], input=data, capture_output=True, env=self.environment, timeout=300
        )
        if done.returncode != ends:
            raise RuntimeError(f"podman {' '.join(arguments)}: {done.returncode}: {os.fsdecode(done.stderr)[-1000:]}")
        return os.fsdecode(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that isn't waited for; what it says is lost."""
        words = [*self._command, *arguments]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*arguments, "--format", "json"))

    def inspect(self, kind: str, names: Iterable[str]) -> list[dict[str, Any]]:
        """What it tells of each ``image`` or ``container``."""
        found: list[dict[str, Any]] = self.json("inspect", "--type", kind, *names)
        return found

    @contextmanager
    def mounted(self, *words: str) -> Iterator[Path]:
        """Where podman mounts a container (by its name), or an image (``"image"`` and its name)."""
        point = self.run(*words[:-1], "mount", words[-1]).strip()
        try:
            yield Path(point)
        finally:
            self.run(*words[:-1], "umount", words[-1])

    def import_tar(self, data: bytes, name: str) -> None:
        """An image of one layer."""
        self.run("import", "-", name, data=data)

    def shell(self, name: str, image: str, script: str, *options: str, ends: int = 0) -> None:
        """A container that runs ``script`` and ends."""
        self.run("run", *LIMITS, "--network", "none", "--name", name, *options, image, "sh", "-c", script, ends=ends)

    def create(self, name: str, image: str, *options: str) -> None:
        """A container that is never started."""
        self.run("create", *LIMITS, "--network", "none", "--name", name, *options, image, "sh", "-c", "echo never")

    def remove(self) -> None:
        """Remove everything, mounts that were left included, as soon as no process of podman's works here."""
        with suppress(RuntimeError):
            self.run("rm", "-a", "-f", "-t", "0")
        end = time.monotonic() + WAIT_SECONDS
        while self._works() and time.monotonic() < end:
            time.sleep(0.05)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = line.split()[1]
            if point.startswith(f"{self._place}/"):
                subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self._place, ignore_errors=True)
        if self._system is not None:
            self.home.unlink()

    def _works(self) -> bool:
        """Whether a process with this store among its words is alive: a container's end is tidied up behind it."""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if os.fsencode(self.home) in process.read_bytes():
                    return True
        return False
