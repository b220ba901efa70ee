"""Each kind of change, committed by a live engine: the same diff ID, record, size and layer directory as ours."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine, Tar, busybox
from lab.facts import Fact, facts

from layerscope.formats.engine_rules import rules_of
from layerscope.formats.passwd import group_names, user_names
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer.pack import pack
from layerscope.lab.layer.unpack import Unpacked, unpack
from layerscope.lab.layer.upper import CommitRules

LONG = "n" * 90
DEEP = "/".join("d" * 30 for _ in range(5))
CHANGES = {
    "nothing": "true",
    "new file": "echo new > /new",
    "empty file": "touch /empty",
    "file grown": "echo more >> /etc/conf",
    "file emptied": ": > /etc/conf",
    "file deleted": "rm /etc/conf",
    "several deleted": "rm /etc/conf /data/a /data/b /data/sub/c",
    "directory deleted": "rm -r /data",
    "directory made again": "rm -r /data && mkdir /data && echo x > /data/new",
    "directory made again, closed": "rm -r /data/sub && mkdir -m 2711 /data/sub",
    "directories opaque in each other": "rm -r /data && mkdir -p /data/sub && touch /data/sub/new",
    "renamed file": "mv /etc/conf /etc/other",
    "renamed directory": "mv /data/sub /data/moved || (cp -a /data/sub /data/moved && rm -r /data/sub)",
    "mode": "chmod 4750 /etc/conf && chmod 1777 /data",
    "owner": "chown 1000:2000 /etc/conf && chown 33:33 /data",
    "large ids": "touch /big && chown 3000000:4000000 /big && touch /edge && chown 2097151:2097152 /edge",
    "time": "touch -d '1999-12-31 23:59:59' /etc/conf && touch -d '2100-01-01 00:00:00' /data",
    "symlinks": f"ln -s conf /etc/link && ln -s /absolute/{LONG}{LONG} /far && ln -s ../../../../x /up",
    "symlink over a file": "rm /etc/conf && ln -s elsewhere /etc/conf",
    "hard links": "echo x > /one && ln /one /data/two && ln /one /zero && ln -s t /s1 && ln /s1 /s2",
    "hard link to a file below": "ln /etc/conf /etc/again",
    "fifo": "mkfifo -m 622 /pipe && ln /pipe /pipe2",
    "devices": "mknod /null c 1 3 && mknod -m 640 /disk b 259 1048575",
    "file over a directory": "rm -r /data/sub && echo x > /data/sub",
    "directory over a file": "rm /etc/conf && mkdir /etc/conf && touch /etc/conf/x",
    "long names": f"touch /{LONG} /{LONG}{LONG} && mkdir -p /{DEEP}/{LONG} && touch /{DEEP}/{LONG}/{LONG}",
    "deleted long names": f"rm -r /long/{LONG}{LONG} /long/{LONG}",
    "odd names": "touch '/ blank ' '/q\"uote' '/back\\slash' /a=b /- /a- /a0 '/<&>' && mkdir /a && touch /a/x",
    "names beyond ascii": "touch /\u00fcml\u00e4ut && mkdir /\u65e5\u672c && touch /\u65e5\u672c/\u672c",
    "names of bytes": "touch \"$(printf '/\\374\\001\\010\\014')\" && mkdir \"$(printf '/\\377d')\"",
    "sparse file": "dd if=/dev/zero of=/sparse bs=1 count=1 seek=3000000 2>/dev/null",
    "many blocks": "dd if=/dev/zero of=/zeros bs=65536 count=40 2>/dev/null && cp /bin/busybox /copy",
    "deep": "p=/; for i in $(seq 60); do p=$p/d; done; mkdir -p $p && echo x > $p/f",
    "moved away and back": "mv /etc/conf /t && mv /t /etc/conf",
}


def base() -> bytes:
    tar = Tar()
    program = busybox()
    assert program is not None
    for folder in ("bin", "etc", "data", "data/sub", "long", f"long/{LONG}{LONG}"):
        tar.folder(folder)
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    for name in (
        "sh",
        "rm",
        "mkdir",
        "mv",
        "cp",
        "chmod",
        "chown",
        "touch",
        "ln",
        "mkfifo",
        "mknod",
        "dd",
        "seq",
        "true",
    ):
        tar.link(f"bin/{name}", "busybox")
    for path in ("etc/conf", "data/a", "data/b", "data/sub/c", f"long/{LONG}", f"long/{LONG}{LONG}/x"):
        tar.add(path, path.encode())
    return tar.bytes()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    running = Engine()
    try:
        running.start()
        running.import_image(base(), "base:1", ["ENV%20PATH%3D/bin"])
        yield running
    finally:
        running.remove()


def layer_record(engine: Engine, chain: str) -> Path:
    return engine.root / "image/overlay2/layerdb/sha256" / chain


def compare(engine: Engine, container: str, tag: str) -> tuple[Path, Unpacked] | None:
    """Commit a container by the engine and by ourselves; docker's layer directory and what unpacking ours gives."""
    version = engine.get("/version")["Version"]
    mount = (engine.root / f"image/overlay2/layerdb/mounts/{container}/mount-id").read_text()
    rules = CommitRules(
        rules_of(version),
        users=user_names(Path("/etc/passwd").read_bytes()),
        groups=group_names(Path("/etc/group").read_bytes()),
    )
    top, tar, record = Directory.open_root(engine.root / "overlay2" / mount / "diff"), io.BytesIO(), io.BytesIO()
    writer = TarSplitWriter(record, empty_last_segment=rules.engine.empty_last_segment)
    made = pack(top, rules, tar.write, record=writer)
    top.close()
    image = engine.commit(container, f"{tag}:1")
    parents = engine.get("/images/base:1/json")["RootFS"]["Layers"]
    layers = engine.get(f"/images/{image}/json")["RootFS"]["Layers"]
    if layers == parents:
        assert made.members == 0
        return None
    assert [*parents, made.diff_id] == layers
    (stored,) = [
        path
        for path in layer_record(engine, "").iterdir()
        if (path / "diff").read_text() == made.diff_id and (path / "parent").exists()
    ]
    assert gzip.decompress(record.getvalue()) == gzip.decompress((stored / "tar-split.json.gz").read_bytes())
    assert made.size == int((stored / "size").read_text())
    target = engine.home / "unpacked" / tag
    target.mkdir(parents=True)
    tar.seek(0)
    unpacked = unpack(tar, target)
    assert (unpacked.diff_id, unpacked.size) == (made.diff_id, made.size)
    assert facts(target) == facts(engine.root / "overlay2" / (stored / "cache-id").read_text() / "diff")
    return target, unpacked


@pytest.mark.parametrize("kind", CHANGES)
def test_a_commit_gives_the_same_layer(engine: Engine, kind: str) -> None:
    container = engine.shell("base:1", CHANGES[kind])
    found = compare(engine, container, kind.replace(" ", "-").replace(",", ""))
    assert (found is None) is (kind == "nothing")


def test_files_that_were_put_in_give_the_same_layer(engine: Engine) -> None:
    """With a capability, of both revisions, which no tool in the image can set."""
    container = engine.create("base:1", ["/bin/true"])
    mount = (engine.root / f"image/overlay2/layerdb/mounts/{container}/mount-id").read_text()
    upper = engine.root / "overlay2" / mount / "diff"
    for number, value in enumerate(
        ("0100000200200000000000000000000000000000", "01000003002000000000000000000000000000e8030000")
    ):
        (upper / f"capable{number}").write_bytes(b"x")
        raw = bytes.fromhex(value)
        os.setxattr(upper / f"capable{number}", "security.capability", raw[:24].ljust(20 if raw[3] == 2 else 24, b"\0"))
        os.setxattr(upper / f"capable{number}", "user.other", b"lost")
    assert compare(engine, container, "capabilities") is not None


# ---------------------------------------------------------------------- tars that come in
def imported(engine: Engine, tar: bytes, name: str) -> tuple[Path, str]:
    """The layer directory and record that docker makes of a tar."""
    engine.import_image(tar, f"{name}:1")
    diff_id = engine.get(f"/images/{name}:1/json")["RootFS"]["Layers"][0]
    record = layer_record(engine, diff_id.removeprefix("sha256:"))
    return engine.root / "overlay2" / (record / "cache-id").read_text() / "diff", (record / "size").read_text()


def odd_tars() -> dict[str, bytes]:
    whole = {
        "through-a-link": Tar(),
        "through-an-absolute-link": Tar(),
        "parents-missing": Tar(),
        "late-parent": Tar(),
        "times": Tar(),
        "link-with-its-own-facts": Tar(),
        "marks": Tar(),
    }
    for name, target in (("through-a-link", "d"), ("through-an-absolute-link", "/d")):
        whole[name].folder("d")
        whole[name].link("s", target)
        whole[name].add("s/new/f", b"1")
    whole["parents-missing"].add("a/b/c", b"1")
    whole["late-parent"].add("a/b", b"1")
    whole["late-parent"].folder("a", mode=0o711, uid=5, mtime=99)
    for number, mtime in enumerate((-5, 0, 1.5, 2**33, 2**34, 1_704_164_645.123456)):
        whole["times"].add(f"f{number}", mtime=mtime)
        whole["times"].link(f"l{number}", "x", mtime=mtime)
        whole["times"].folder(f"d{number}", mtime=mtime)
    linked = whole["link-with-its-own-facts"]
    linked.add("f", b"1", xattrs={"user.x": "1"})
    linked.link("s", "x", mtime=5)
    linked.add("f2", kind=tarfile.LNKTYPE, linkname="f", uid=9, mode=0o4711, mtime=99)
    linked.add("s2", kind=tarfile.LNKTYPE, linkname="s", uid=3, mtime=88)
    marks = whole["marks"]
    marks.add(".wh.gone", uid=7, gid=8)
    marks.add("d/.wh.gone")
    marks.add("o/.wh..wh..opq")
    marks.add("o/kept", b"1")
    marks.add("device", kind=tarfile.CHRTYPE)
    return {name: tar.bytes() for name, tar in whole.items()}


@pytest.mark.parametrize("name", odd_tars())
def test_a_tar_is_unpacked_as_docker_does_it(engine: Engine, name: str) -> None:
    tar = odd_tars()[name]
    layer, size = imported(engine, tar, name)
    target = engine.home / "imported" / name
    target.mkdir(parents=True)
    made = unpack(io.BytesIO(tar), target)
    assert _without_implied(facts(target), tar) == _without_implied(facts(layer), tar)
    assert made.size == int(size)


def _without_implied(found: dict[str, Fact], tar: bytes) -> dict[str, Fact]:
    """A directory that no member names has the time of its making; its owner and mode count."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as read:
        named = {member.name for member in read}
    return {path: fact if path in named else fact._replace(mtime_ns=None) for path, fact in found.items()}
