"""A real dockerd on a temporary data root, apart from every other daemon of the machine.

Its data root, exec-root, socket and pidfile lie in one new folder; it gets no bridge and writes no firewall rules.
Exact integers come from its HTTP API; the client is used only where the API alone can't (builds by BuildKit).
"""

from __future__ import annotations

import ctypes
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 60.0


@cache
def missing() -> str | None:
    """Why no engine can run containers here, or None. Where all is installed one is started, to see."""
    if os.geteuid() != 0:
        return "starting a dockerd needs root"
    for program in ("dockerd", "containerd", "runc"):
        if shutil.which(program, path=PROGRAMS) is None:
            return f"{program} is not installed in {PROGRAMS}"
    if busybox() is None:
        return "no static busybox to run in containers (apt-get install busybox-static)"
    return _failure()


def _failure() -> str | None:
    """Why a container can't be run although everything is installed, such as in a container without privilege."""
    engine = Engine()
    try:
        engine.start()
        engine.import_image(minimal_tar().bytes(), "probe/base:1")
        engine.shell("probe/base:1", "true")
    except (RuntimeError, AssertionError, OSError, ApiError, http.client.HTTPException) as error:
        return f"dockerd can't run containers here: {' '.join(str(error).split())[-300:]}"
    finally:
        engine.remove()
    return None


def minimal_tar() -> Tar:
    """A tar with a shell and its commands; more may be added."""
    program = busybox()
    assert program is not None
    tar = Tar()
    tar.folder("bin")
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    return tar


def busybox() -> Path | None:
    """A busybox that needs no libraries."""
    found = shutil.which("busybox", path=PROGRAMS)
    if found is None:
        return None
    told = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
    return Path(found) if told.returncode else None


def docker_client() -> Path | None:
    """docker's own client, wherever PATH leads: other programs go by its name, too."""
    for folder in PROGRAMS.split(":"):
        client = Path(folder, "docker")
        if client.exists():
            told = subprocess.run([client, "--version"], capture_output=True, text=True, check=False)
            if told.stdout.startswith("Docker version"):
                return client
    return None


@contextmanager
def started(driver: str = "overlay2", image: str | None = None) -> Iterator[Engine]:
    """A running daemon, with a small image of this name if one is given; nothing is left of it afterwards."""
    engine = Engine(driver)
    try:
        engine.start()
        if image is not None:
            engine.import_image(minimal_tar().bytes(), image)
        yield engine
    finally:
        engine.remove()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ApiError(Exception):
    """The daemon refused."""


class Engine:
    """One dockerd. ``root`` is its data root; it stays after :meth:`stop` and :meth:`kill`, until :meth:`remove`."""

    def __init__(self, driver: str = "overlay2", options: Sequence[str] = ()) -> None:
        """``options`` stand behind the daemon's own; what is put in ``before`` stands before its command."""
        self.driver = driver
        self.before: Sequence[str] = ()
        self._options = options
        # Short, since paths of sockets are: containerd makes some below the exec-root.
        self.home = Path(tempfile.mkdtemp(prefix="lse-", dir="/var/tmp"))
        self.root = self.home / "root"
        self._exec_root = self.home / "x"
        self._socket = self.home / "s"
        self._log = self.home / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        command = [
            *self.before,
            shutil.which("dockerd", path=PROGRAMS) or "dockerd",
            *("--data-root", self.root, "--exec-root", self._exec_root, "--pidfile", self.home / "p"),
            *("-H", f"unix://{self._socket}", "--config-file", self.home / "daemon.json"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false", f"--storage-driver={self.driver}"),
            *self._options,
        ]
        (self.home / "daemon.json").write_text("{}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PATH": PROGRAMS}, preexec_fn=die_with_parent
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/_ping")
                return
            except (OSError, http.client.HTTPException, ApiError):
                if self._process.poll() is not None or time.monotonic() > end:
                    tail = self._log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"dockerd did not start:\n{tail}") from None
                time.sleep(0.1)

    def stop(self) -> None:
        """End the daemon as a shutdown of the machine does: containers are stopped first."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL to the daemon; what it started lives on until :meth:`kill_containers`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def kill_containers(self) -> None:
        """SIGKILL to everything that was started below this daemon: containerd, shims, containers. Mounts stay."""
        mark = os.fsencode(str(self.home) + "/")
        for _ in range(50):
            parents = _parents()
            mine = {pid for pid in parents if mark in _command_line(pid) and pid != os.getpid()}
            while True:
                more = {pid for pid, parent in parents.items() if parent in mine} - mine
                if not more:
                    break
                mine |= more
            if not mine:
                return
            for pid in mine:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)

    def unmount(self) -> None:
        """Take away every mount below the engine's folder, the last one first."""
        points = []
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
            point = line.split(" ")[4]
            if point.startswith(f"{self.home}/"):
                points.append(point)
        for point in reversed(points):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)

    def remove(self) -> None:
        """End everything and leave nothing behind."""
        self.stop()
        self.kill_containers()
        self.unmount()
        shutil.rmtree(self.home, ignore_errors=True)

    # ------------------------------------------------------------------ the API
    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The answer to one request, raw.

        Raises:
            ApiError: the daemon refused, with what it said.
        """
        connection = _Connection(self._socket)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ApiError(f"{method} {path}: {answer.status} {data.decode(errors='replace').strip()}")
        return data

    def get(self, path: str) -> Any:
        """The JSON (or text) at ``path``."""
        data = self.call("GET", path)
        try:
            return json.loads(data)
        except ValueError:
            return data.decode()

    def post(self, path: str, value: object = None) -> Any:
        """The JSON answer to a POST, None if it has none."""
        data = self.call("POST", path, b"" if value is None else json.dumps(value).encode())
        return json.loads(data) if data.strip() else None

    def client(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """What docker's own client prints."""
        command = [str(docker_client()), "-H", f"unix://{self._socket}", *arguments]
        env = {**os.environ, "PATH": PROGRAMS, "HOME": str(self.home), **(environment or {})}
        done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=env, check=False)
        if done.returncode:
            raise ApiError(f"docker {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    # ------------------------------------------------------------------ what tests make
    def import_image(self, tar: bytes, name: str, changes: Iterable[str] = ()) -> str:
        """``docker import``; gives the image's id."""
        repository, _, tag = name.rpartition(":")
        query = "&".join([f"fromSrc=-&repo={repository}&tag={tag}", *(f"changes={change}" for change in changes)])
        lines = self.call("POST", f"/images/create?{query}", tar, "application/x-tar").split(b"\n")
        return str(json.loads(next(line for line in reversed(lines) if line.strip()))["status"])

    def create(self, image: str, command: list[str], name: str | None = None, **more: Any) -> str:
        """A container that is not started; gives its id. ``more`` is merged into the request."""
        host = {"NetworkMode": "none", **more.pop("HostConfig", {})}
        body = {"Image": image, "Cmd": command, "HostConfig": host, **more}
        query = f"?name={name}" if name else ""
        return str(self.post(f"/containers/create{query}", body)["Id"])

    def run(self, image: str, command: list[str], name: str | None = None, wait: bool = True, **more: Any) -> str:
        """A container, started, and (with ``wait``) ended; gives its id."""
        container = self.create(image, command, name, **more)
        self.post(f"/containers/{container}/start")
        if wait:
            self.post(f"/containers/{container}/wait")
        return container

    def shell(self, image: str, script: str, name: str | None = None, wait: bool = True, **more: Any) -> str:
        """:meth:`run` of a shell script. A failed command of it ends the script, and the test."""
        container = self.run(image, ["/bin/busybox", "sh", "-ec", script], name, wait, **more)
        if wait:
            code = self.get(f"/containers/{container}/json")["State"]["ExitCode"]
            if code:
                raise AssertionError(f"the script ended with {code}: {self.logs(container)}")
        return container

    def logs(self, container: str) -> str:
        """What a container wrote."""
        data = self.call("GET", f"/containers/{container}/logs?stdout=1&stderr=1")
        return data.decode(errors="replace")

    def put(self, container: str, tar: bytes, folder: str = "/") -> None:
        """Unpack a tar into a container, as ``docker cp`` does."""
        self.call("PUT", f"/containers/{container}/archive?path={folder}", tar, "application/x-tar")

    def commit(self, container: str, name: str) -> str:
        """``docker commit``; gives the image's id."""
        repository, _, tag = name.rpartition(":")
        return str(self.post(f"/commit?container={container}&repo={repository}&tag={tag}", {})["Id"])

    def build(self, context: bytes, name: str) -> None:
        """A build by the old builder, without network."""
        data = self.call("POST", f"/build?t={name}&networkmode=none&rm=1&version=1", context, "application/x-tar")
        if b'"errorDetail"' in data:
            raise ApiError(data.decode(errors="replace"))

    # ------------------------------------------------------------------ what it answers
    def diff(self, container: str) -> list[tuple[str, str]]:
        """Letter and path of each line of ``docker diff``, sorted by the bytes of the path."""
        changes = self.get(f"/containers/{container}/changes") or []
        lines = [("CAD"[change["Kind"]], str(change["Path"])) for change in changes]
        return sorted(lines, key=lambda line: os.fsencode(line[1]))

    def export(self, container: str) -> bytes:
        """``docker export``."""
        return self.call("GET", f"/containers/{container}/export")


def die_with_parent() -> None:
    """A daemon must not outlive tests that are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def _parents() -> dict[int, int]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Tar:
    """A tar that is being written, member by member."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._tar = tarfile.open(  # noqa: SIM115 - closed when the bytes are taken
            fileobj=self._out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

    def add(self, path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **facts: Any) -> None:
        """One member. ``facts`` are those of ``TarInfo``; ``xattrs`` (name to text) go into PAX records."""
        member = tarfile.TarInfo(path)
        member.type = kind
        member.size = len(content)
        member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        member.mtime = 1_704_164_645
        xattrs = facts.pop("xattrs", {})
        member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
        for key, value in facts.items():
            setattr(member, key, value)
        self._tar.addfile(member, io.BytesIO(content))

    def folder(self, path: str, **facts: Any) -> None:
        """A directory."""
        self.add(path, kind=tarfile.DIRTYPE, **facts)

    def link(self, path: str, target: str, **facts: Any) -> None:
        """A symlink."""
        self.add(path, kind=tarfile.SYMTYPE, linkname=target, **facts)

    def bytes(self) -> bytes:
        """The finished tar."""
        self._tar.close()
        return self._out.getvalue()
