"""A real dockerd of a newer release than this machine's, from a system in a folder of its own.

The system is the one whose root directory ``LAYERSCOPE_NEWER_ENGINES`` names, with its ``/proc``, ``/dev`` and
``/sys``; without that it is made once for all tests, by mmdebstrap from the mirror that this machine's apt uses. The
daemon runs in it by chroot; what it has lies in there, too, and a link leads there, so both sides know it by one path.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from engine import PROGRAMS, ApiError, Engine, busybox, minimal_tar

VARIABLE = "LAYERSCOPE_NEWER_ENGINES"
RELEASES = ("forky", "testing")
"""Of Debian, whose docker is 28 or newer; the second is the first's name for as long as it isn't released."""
SNAPSHOTTER = "containerd"
"""The kind of engine that keeps images in a containerd of its own."""
_PACKAGES = "docker.io,docker-cli,containerd"
_OPTIONS = (f"--include={_PACKAGES}", '--aptopt=Acquire::Check-Valid-Until "false"')
_CONTAINERD = ("--feature", "containerd-snapshotter=true")
_MAKING_SECONDS = 300
AGO = re.compile(r"(\d+|About an?|Less than a) (second|minute|hour)s?")
"""How long ago something was, in docker's tables."""


@contextmanager
def newer_system(folder: Path) -> Iterator[Path]:
    """The root directory of a system with a newer docker; where there is none it is made in ``folder`` and removed.

    Skips the test where that can't be.
    """
    reason = _missing()
    if reason is not None:
        pytest.skip(reason)
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named, "usr/sbin/dockerd").exists() or not Path(named, "proc/self").exists():
            pytest.skip(f"{VARIABLE} names {named}, where there is no dockerd, or no /proc")
        yield Path(named)
        return
    system = folder / "system"
    try:
        _make(system)
        yield system
    finally:
        for point in _mounts_below(system):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        if not _mounts_below(system):
            shutil.rmtree(system, ignore_errors=True)


def usable_system(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """:func:`newer_system` in a folder of ``factory``, for fixtures; containers can be run in it."""
    with newer_system(factory.mktemp("newer")) as found:
        reason = cannot_run(found)
        if reason is not None:
            pytest.skip(reason)
        yield found


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "starting a dockerd in a system of its own needs root"
    if busybox() is None:
        return "no static busybox to run in containers (apt-get install busybox-static)"
    if not os.environ.get(VARIABLE) and shutil.which("mmdebstrap") is None:
        return f"{VARIABLE} isn't set, and mmdebstrap isn't installed"
    return None


def _make(system: Path) -> None:
    mirror = _mirror()
    if mirror is None:
        pytest.skip("this machine's apt names no mirror of Debian")
    said = ""
    for release in RELEASES:
        words = ["mmdebstrap", "--quiet", "--variant=minbase", *_OPTIONS, release, system, mirror]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_MAKING_SECONDS)
        if done.returncode == 0:
            break
        said = " ".join(done.stderr.split())[-300:]
        shutil.rmtree(system, ignore_errors=True)
    else:
        pytest.skip(f"no system with newer engines could be made: {said}")
    # The daemon must find a file system at its own root.
    subprocess.run(["mount", "--bind", system, system], check=True)
    subprocess.run(["mount", "--make-private", system], check=True)
    subprocess.run(["mount", "--bind", "/dev", system / "dev"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", system / "proc"], check=True)
    subprocess.run(["mount", "--rbind", "/sys", system / "sys"], check=True)
    subprocess.run(["mount", "--make-rslave", system / "sys"], check=True)


def _mirror() -> str | None:
    """Where apt has the main part of its distribution from, None if that isn't Debian."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT)", "Created-By: Packages"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    for line in told.splitlines():
        uri, *rest = line.split()
        if rest == ["Debian", "main"] and "security" not in uri:
            return uri
    return None


def _mounts_below(folder: Path) -> list[str]:
    """Every mount point at ``folder`` and below it, the last one first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        point = line.split(" ")[4]
        if point == str(folder) or point.startswith(f"{folder}/"):
            points.append(point)
    return points[::-1]


class NewerEngine(Engine):
    """One dockerd of ``system``. ``kind`` is :data:`SNAPSHOTTER` or the name of a graph driver."""

    def __init__(self, system: Path, kind: str, options: Sequence[str] = ()) -> None:
        snapshotter = kind == SNAPSHOTTER
        super().__init__("overlayfs" if snapshotter else kind, (*(_CONTAINERD if snapshotter else ()), *options))
        self.kind = kind
        self._system = system
        self._place = Path(f"{system}{self.home}")
        """Where its folder really is."""
        self._place.mkdir(parents=True)
        self.home.rmdir()
        self.home.symlink_to(self._place)
        self.before = ("chroot", str(system))

    @property
    def containerd_root(self) -> Path:
        """Where its containerd keeps images and layers, if it does."""
        return self.root / "containerd" / "daemon"

    def newer_client(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """What the newer client prints; :meth:`client` is this machine's own, which brings BuildKit's sessions."""
        command = ["chroot", str(self._system), "docker", "-H", f"unix://{self.home}/s", *arguments]
        env = {**os.environ, "PATH": PROGRAMS, "HOME": str(self.home), **(environment or {})}
        done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=env, check=False)
        if done.returncode:
            raise ApiError(f"docker {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def ctr(self, namespace: str, *words: str) -> str:
        """What containerd's own client says of a namespace."""
        address = self.home / "x" / "containerd" / "containerd.sock"
        command = ["chroot", str(self._system), "ctr", "-a", str(address), "-n", namespace, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def unmount(self) -> None:
        """Take away every mount below the engine's folder, the last one first."""
        for point in _mounts_below(self._place):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)

    def remove(self) -> None:
        """End everything and leave nothing behind."""
        super().remove()
        shutil.rmtree(self._place, ignore_errors=True)
        self.home.unlink(missing_ok=True)


@cache
def cannot_run(system: Path) -> str | None:
    """Why a dockerd of ``system`` can't run containers here, or None: one is started, to see."""
    engine = NewerEngine(system, SNAPSHOTTER)
    try:
        engine.start()
        engine.import_image(minimal_tar().bytes(), "probe/base:1")
        engine.shell("probe/base:1", "true")
    except (RuntimeError, AssertionError, OSError, ApiError, http.client.HTTPException) as error:
        return f"a newer dockerd can't run containers here: {' '.join(str(error).split())[-300:]}"
    finally:
        engine.remove()
    return None
