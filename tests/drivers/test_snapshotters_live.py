"""containerd's own snapshotters, live: an engine of this machine, on a root of its own, against what we read of it."""

from __future__ import annotations

import gzip
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
from pathlib import Path

import pytest
import tree_facts

from layerscope import open_root
from layerscope.model.change import ChangeKind
from layerscope.model.level import LayerKind

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 30.0
NAME = "docker.io/test/two:1"
SNAPSHOTTERS = ["overlayfs", "native"]
BASE = ("etc/", "etc/motd", "etc/gone", "dir/", "dir/a", "dir/deep/", "dir/deep/file", "bin/", "bin/tool")
TOP = ("etc/", "etc/.wh.gone", "etc/new", "dir/", "dir/.wh..wh..opq", "dir/c")


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "starting a containerd needs root"
    for program in ("containerd", "ctr"):
        if shutil.which(program, path=PROGRAMS) is None:
            return f"{program} is not installed in {PROGRAMS}"
    return None


pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(_missing() is not None, reason=str(_missing())),
]


class Containerd:
    """One containerd in a folder of its own, without plugins that would look elsewhere."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "root"
        config = home / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.root}"\nstate = "{home}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart"]\n'
            f'[grpc]\naddress = "{home}/grpc"\n[ttrpc]\naddress = "{home}/ttrpc"\n'
        )
        self.log = (home / "log").open("wb")
        self.process = subprocess.Popen(["containerd", "-c", str(config)], stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_SECONDS
        while subprocess.run([*self._ctr(), "version"], capture_output=True, check=False).returncode:
            assert self.process.poll() is None and time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.1)

    def _ctr(self) -> list[str]:
        return ["ctr", "--address", f"{self.home}/grpc"]

    def ctr(self, *words: str) -> bytes:
        """What containerd's own client answers."""
        done = subprocess.run([*self._ctr(), *words], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def layer_of(names: tuple[str, ...]) -> bytes:
    """A layer's tar: each file holds its own name some hundred times."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name.rstrip("/"))
            member.mtime = 1_700_000_000 + number
            member.mode = 0o755 if name.endswith("/") else 0o640
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            content = b"" if "/.wh." in name or name.endswith("/") else name.encode() * 500
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def archive_of(layers: list[bytes]) -> bytes:
    """An OCI archive of one image, for ``ctr images import``."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def put(content: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(content).hexdigest()
        files[f"blobs/sha256/{name}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(content)}

    described = [put(gzip.compress(layer, mtime=0), "layer.v1.tar+gzip") for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": described,
    }
    entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
    named = {**entry, "annotations": {"io.containerd.image.name": NAME}}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture(scope="module")
def engine() -> Iterator[Containerd]:
    """A containerd with one image, unpacked by both snapshotters, and a container on each."""
    with tempfile.TemporaryDirectory(prefix="ctrd") as folder:  # the paths of sockets have at most 107 bytes
        home = Path(folder)
        found = Containerd(home)
        try:
            (home / "image.tar").write_bytes(archive_of([layer_of(BASE), layer_of(TOP)]))
            for snapshotter in SNAPSHOTTERS:
                found.ctr("images", "import", "--snapshotter", snapshotter, str(home / "image.tar"))
                found.ctr("containers", "create", "--snapshotter", snapshotter, NAME, f"on-{snapshotter}", "true")
                change(found, snapshotter)
            yield found
        finally:
            found.close()


def mount(engine: Containerd, snapshotter: str) -> Path:
    """The container's tree, mounted as containerd says."""
    point = engine.home / "mounted"
    point.mkdir(exist_ok=True)
    command = engine.ctr("snapshots", "--snapshotter", snapshotter, "mounts", str(point), f"on-{snapshotter}")
    subprocess.run(command.decode().split(), check=True)
    return point


def change(engine: Containerd, snapshotter: str) -> None:
    """What a process in the container might do."""
    point = mount(engine, snapshotter)
    try:
        (point / "etc/motd").write_text("changed\n")
        (point / "bin/tool").chmod(0o755)
        (point / "etc/new").unlink()
        shutil.rmtree(point / "dir")
        (point / "dir").mkdir()
        (point / "dir/fresh").write_bytes(b"f" * 20_000)
        os.link(point / "dir/fresh", point / "dir/again")
        os.symlink("../etc/motd", point / "bin/link")
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_sizes(engine: Containerd, snapshotter: str) -> None:
    table = engine.ctr("snapshots", "--snapshotter", snapshotter, "usage", "-b").decode()
    wanted = {line.split()[0]: int(line.split()[1]) for line in table.splitlines()[1:]}
    with open_root(engine.root, driver=snapshotter) as session:
        (usage,) = session.containers()
        levels = session.stack(session.find(f"on-{snapshotter}"), counts=False)
        told = {level.level.chain_id or usage.container.id: level.size for level in levels}
        assert told == wanted and len(told) == 3
        assert usage.size_rw == wanted[f"on-{snapshotter}"]
        assert usage.size_root_fs == sum(wanted.values())
        (image,) = session.store.images()
        assert image.unpacked_size == sum(wanted.values()) - wanted[f"on-{snapshotter}"]
        assert not session.problems() or all(problem.severity == "note" for problem in session.problems())


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_trees(engine: Containerd, snapshotter: str) -> None:
    point = mount(engine, snapshotter)
    try:
        wanted = tree_facts.of_kernel(point)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    with open_root(engine.root, driver=snapshotter) as session:
        assert tree_facts.exact_of_session(session, session.find(f"on-{snapshotter}")) == wanted
        assert set(wanted) >= {"dir/fresh", "dir/again", "bin/link"} and "dir/c" not in wanted


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_changes(engine: Containerd, snapshotter: str) -> None:
    """containerd's own comparison of the two trees, as the layer that a commit would make."""
    made = engine.ctr("snapshots", "--snapshotter", snapshotter, "diff", f"on-{snapshotter}")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(made))) as tar:
        names = [member.name.strip("/") for member in tar]
    gone = {name.replace("/.wh.", "/") for name in names if "/.wh." in name}
    there = {name for name in names if "/.wh." not in name}
    with open_root(engine.root, driver=snapshotter) as session:
        changes = session.changes(session.find(f"on-{snapshotter}"))
    assert {change.path for change in changes if change.kind is ChangeKind.DELETED} == gone == {"etc/new", "dir/c"}
    assert {change.path for change in changes if change.kind is not ChangeKind.DELETED} == there


@pytest.mark.parametrize("snapshotter", SNAPSHOTTERS)
def test_what_a_level_is(engine: Containerd, snapshotter: str) -> None:
    with open_root(engine.root, driver=snapshotter) as session:
        levels = session.levels(session.find(f"on-{snapshotter}"))
        folder = f"io.containerd.snapshotter.v1.{snapshotter}/snapshots"
        end = "/fs" if snapshotter == "overlayfs" else ""
        assert [level.path for level in levels] == [f"{folder}/{level.cache_id}{end}" for level in levels]
        kinds = {part.kind for part in session.view(session.find(f"on-{snapshotter}")).levels}
        assert kinds == {LayerKind.DIFF if snapshotter == "overlayfs" else LayerKind.SNAPSHOT}
        assert session.daemon().held is True
