"""A real engine on a data root of its own, seen by itself as /var/lib/docker.

The paths in the records are then those of an ordinary host. The bind mount lives in a mount namespace that ends with
the engine; the host sees none of it.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

_DOCKERD = "/usr/sbin/dockerd"
_DOCKER = "/usr/bin/docker"
_SEEN_AS = "/var/lib/docker"


class Engine:
    """dockerd on ``root``; a context manager that ends it by its own pid."""

    def __init__(self, root: Path, work: Path) -> None:
        self.root = root
        self._work = work
        self._socket = work / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        self.root.mkdir(exist_ok=True)
        prepare = f"mount --make-rprivate / && mount -t tmpfs tmpfs /var/lib && mkdir {_SEEN_AS}"
        options = f"--data-root {_SEEN_AS} --exec-root {self._work}/exec"
        options += f" -H unix://{self._socket} --pidfile {self._work}/docker.pid"
        options += " --bridge=none --iptables=false --ip6tables=false --storage-driver=overlay2"
        # The root is bound before the tmpfs hides what it might lie on.
        bind = f"mount --bind {self.root} {self._work}/bound && {prepare} && mount --move {self._work}/bound {_SEEN_AS}"
        (self._work / "bound").mkdir(exist_ok=True)
        command = f"mount --make-rprivate / && {bind} && exec {_DOCKERD} {options}"
        with (self._work / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(["unshare", "-m", "sh", "-c", command], stdout=log, stderr=log)
        for _ in range(300):
            if self._process.poll() is not None:
                raise RuntimeError(f"dockerd ended at once, see {log.name}")
            if self._socket.exists() and self._answers():
                return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"dockerd doesn't answer, see {log.name}")

    def __exit__(self, *_error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)

    def _answers(self) -> bool:
        return subprocess.run(self._command("version"), capture_output=True).returncode == 0

    def _command(self, *words: str) -> list[str]:
        return [_DOCKER, "-H", f"unix://{self._socket}", *words]

    def docker(self, *words: str, stdin: bytes | None = None) -> str:
        """What a docker command prints, without the last newline."""
        return self.docker_bytes(*words, stdin=stdin).decode().rstrip("\n")

    def docker_bytes(self, *words: str, stdin: bytes | None = None) -> bytes:
        """What a docker command writes."""
        done = subprocess.run(self._command(*words), input=stdin, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode()}")
        return done.stdout
