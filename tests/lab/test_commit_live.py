"""Commits of a stopped root against ``docker commit`` of the same containers: diff IDs and image IDs.

One engine makes a container for each kind of change. Its root is copied while it is stopped; in the original docker
commits them, in the copy layerscope does, with the time and version that docker wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live.engine import Engine, Tar, busybox, missing

from layerscope.cli.main import run
from layerscope.services.opening.root import open_root

REASON = missing()
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

IMAGE = "kinds/base:1"
SCRIPTS = {
    "nothing": "true",
    "new-file": "echo new > /new.txt",
    "append": "echo more >> /etc/motd",
    "rewrite": "echo short > /data/big",
    "delete-file": "rm /data/a",
    "delete-tree": "rm -r /tree",
    "many-whiteouts": "rm /many/*",
    "delete-in-two": "rm /data/a /many/1 /tree/x/1",
    "opaque": "rm -r /tree && mkdir /tree && echo in > /tree/new",
    "opaque-mode": "rm -r /tree && mkdir -m 1711 /tree",
    "dir-by-file": "rm -r /tree && echo now a file > /tree",
    "file-by-dir": "rm /data/a && mkdir /data/a && echo x > /data/a/x",
    "link-by-dir": "rm /link && mkdir /link",
    "file-by-link": "rm /data/a && ln -s b /data/a",
    "chmod": "chmod 4711 /data/a && chmod 600 /data/b && chmod 2755 /many",
    "chmod-same": "chmod 644 /data/a",
    "chown": "chown 1000:1000 /data/a && chown 7:8 /many && chown -h 5:6 /link",
    "big-ids": "echo x > /u && chown 3000000:4294967290 /u",
    "touch": "touch -d '2001-02-03 04:05:06' /data/a",
    "old-time": "touch -d '1960-01-01 00:00:00' /data/a",
    "far-time": "touch -d '2300-01-01 00:00:00' /data/a",
    "symlinks": "ln -s /etc/motd /s1 && ln -s nowhere /s2 && ln -sf other /link",
    "long-link": f"ln -s /{'l' * 150} /s",
    "hard-link-lower": "ln /data/a /data/a2",
    "hard-links": "echo h > /h1 && ln /h1 /h2 && mkdir /d && ln /h1 /d/h3",
    "fifo": "mkfifo /pipe",
    "sparse": "truncate -s 3M /hole && echo x >> /hole",
    "rename": "mv /data/a /data/renamed && mv /many/2 /two",
    "deep": "mkdir -p /a/b/c/d/e/f && echo deep > /a/b/c/d/e/f/g",
    "order": "mkdir /a && touch /a/x '/a b' /a- /a.b && chmod 755 /a",
    "long-names": (
        f"mkdir -p /{'d' * 120}/{'e' * 120} && touch /{'d' * 120}/{'e' * 120}/f /{'n' * 200} /{'d' * 120}/{'m' * 99}"
    ),
    "strange-names": "touch '/ünï ✓' '/tab\there' '/new\nline' '/<&>' '/back\\slash'",
    "re-created": "rm /data/a && echo again > /data/a",
    "empty-dirs": "mkdir /e1 /e1/e2 && chmod 1777 /e1",
    "copy-up-link": "mv /link /moved",
    "many": "i=0; while [ $i -lt 300 ]; do echo $i > /f$i; i=$((i+1)); done",
}
BY_HAND = ("socket", "attributes", "bytes-name", "capability")
OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "message": ({"comment": "a <line> & more", "author": "A U Thor <a@example.org>"}, []),
    "env": ({}, ['ENV A=1 B="two words" PATH=/bin:$PATH', "ENV OLD way of it"]),
    "cmd": ({}, ['CMD ["/bin/sh", "-c", "echo hi"]']),
    "shell-cmd": ({}, ["CMD echo hi && true"]),
    "entrypoint": ({}, ['ENTRYPOINT ["/bin/sh"]']),
    "entrypoint-cmd": ({}, ['ENTRYPOINT ["/bin/sh"]', 'CMD ["-c", "true"]']),
    "labels": ({}, ['LABEL one=1 two="$KEPT"', "LABEL three='3 $KEPT'"]),
    "ports": ({}, ["EXPOSE 80 443/udp 8000-8002"]),
    "volumes": ({}, ['VOLUME ["/v1", "/v2"]', "VOLUME /v3"]),
    "workdir": ({}, ["WORKDIR /srv", "WORKDIR sub/../dir", "USER 1000:1000"]),
    "health": ({}, ["HEALTHCHECK --interval=1m30s --retries=3 CMD true", "ONBUILD RUN true"]),
}


def base_tar() -> bytes:
    """The tree that all containers begin with."""
    program = busybox()
    assert program is not None
    tar = Tar()
    for folder in ("bin", "data", "etc", "many", "tree", "tree/x"):
        tar.folder(folder)
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    for name in ("sh", "rm", "mkdir", "mkfifo", "ln", "mv", "chmod", "chown", "touch", "truncate", "true"):
        tar.link(f"bin/{name}", "busybox")
    tar.add("etc/motd", b"welcome\n")
    tar.add("data/a", b"a\n")
    tar.add("data/b", b"b\n", mode=0o640, uid=1000, gid=1000)
    tar.add("data/big", bytes(range(256)) * 1000)
    tar.link("link", "data/a")
    for number in range(5):
        tar.add(f"many/{number}", b"%d\n" % number)
        tar.add(f"tree/x/{number}", b"%d\n" % number)
    tar.add("tree/top", b"top\n")
    return tar.bytes()


@dataclass(frozen=True)
class Stage:
    """Two copies of one root; docker's commits of each container, by the container's name."""

    engine: Engine
    copy: Path
    commits: dict[str, dict[str, Any]]
    version: str


def change_by_hand(engine: Engine) -> None:
    """Changes that no script in a container makes: in the upper directories, while nothing is mounted."""
    mounts = engine.root / "image/overlay2/layerdb/mounts"
    for name in BY_HAND:
        (container,) = [
            path.parent.name
            for path in (engine.root / "containers").glob("*/config.v2.json")
            if json.loads(path.read_text())["Name"] == f"/{name}"
        ]
        upper = engine.root / "overlay2" / (mounts / container / "mount-id").read_text() / "diff"
        if name == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                os.chdir(upper)
                listener.bind("s")
                os.chdir("/")
            (upper / "beside").write_text("x")
        elif name == "attributes":
            (upper / "f").write_text("x")
            os.setxattr(upper / "f", "user.note", b"lost")
            os.setxattr(upper / "f", "trusted.note", b"lost")
        elif name == "bytes-name":
            Path(os.fsdecode(os.fsencode(upper) + b"/\xff\xfe")).write_text("x")
        else:
            (upper / "f").write_text("x")
            os.setxattr(upper / "f", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The engine has ended, and both roots may be looked at."""
    engine = Engine()
    try:
        engine.start()
        engine.import_image(base_tar(), IMAGE, [_quoted("ENV KEPT=yes"), _quoted("LABEL of=base")])
        for name, script in SCRIPTS.items():
            engine.shell(IMAGE, script, name)
        for name in (*BY_HAND, *OPTIONS):
            engine.create(IMAGE, ["/bin/sh", "-c", "echo <&>"], name)
        version = engine.get("/version")["Version"]
        engine.stop()
        change_by_hand(engine)
        copy = tmp_path_factory.mktemp("stopped") / "root"
        subprocess.run(["cp", "-a", engine.root, copy], check=True)
        engine.start()
        commits = {}
        for name in (*SCRIPTS, *BY_HAND, *OPTIONS):
            more, changes = OPTIONS.get(name, ({}, []))
            query = "&".join(f"{key}={_quoted(value)}" for key, value in more.items())
            query += "".join(f"&changes={_quoted(change)}" for change in changes)
            made = engine.post(f"/commit?container={name}&repo=kinds/{name}&tag=1&{query}")["Id"]
            commits[name] = engine.get(f"/images/{made}/json")
        engine.stop()
        yield Stage(engine, copy, commits, version)
    finally:
        engine.remove()
        shutil.rmtree(tmp_path_factory.getbasetemp() / "stopped0", ignore_errors=True)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@pytest.mark.parametrize("name", [*SCRIPTS, *BY_HAND, *OPTIONS])
def test_commit_gives_dockers_ids(stage: Stage, name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    truth = stage.commits[name]
    created = json.loads(
        (stage.engine.root / "image/overlay2/imagedb/content/sha256" / truth["Id"].removeprefix("sha256:")).read_text()
    )["created"]
    more, changes = OPTIONS.get(name, ({}, []))
    words = ["commit", name, f"ours/{name}:1", "--root", str(stage.copy), "--allow-real-root"]
    words += ["--engine", "20.10", "--docker-version", stage.version, "--created", created]
    words += ["--passwd", "/etc/passwd", "--group", "/etc/group"]
    words += ["-m", more.get("comment", ""), "-a", more.get("author", "")]
    for change in changes:
        words += ["-c", change]
    code = run(words)
    said = capfdbinary.readouterr()
    assert code == 0, said.err.decode()
    with open_root(stage.copy) as session:
        image = session.find(f"ours/{name}:1").image
    assert image is not None
    assert list(image.diff_ids) == (truth["RootFS"]["Layers"] or [])
    made = stage.copy / "image/overlay2/imagedb/content/sha256" / image.id.removeprefix("sha256:")
    theirs = stage.engine.root / "image/overlay2/imagedb/content/sha256" / truth["Id"].removeprefix("sha256:")
    assert made.read_text() == theirs.read_text()
    assert image.id == truth["Id"] == said.out.decode().strip()


def test_records_of_layers_are_dockers(stage: Stage) -> None:
    """Size, parent, tar-split text and the files of each layer that both made."""
    import gzip

    ours, theirs = (root / "image/overlay2/layerdb/sha256" for root in (stage.copy, stage.engine.root))
    both = {path.name for path in ours.iterdir()} & {path.name for path in theirs.iterdir()}
    assert len(both) > len(SCRIPTS)
    for chain in both:
        for name in ("diff", "size", "parent"):
            texts = [
                (folder / chain / name).read_text() if (folder / chain / name).exists() else None
                for folder in (ours, theirs)
            ]
            assert texts[0] == texts[1], (chain, name)
        records = [gzip.decompress((folder / chain / "tar-split.json.gz").read_bytes()) for folder in (ours, theirs)]
        assert records[0] == records[1], chain
        trees = [
            subprocess.run(
                ["find", ".", "-mindepth", "1", "-printf", "%P\\0%y %m %U:%G %s %T@ %l\\0"],
                cwd=root / "overlay2" / (folder / chain / "cache-id").read_text() / "diff",
                capture_output=True,
                check=True,
            ).stdout.split(b"\0")
            for root, folder in ((stage.copy, ours), (stage.engine.root, theirs))
        ]
        listed = [dict(zip(tree[::2], tree[1::2], strict=False)) for tree in trees]
        for path in set(listed[0]) | set(listed[1]):
            facts = [_comparable(listing.get(path, b"")) for listing in listed]
            assert facts[0] == facts[1], (chain, path)


def _comparable(facts: bytes) -> list[bytes]:
    """Without what carries no meaning: size of directories, mode and time of whiteouts, time of hidden parents."""
    fields = facts.split(b" ")
    if fields[0] == b"d":
        fields[3] = b""
    if fields[0] == b"c" and fields[3] == b"0":
        fields[1] = fields[4] = b""
    return fields
