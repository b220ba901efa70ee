"""Each single change to a layer, made in a copy of a sample by the kernel's own calls: found, and named."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import stat as modes
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerscope.model.verdict import Verdict
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="devices, owners and trusted.* marks can't be changed without root"),
]
BASE = "210cb665d3925aae6d823501529bd42bb1e8eb1588cf4b93e1c542b7d4447265"
SECOND = "2ce8cf7bd7ba9e22235fd151ee4e69c72f3aa61bc7b4f7811dba82af9492138d"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def layerdb(root: Path) -> Path:
    return root / "image/overlay2/layerdb/sha256"


def files_of(root: Path, chain: str) -> Path:
    return root / "overlay2" / (layerdb(root) / chain / "cache-id").read_text() / "diff"


def quietly(path: Path, change: Callable[[Path], object]) -> None:
    """Change what is at a path and set the times of its directory back, as one who hides would."""
    before = path.parent.stat()
    change(path)
    os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def keeping_time(path: Path, change: Callable[[Path], object]) -> None:
    before = path.lstat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def made_again(path: Path, make: Callable[[Path], object]) -> None:
    """Something else in the place of an entry, with the old one's owner, mode and time."""
    before = path.lstat()
    path.unlink()
    make(path)
    os.lchown(path, before.st_uid, before.st_gid)
    if not path.is_symlink():
        path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def edit_record(path: Path, change: Callable[[dict[str, Any]], bool]) -> None:
    """Change the first line of a tar-split record for which ``change`` says so."""
    lines = gzip.decompress(path.read_bytes()).splitlines()
    for number, text in enumerate(lines):
        line = json.loads(text)
        if change(line):
            lines[number] = json.dumps(line, separators=(",", ":")).encode()
            path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
            return
    raise AssertionError("no line was changed")


def header_byte(line: dict[str, Any]) -> bool:
    """The owner of the file etc/motd in the segment that has its header."""
    raw = bytearray(base64.b64decode(line.get("payload") or "")) if line["type"] == 2 else bytearray()
    place = raw.find(b"./etc/motd\0")
    if place < 0:
        return False
    raw[place + 108 + 6] ^= 1
    line["payload"] = base64.b64encode(raw).decode()
    return True


def checksum_value(line: dict[str, Any]) -> bool:
    if line.get("name") != "./etc/motd":
        return False
    line["payload"] = base64.b64encode(bytes(8)).decode()
    return True


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1] ^= 1
    path.write_bytes(data)


def whiteout(path: Path) -> None:
    os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))


def own_copy(path: Path) -> None:
    data = path.read_bytes()
    made_again(path, lambda place: place.write_bytes(data))


class Change(NamedTuple):
    """One change; ``seen``: by the digest alone, without ``--deep``."""

    chain: str
    path: str
    subject: str
    seen: bool
    make: Callable[[Path], object]


def content(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: keeping_time(path, change)


def attribute(key: str, value: bytes) -> Callable[[Path], object]:
    return lambda path: os.setxattr(path, key, value)


CHANGES = {
    "byte of a file": Change(BASE, "data/a.txt", "content", True, content(flip)),
    "length of a file": Change(BASE, "data/a.txt", "length", True, content(lambda path: os.truncate(path, 24))),
    "file with data removed": Change(BASE, "data/a.txt", "file", True, Path.unlink),
    "empty file removed": Change(BASE, "data/empty", "entry", False, Path.unlink),
    "directory removed": Change(BASE, "sticky", "entry", False, Path.rmdir),
    "link removed": Change(BASE, "data/dangling", "entry", False, Path.unlink),
    "whiteout removed": Change(SECOND, "data/b.txt", "entry", False, Path.unlink),
    "file added": Change(BASE, "data/extra", "added", False, lambda path: path.write_text("x")),
    "directory added": Change(BASE, "data/extra", "added", False, Path.mkdir),
    "whiteout added": Change(SECOND, "data/c.txt", "added", False, whiteout),
    "mode": Change(BASE, "data/a.txt", "mode", False, lambda path: path.chmod(0o4755)),
    "owner": Change(BASE, "data/a.txt", "owner", False, lambda path: os.chown(path, 0, 7)),
    "time": Change(BASE, "data/a.txt", "time", False, lambda path: os.utime(path, (0, 1_704_164_646))),
    "symlink target": Change(
        BASE, "data/link", "symlink target", False, lambda path: made_again(path, lambda p: p.symlink_to("b.txt"))
    ),
    "file type": Change(BASE, "data/empty", "type", False, lambda path: made_again(path, os.mkfifo)),
    "capability": Change(
        BASE, "bin/tl", "attribute security.capability", False, attribute("security.capability", CAPABILITY)
    ),
    "capability taken away": Change(
        BASE,
        "bin/tlcap",
        "attribute security.capability",
        False,
        lambda path: os.removexattr(path, "security.capability"),
    ),
    "other attribute": Change(BASE, "data/a.txt", "attribute user.note", False, attribute("user.note", b"x")),
    "opaque flag added": Change(SECOND, "data", "opaque flag", False, attribute("trusted.overlay.opaque", b"y")),
    "opaque flag removed": Change(
        SECOND, "opt/old", "opaque flag", False, lambda path: os.removexattr(path, "trusted.overlay.opaque")
    ),
    "hard link broken": Change(BASE, "data/hard2", "link", False, own_copy),
    "later name made a symlink": Change(
        BASE, "data/hard2", "type", False, lambda path: made_again(path, lambda p: p.symlink_to("hard1"))
    ),
}


@pytest.fixture
def copy(overlay2_root: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(overlay2_root), str(tmp_path / "root")], check=True)
    return tmp_path / "root"


def verdicts(root: Path, deep: bool) -> dict[str, Verdict]:
    """Verdicts by chain ID, without ``sha256:``."""
    with open_root(root) as session:
        return {str(one.chain_id).removeprefix("sha256:"): one for one in verify(session, deep=deep)}


def assert_found(root: Path, chain: str, path: str, subject: str, seen: bool) -> None:
    deep, plain = verdicts(root, True), verdicts(root, False)
    assert {(one.path, one.subject) for one in deep[chain].findings} == {(f"/{path}", subject)}
    assert [name for name, verdict in deep.items() if verdict.ok is not True] == [chain]
    finding = deep[chain].findings[0]
    assert finding.recorded and finding.found and finding.recorded != finding.found
    assert (plain[chain].ok is False) == seen


@pytest.mark.parametrize("name", CHANGES)
def test_a_single_change_is_found_and_named(copy: Path, name: str) -> None:
    change = CHANGES[name]
    quietly(files_of(copy, change.chain) / change.path, change.make)
    assert_found(copy, change.chain, change.path, change.subject, change.seen)


def test_a_checksum_changed_in_the_record_alone_is_found(copy: Path) -> None:
    edit_record(layerdb(copy) / BASE / "tar-split.json.gz", checksum_value)
    assert_found(copy, BASE, "etc/motd", "checksum", False)


def test_a_header_byte_changed_in_the_record_is_found(copy: Path) -> None:
    edit_record(layerdb(copy) / BASE / "tar-split.json.gz", header_byte)
    place = f"image/overlay2/layerdb/sha256/{BASE}/tar-split.json.gz"
    assert [one.path for one in verdicts(copy, False)[BASE].findings] == [place]
    # The header's own checksum names the entry.
    found = {(one.path, one.subject) for one in verdicts(copy, True)[BASE].findings}
    assert found == {(place, "record"), ("/etc/motd", "header")}


# ---------------------------------------------------------------------- devices: no sample of overlay2 has one
@pytest.fixture
def with_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    from layerscope.cli.main import run

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("null")
        member.type, member.devmajor, member.devminor, member.mtime = tarfile.CHRTYPE, 1, 3, 1_704_164_645
        tar.addfile(member)
    (tmp_path / "layer.tar").write_bytes(out.getvalue())
    root = tmp_path / "lab"
    assert run(["lab", "new", str(root), "--empty"]) == 0
    assert run(["import", str(tmp_path / "layer.tar"), "x:1", "--root", str(root)]) == 0
    return root


@pytest.mark.parametrize("name", ["device removed", "device number"])
def test_a_changed_device_is_found(with_device: Path, name: str) -> None:
    (chain,) = os.listdir(layerdb(with_device))
    assert verdicts(with_device, True)[chain].ok is True
    device = files_of(with_device, chain) / "null"
    if name == "device removed":
        quietly(device, Path.unlink)
    else:
        made_again(device, lambda path: os.mknod(path, modes.S_IFCHR | 0o644, os.makedev(1, 5)))
    assert_found(with_device, chain, "null", "entry" if name == "device removed" else name, False)


def test_there_are_as_many_changes_as_the_checks_were_made_for() -> None:
    """22 of files, of which a capability has two; a checksum, a header; two of devices."""
    assert len(CHANGES) - 1 + 2 + 2 == 25
