"""What can't be in a layer, what is left out of one, and uppers that change or lie while they are packed."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from layerscope.errors import CommitError, PermissionDenied
from layerscope.formats.engine_rules import rules_of
from layerscope.formats.override_stat import OVERRIDE_STAT, OVERRIDE_XATTR, OverrideStat, SideEntry
from layerscope.formats.whiteout import Dialect
from layerscope.hostfs import Directory, short_files
from layerscope.lab.layer.pack import LayerTar, Packed, pack
from layerscope.lab.layer.unpack import unpack
from layerscope.lab.layer.upper import CommitRules, docker_capability
from layerscope.lab.root.abilities import Abilities

RULES = CommitRules(rules_of("24"))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and privilege to give up need root")


def packed(upper: Path, rules: CommitRules = RULES) -> tuple[Packed, dict[str, tarfile.TarInfo]]:
    top, out = Directory.open_root(upper), io.BytesIO()
    try:
        made = pack(top, rules, out.write)
    finally:
        top.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return made, {member.name: member for member in tar}


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper/d").mkdir(parents=True)
    (tmp_path / "upper/d/f").write_bytes(b"abc")
    return tmp_path / "upper"


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", ".wh."])
@pytest.mark.parametrize("kind", ["file", "empty file", "directory", "link", "fifo"])
def test_the_name_of_a_mark_is_refused(upper: Path, name: str, kind: str) -> None:
    """docker commits it, and the new image has the other file deleted."""
    path = upper / "d" / name
    make: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_bytes(b"x"),
        "empty file": path.touch,
        "directory": path.mkdir,
        "link": lambda: path.symlink_to("x"),
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(CommitError, match=rf"cannot pack d/{name}: in a layer this name is a whiteout"):
        packed(upper)


def test_a_socket_is_left_out_and_told(upper: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(upper / "d", os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/s")
        os.close(folder)
    made, members = packed(upper)
    assert set(members) == {"d", "d/f"}
    assert [(problem.path, problem.what) for problem in made.problems] == [("d/s", "a socket")]
    assert made.size == 3


def test_an_empty_upper_is_no_layer(tmp_path: Path) -> None:
    made, members = packed(tmp_path)
    assert made.members == made.size == len(members) == 0
    assert made.diff_id == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


@pytest.fixture
def changing(upper: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Have ``d/f`` change to some content between the look at it and its reading."""
    read, opened = short_files._read, Directory.open

    def change_to(content: bytes) -> None:
        def read_late(path: str, size: int, key: str) -> tuple[bytes, bytes | None]:
            (upper / "d/f").write_bytes(content)
            return read(path, size, key)

        def open_late(directory: Directory, name: str) -> BinaryIO:
            (upper / "d/f").write_bytes(content)
            return opened(directory, name)

        monkeypatch.setattr(short_files, "_read", read_late)
        monkeypatch.setattr(Directory, "open", open_late)

    return change_to


@pytest.mark.parametrize("length", [3, 100_000])
@pytest.mark.parametrize("change", [-3, -1, 1])
def test_a_file_that_changes_meanwhile_is_no_layer(
    upper: Path, changing: Callable[[bytes], None], length: int, change: int
) -> None:
    (upper / "d/f").write_bytes(bytes(length))
    changing(bytes(length + change))
    with pytest.raises(CommitError, match="cannot pack d/f: its size changed while it was read"):
        packed(upper)


class Vanishing(Directory):
    """A directory that lists a name that isn't there."""

    def scan(self) -> list[tuple[str, str]]:  # type: ignore[override]
        return [*super().scan(), ("gone", "f")]


def test_an_entry_that_goes_away_is_no_layer(upper: Path) -> None:
    top = Vanishing.open_root(upper)
    with pytest.raises(CommitError, match="cannot pack gone: it went away"):
        pack(top, RULES)
    top.close()


@pytest.mark.root
@needs_root
def test_what_may_not_be_read_is_told(upper: Path, nobody: Callable[[], AbstractContextManager[None]]) -> None:
    top = Directory.open_root(upper)
    (upper / "d/f").chmod(0)
    upper.chmod(0o755)
    with nobody(), pytest.raises(PermissionDenied, match="cannot pack d/f: permission denied"):
        pack(top, RULES)
    top.close()


@pytest.mark.root
@needs_root
def test_marks_of_the_other_prefix_are_files(upper: Path) -> None:
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    (upper / "d/w").touch()
    os.setxattr(upper / "d/w", "user.overlay.whiteout", b"y")
    os.setxattr(upper / "d/f", OVERRIDE_STAT, b"7:7:4755:file")
    _, members = packed(upper)
    assert set(members) == {"d", "d/f", "d/w"}
    assert members["d/f"].uid == os.geteuid()
    users = replace(RULES, dialect=Dialect("user.overlay.", xattrs=True), overrides=True)
    _, members = packed(upper, users)
    assert set(members) == {"d", "d/.wh..wh..opq", "d/f", "d/.wh.w"}
    assert (members["d/f"].uid, members["d/f"].mode) == (7, 0o4755)


OVERRIDES = {
    "fifo": (b"1:2:0640:pipe", (tarfile.FIFOTYPE, 1, 2, 0o640, 0, 0)),
    "device": (b"1:2:0640:char-1-3", (tarfile.CHRTYPE, 1, 2, 0o640, 1, 3)),
    "block device": (b"0:0:600:block:8:1", (tarfile.BLKTYPE, 0, 0, 0o600, 8, 1)),
    "no type": (b"5:6:4711", (tarfile.REGTYPE, 5, 6, 0o4711, 0, 0)),
    "own type": (b"5:6:1777:file", (tarfile.REGTYPE, 5, 6, 0o1777, 0, 0)),
}


@pytest.mark.parametrize("case", OVERRIDES)
@pytest.mark.parametrize("beside", [False, True])
def test_the_override_counts_where_it_is_asked_for(upper: Path, case: str, beside: bool) -> None:
    value, expected = OVERRIDES[case]
    (upper / "e").touch()
    rules = replace(RULES, overrides=True)
    if beside:
        kinds = {tarfile.FIFOTYPE: 0o010000, tarfile.CHRTYPE: 0o020000, tarfile.BLKTYPE: 0o060000}
        kind, uid, gid, mode, major, minor = expected
        stat = OverrideStat(uid, gid, mode, kinds.get(kind, 0), major, minor)
        rules = replace(rules, side_record={"e": SideEntry(stat)})
    else:
        os.setxattr(upper / "e", OVERRIDE_STAT, value)
    member = packed(upper, rules)[1]["e"]
    found = (member.type, member.uid, member.gid, member.mode, member.devmajor, member.devminor)
    assert found == expected
    _, plain = packed(upper)
    assert plain["e"].type == tarfile.REGTYPE


def test_an_override_of_a_file_with_content_has_no_other_type(upper: Path) -> None:
    os.setxattr(upper / "d/f", OVERRIDE_STAT, b"1:1:0600:char-1-3")
    member = packed(upper, replace(RULES, overrides=True))[1]["d/f"]
    assert (member.type, member.size, member.uid) == (tarfile.REGTYPE, 3, 1)


def test_a_kept_capability_is_in_the_tar(upper: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(upper / "d/f", OVERRIDE_XATTR + "security.capability", capability)
    member = packed(upper, replace(RULES, overrides=True))[1]["d/f"]
    found = member.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert found == capability
    assert packed(upper)[1]["d/f"].pax_headers == {}


@pytest.mark.parametrize(
    "value", [b"", b"x", b"1:2", b"1:2:9", b"99999999999:1:644", b"1:1:644:char-1", b"1:2:644:odd"]
)
def test_a_damaged_override_is_told(upper: Path, value: bytes) -> None:
    os.setxattr(upper / "d/f", OVERRIDE_STAT, value)
    with pytest.raises(CommitError, match=r"cannot pack d/f: user.containers.override_stat: .*expected UID|too large"):
        packed(upper, replace(RULES, overrides=True))


@pytest.mark.parametrize("value", [b"", b"abc", b"\1\0\0\2" + bytes(16), b"\1\0\0\1" + bytes(8)])
def test_other_capabilities_stay_as_they_are(value: bytes) -> None:
    assert docker_capability(value) == value


def test_what_fails_while_it_is_packed_is_told_by_what_unpacks(
    upper: Path, tmp_path: Path, changing: Callable[[bytes], None]
) -> None:
    """In one pass the error is that of the file that was read, not of the one that was being made."""
    changing(b"ab")
    top = Directory.open_root(upper)
    (tmp_path / "layer").mkdir()
    with pytest.raises(CommitError, match=r"^cannot pack d/f: its size changed"):
        unpack(LayerTar(top, RULES).open(), tmp_path / "layer", Abilities("user.overlay.", owners=False))
    top.close()
