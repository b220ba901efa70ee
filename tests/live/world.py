"""Images and containers on a live engine that differ from each other in every way a file can change."""

from __future__ import annotations

import os
import tarfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from engine import Engine, Tar, minimal_tar

SAMPLE = Path(__file__).parents[1] / "data" / "overlay2" / "root.tar.gz"
CAPABILITY = b"\x01\x00\x00\x02\x00\x20" + b"\x00" * 14
"""File capabilities of version 2: cap_net_raw, effective."""
LONG_NAME = "n" * 255
NEWLINE_NAME = "two\nlines"
NOT_UTF8_NAME = os.fsdecode(b"not-\xff-utf8")


@cache
def setter() -> bytes | None:
    """A program that sets extended attributes, since busybox can't: the one in the sample's images (x86-64 only)."""
    if os.uname().machine != "x86_64":
        return None
    with tarfile.open(SAMPLE) as sample:
        for member in sample:
            if member.name.endswith("/diff/bin/tl"):
                file = sample.extractfile(member)
                assert file is not None
                return file.read()
    return None


def base_tar() -> bytes:
    """A root file system with one of each kind of entry."""
    tar = minimal_tar()
    if (tool := setter()) is not None:
        tar.add("bin/tl", tool, mode=0o755)
    tar.add("bin/capable", b"#!", mode=0o755, xattrs={"security.capability": CAPABILITY.decode("latin-1")})
    tar.add("bin/setuid", b"#!", mode=0o4755)
    tar.folder("etc")
    tar.add("etc/hosts", b"from the image\n")
    tar.add("etc/motd", b"hello\n", xattrs={"user.note": "kept"})
    tar.link("etc/link", "motd")
    tar.link("etc/absolute", "/etc/motd")
    tar.link("etc/dangling", "../nowhere")
    tar.link("loop", "loop")
    tar.folder("data")
    for name in ("keep", "modify", "same-size", "touch", "chmod", "chown", "link-me", "truncate", "remove", "append"):
        tar.add(f"data/{name}", f"{name} as imported\n".encode())
    tar.add("data/first-name", b"one inode\n")
    tar.add("data/second-name", kind=tarfile.LNKTYPE, linkname="data/first-name")
    tar.add("data/third-name", kind=tarfile.LNKTYPE, linkname="data/first-name")
    tar.add("data/empty")
    tar.add("data/secret", b"nobody reads this\n", mode=0)
    tar.add("data/owned", b"by somebody\n", uid=3_000_000, gid=3_000_001)
    tar.add("data/pipe", kind=tarfile.FIFOTYPE)
    tar.add("data/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)
    tar.add("data/block", kind=tarfile.BLKTYPE, devmajor=7, devminor=200)
    tar.folder("names")
    tar.add(f"names/{LONG_NAME}", b"long")
    tar.add(f"names/{NEWLINE_NAME}", b"newline")
    tar.add(f"names/{NOT_UTF8_NAME}", b"bytes")
    tar.add("names/ünï ✓", b"letters")
    tar.add("names/a", b"")
    tar.folder("names/a-b")
    tar.add("names/a-b/c", b"sorts between a and a/")
    for folder in ("opaque", "gone", "to-file", "renamed", "merged"):
        tar.folder(f"srv/{folder}")
        for name in ("a", "b"):
            tar.add(f"srv/{folder}/{name}", f"{folder} {name}\n".encode())
        tar.folder(f"srv/{folder}/deep")
        tar.folder(f"srv/{folder}/deep/er", mode=0o750, uid=1000, gid=1000)
        tar.add(f"srv/{folder}/deep/er/c", b"c")
    tar.add("srv/to-folder", b"a file")
    tar.link("srv/retarget", "merged/a")
    tar.link("srv/to-real", "merged/b")
    tar.folder("sticky", mode=0o1777)
    return tar.bytes()


EDIT = r"""
cd /data
rm remove
echo changed > modify
echo more >> append
printf 'SAME-SIZE as imported\n' > same-size; touch -d '2024-01-02 03:04:05' same-size
touch touch
chmod 600 chmod
chown 1000:1001 chown
chown 0:0 /bin/capable
ln link-me linked
truncate -s 0 truncate
echo x >> second-name
rm pipe; mkfifo pipe new-pipe
mknod device c 1 5
mknod blockdevice b 7 201
truncate -s 5000000 sparse
dd if=/dev/zero of=holes bs=1 count=1 seek=1000000 2>/dev/null
mv keep kept
: > empty
cd /srv
rm -r opaque; mkdir opaque; echo new > opaque/a; mkdir opaque/deep
rm -r gone
rm -r to-file; echo file > to-file
rm to-folder; mkdir to-folder; echo in > to-folder/in
mv renamed moved 2>/dev/null || true
ln -sf /etc/passwd retarget
rm to-real; echo real > to-real
chmod 700 merged/deep/er
mkdir -p new/one/two/three; echo end > new/one/two/three/end
ln -s nowhere new/dangling
cd /names
echo x > "$(printf 'new\nline')"
echo x > "$(printf 'bytes-\376-here')"
echo x > "$(printf 'tab\tand \033[31mred')"
rm "$(printf 'two\nlines')"
rm ./not-*
echo changed > ünï*
mkdir "$(printf 'folder\377')"; echo in > "$(printf 'folder\377')/in"
rm /sticky/none 2>/dev/null || true
echo x > /sticky/t; chmod 4711 /sticky/t
chmod 711 /sticky
"""

DOCKERFILE = r"""
FROM world/base:1
LABEL role=app
RUN ["/bin/busybox", "sh", "-ec", "rm /data/keep; echo built > /data/built"]
RUN ["/bin/busybox", "sh", "-ec", "rm -r /srv/gone; mkdir /srv/gone; echo n > /srv/gone/fresh"]
COPY app.conf /etc/app.conf
ENV MODE=live
RUN ["/bin/busybox", "sh", "-ec", "echo later >> /etc/app.conf; chmod 600 /data/chmod; rm -r /srv/merged/deep"]
CMD ["/bin/busybox", "sleep", "1000"]
"""


def context(dockerfile: str) -> bytes:
    """A build context with one file beside the Dockerfile."""
    tar = Tar()
    tar.add("Dockerfile", dockerfile.encode())
    tar.add("app.conf", b"conf\n")
    return tar.bytes()


@dataclass
class World:
    """An engine with content. ``containers`` are ids by name; ``truth`` what the daemon said last."""

    engine: Engine
    containers: dict[str, str] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    buildkit: bool = False

    def populate(self) -> None:
        """Make images, containers, a volume, tags, and an image that is removed again."""
        engine, made = self.engine, self.containers
        engine.import_image(base_tar(), "world/base:1")
        engine.build(context(DOCKERFILE), "world/app:1")
        engine.post("/images/world/app:1/tag?repo=localhost:5000/other&tag=x.y")
        engine.post("/volumes/create", {"Name": "kept", "Labels": {"kind": "live"}})
        made["editor"] = engine.shell("world/base:1", EDIT, "editor", Labels={"who": "editor"})
        made["on-app"] = engine.shell(
            "world/app:1", "echo x > /srv/gone/b; rm /data/built; echo y > /data/keep", "on-app"
        )
        engine.commit(made["editor"], "world/committed:1")
        made["on-commit"] = engine.shell("world/committed:1", ON_COMMIT, "on-commit")
        made["xattrs"] = engine.run("world/base:1", _set_xattrs(), "xattrs")
        made["uploaded"] = engine.create("world/base:1", ["/bin/busybox", "true"], "uploaded")
        engine.put(made["uploaded"], _upload())
        made["mounts"] = engine.shell(
            "world/base:1",
            "echo in-volume > /kept/f; echo in-tmpfs > /scratch/f; echo out > /data/out",
            "mounts",
            Volumes={"/anonymous": {}},
            HostConfig={"Binds": ["kept:/kept"], "Tmpfs": {"/scratch": ""}},
        )
        made["idle"] = engine.create("world/app:1", ["/bin/busybox", "true"], "idle")
        made["failed"] = engine.run("world/base:1", ["/bin/busybox", "sh", "-c", "echo x > /x; exit 3"], "failed")
        gone = engine.shell("world/base:1", "echo x > /only-here")
        engine.commit(gone, "world/gone:1")
        engine.call("DELETE", f"/containers/{gone}")
        made["orphan"] = engine.shell("world/gone:1", "echo y > /y; rm /only-here", "orphan")
        engine.call("DELETE", "/images/world/gone:1?force=1")
        made["server"] = engine.create(
            "world/app:1", ["/bin/busybox", "sh", "-ec", SERVE], "server", StopSignal="SIGKILL"
        )
        self.serve()

    def serve(self) -> None:
        """Start the container that stays, and wait until it has done its changes."""
        container = self.containers["server"]
        lines = self.engine.logs(container).count("ready")
        self.engine.post(f"/containers/{container}/start")
        for _ in range(200):
            if self.engine.logs(container).count("ready") > lines:
                return
            time.sleep(0.05)
        raise AssertionError("the container did not come up")

    def ask(self) -> None:
        """Everything the daemon says, by question."""
        engine = self.engine
        listed = engine.get("/containers/json?all=1&size=1")
        images = engine.get("/images/json?all=1")
        self.truth = {
            "containers": listed,
            "inspected": {entry["Id"]: engine.get(f"/containers/{entry['Id']}/json") for entry in listed},
            "images": images,
            "image": {image["Id"]: engine.get(f"/images/{image['Id']}/json") for image in images},
            "history": {image["Id"]: engine.get(f"/images/{image['Id']}/history") for image in images},
            "df": engine.get("/system/df"),
            "info": engine.get("/info"),
            "volumes": engine.get("/volumes")["Volumes"],
            "diff": {name: engine.diff(container) for name, container in self.containers.items()},
            "export": {name: engine.export(container) for name, container in self.containers.items()},
        }


ON_COMMIT = r"""
rm -r /srv/opaque; mkdir /srv/opaque; echo third > /srv/opaque/c
echo again > /srv/to-file
rm /data/modify /data/linked
mkdir /srv/gone; echo back > /srv/gone/a
echo more >> /data/kept
"""
SERVE = r"""
cd /data; echo served > log; rm -f touch; mkdir -p run/now; echo 1 > run/now/pid
echo ready; sleep 1000
"""


def _set_xattrs() -> list[str]:
    """A command that only sets extended attributes: docker diff doesn't show that, the files are copied up."""
    if setter() is None:
        return ["/bin/busybox", "true"]
    changes = ["x", "/data/keep", "user.color", "blue", "x", "/srv/merged", "user.folder", "yes", "x", "/data/touch"]
    return ["/bin/tl", *changes, "user.empty", "", "c", "644", "/data/modify"]


def _upload() -> bytes:
    tar = Tar()
    tar.add("data/modify", b"by docker cp\n", uid=7, gid=8, mode=0o4640)
    tar.add("data/new-bytes", bytes(range(256)) * 300)
    tar.folder("srv/uploaded")
    tar.add(f"srv/uploaded/{NOT_UTF8_NAME}", b"x", xattrs={"user.from": "tar"})
    tar.add("srv/uploaded/capable", b"x", xattrs={"security.capability": CAPABILITY.decode("latin-1")})
    tar.link("srv/uploaded/link", "../merged/a")
    return tar.bytes()
