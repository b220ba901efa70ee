"""A store that a newer podman fills with everything it knows, and a registry that it pulls from in parts."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podman_engine import LIMITS, Podman
from podman_story import base_tar

BASE = "localhost/base:1"
BUILT = "localhost/built:1"
_STEPS = f"""FROM {BASE}
RUN ["/bin/sh", "-c", "echo x > /x; rm /data/gone; mkdir -p /new/dir; echo 1 > /new/dir/f; ln /new/dir/f /new/dir/g"]
ENV a=b
RUN ["/bin/sh", "-c", "echo y > /y; rm /new/dir/g; chmod 600 /data/file; rm -r /many; mkdir /many; echo 9 > /many/9"]
CMD ["/bin/sh"]
"""
_PARTS = """[storage]
driver = "overlay"
[storage.options.pull_options]
enable_partial_images = "true"
use_hard_links = "{links}"
convert_images = "{convert}"
"""
QUIET = ("--network", "none")


def build(podman: Podman) -> None:
    """An image of three layers and its steps, and the same in two layers and in one."""
    podman.import_tar(base_tar(), BASE)
    context = podman.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(_STEPS)
    for name, option in ((BUILT, "--layers"), ("localhost/squash:1", "--squash"), ("localhost/one:1", "--squash-all")):
        podman.run("build", *LIMITS, *QUIET, option, "-t", name, str(context))


def tell_the_story(podman: Podman) -> None:
    """Images, lists of them, and containers of every kind that podman 5 makes."""
    build(podman)
    podman.run("tag", BUILT, "docker.io/library/alias:2", "localhost:5000/x/alias:3")
    podman.shell("changed", BUILT, "echo c > /data/file; rm -r /new; mkdir /new; echo z > /new/z", ends=0)
    podman.run("commit", "-q", "changed", "localhost/committed:1")
    podman.run("commit", "-q", "changed")
    podman.run("commit", "-q", "-f", "docker", "changed", "localhost/docker:1")
    podman.run("manifest", "create", "localhost/list:1", BUILT)
    podman.run("manifest", "create", "localhost/more:1")
    for name in (BASE, "localhost/squash:1"):
        podman.run("manifest", "add", "localhost/more:1", f"containers-storage:{name}")
    mounts = ("-v", "kept:/kept", "-v", "/anonymous", "-v", "/etc:/host:ro", "--tmpfs", "/memory")
    podman.shell("runs", BUILT, "echo a > /kept/a; echo ready; sleep 10000", "-d", *mounts)
    podman.shell("fleets", BASE, "echo v > /v; echo ready; sleep 10000", "-d", "--rm")
    podman.run("secret", "create", "word", "-", data=b"secret")
    podman.shell("secret", BUILT, "echo x > /file; exit 4", "--secret", "word", ends=4)
    podman.create("init", BUILT, "--init", "--init-path", "/bin/busybox")
    podman.create("entry", BUILT, "--entrypoint", '["/bin/sh", "-x"]')
    podman.run("create", *LIMITS, *QUIET, "--name", "bare", "--entrypoint", "/bin/sh", BUILT)
    infra = ("--infra-image", BASE, "--infra-command", "/bin/true", "--infra-name", "infra", *QUIET)
    podman.run("pod", "create", *infra, "--share", "ipc", "--name", "pod")
    podman.run("create", *LIMITS, *QUIET, "--pod", "pod", "--name", "inside", BASE, "true")
    folder = podman.home / "files"
    folder.mkdir()
    subprocess.run(["tar", "x", "-C", folder], input=base_tar(), check=True)
    for name, place in (("elsewhere", f"{folder}"), ("above", f"{folder}:O")):
        podman.run("run", *LIMITS, *QUIET, "--name", name, "--rootfs", place, "sh", "-c", f"echo r > /{name}")
    image = "type=image,source=localhost/squash:1,destination=/image"
    podman.shell("image", BASE, "echo w > /image/w", "--mount", f"{image},rw=true")
    podman.create("image-new", BASE, "--mount", image)
    podman.shell("over", BASE, "echo b > /over/b", "-v", f"{folder}:/over:O")
    podman.shell("read-only", BASE, "true", "--read-only")
    memory = ("--opt", "type=tmpfs", "--opt", "device=tmpfs")
    podman.run("volume", "create", "--label", "l=1", *memory, "memory")
    podman.run("image", "mount", "localhost/squash:1")
    for name in ("runs", "fleets"):
        while "ready" not in podman.run("logs", name):
            time.sleep(0.05)


# ---------------------------------------------------------------------- pulls
@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Serves the OCI layouts in ``folder`` as images of their names, ranges of blobs included; its address."""

    class Answers(_Answers):
        top = folder

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    top: Path

    def log_message(self, *_arguments: object) -> None:
        """Nothing is said."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/v2/":
            return self._send(200, b"{}")
        name, _, wanted = self.path.removeprefix("/v2/").partition("/manifests/")
        if not wanted:
            name, _, wanted = name.partition("/blobs/")
        layout = self.top / name
        if wanted == "latest":
            wanted = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
        blob = layout / "blobs" / wanted.replace(":", "/")
        if not blob.is_file():
            return self._send(404, b"{}")
        data = blob.read_bytes()
        if "/manifests/" in self.path:
            return self._send(200, data, json.loads(data)["mediaType"], {"Docker-Content-Digest": wanted})
        ranges = self.headers.get("Range", "").removeprefix("bytes=")
        if not ranges:
            return self._send(200, data)
        return self._send_parts(data, [tuple(map(int, one.split("-"))) for one in ranges.split(",")])

    def _send_parts(self, data: bytes, ranges: list[tuple[int, ...]]) -> None:
        parts = [
            (f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}", data[first : last + 1]) for first, last in ranges
        ]
        if len(parts) == 1:
            return self._send(206, parts[0][1], more={"Content-Range": parts[0][0]})
        body = b"".join(b"--part\r\nContent-Range: %s\r\n\r\n%s\r\n" % (told.encode(), part) for told, part in parts)
        return self._send(206, body + b"--part--\r\n", "multipart/byteranges; boundary=part")

    def _send(
        self, status: int, body: bytes, kind: str = "application/octet-stream", more: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def pull_in_parts(podman: Podman, layouts: Path, names: list[str], *, links: bool, convert: bool) -> None:
    """Pull images whose layers come by files, not as tars."""
    settings = podman.home / "storage.conf"
    text = _PARTS.format(links=str(links).lower(), convert=str(convert).lower())
    settings.write_text(text)
    podman.environment["CONTAINERS_STORAGE_CONF"] = str(settings)
    with registry(layouts) as address:
        for name in names:
            podman.run("pull", "-q", "--tls-verify=false", f"{address}/{name}")
