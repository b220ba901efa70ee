"""Tars that break a rule: an error that names the member and the rule, and nothing outside of the directory touched."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscope.errors import CommitError
from layerscope.formats.override_stat import OVERRIDE_STAT
from layerscope.formats.tar import stream as tarstream
from layerscope.hostfs.removal import remove_tree
from layerscope.lab.layer.unpack import Unpacked, unpack
from layerscope.lab.root.abilities import Abilities, DeviceForm, WhiteoutForm, abilities_in

# Without privilege everything but owners and devices is the same, and nothing needs root.
PLAIN = Abilities("user.overlay.", WhiteoutForm.NAME, False, DeviceForm.REFUSE, user_xattrs=False)


class Tar:
    """A tar in the making; values are those of ``tarfile``, and nothing in it is checked."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **facts: Any) -> Tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.size = len(content)
        xattrs = facts.pop("xattrs", {})
        member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
        for key, value in facts.items():
            setattr(member, key, value)
        self.data += member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self.data += content + bytes(-len(content) % 512)
        return self

    def folder(self, name: str, **facts: Any) -> Tar:
        return self.add(name + "/", kind=tarfile.DIRTYPE, **{"mode": 0o755, **facts})

    def link(self, name: str, target: str) -> Tar:
        return self.add(name, kind=tarfile.SYMTYPE, linkname=target)

    def hard(self, name: str, target: str) -> Tar:
        return self.add(name, kind=tarfile.LNKTYPE, linkname=target)

    def end(self) -> bytes:
        return self.data + bytes(1024)


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """An empty directory to unpack into, with a secret beside it."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def unpacked(tar: bytes, layer: Path, abilities: Abilities = PLAIN) -> Unpacked:
    try:
        return unpack(io.BytesIO(tar), layer, abilities)
    finally:
        assert sorted(os.listdir(layer.parent)) == ["layer", "secret"]
        assert (layer.parent / "secret").read_text() == "untouched"
        assert (layer.parent / "secret").stat().st_nlink == 1


REFUSED = {
    "parent": (Tar().add("../evil", b"x"), "../evil: a name with '..' in it"),
    "parent inside": (Tar().folder("a").add("a/../../evil", b"x"), "a/../../evil: a name with '..' in it"),
    "absolute": (Tar().add("/evil", b"x"), "/evil: an absolute name"),
    "link out, absolute": (Tar().link("out", "/nowhere/else").add("out/evil", b"x"), "leads to no directory"),
    "link out, relative": (Tar().link("out", "..").add("out/evil", b"x"), "out/evil: .*leads out of the layer"),
    "link out, deeper": (
        Tar().folder("a").link("a/out", "../../..").add("a/out/evil", b"x"),
        "a/out/evil: it lies behind the symlink a/out, which leads out of the layer",
    ),
    "link to a link out": (
        Tar().link("one", "two").link("two", "../..").add("one/evil", b"x"),
        "one/evil: it lies behind the symlink one, which leads out",
    ),
    "loop": (Tar().link("one", "two").link("two", "one").add("one/x", b"x"), "through more than 40 others"),
    "dangling": (Tar().link("one", "two").add("one/x", b"x"), "one/x: .*which leads to no directory of this layer"),
    "mark behind a link": (Tar().link("out", "..").add("out/.wh.secret"), "out/.wh.secret: .*leads out"),
    "opaque behind a link": (Tar().link("out", "..").add("out/.wh..wh..opq"), "opq: .*leads out"),
    "hard link out": (Tar().hard("evil", "../secret"), r"evil: a hard link to ../secret: a name with '..'"),
    "hard link, absolute": (Tar().hard("evil", "/etc/passwd"), "a hard link to /etc/passwd: an absolute name"),
    "hard link through a link": (
        Tar().link("out", "..").hard("evil", "out/secret"),
        "evil: a hard link to out/secret: it lies behind the symlink out, which leads out",
    ),
    "hard link to nothing": (Tar().hard("a", "b"), "a: a hard link to b, which is not in this layer"),
    "hard link into nothing": (Tar().hard("a", "b/c"), "a: a hard link to b/c, which is not in this layer"),
    "hard link to a directory": (Tar().folder("d").hard("a", "d"), "a: a hard link to d, which is a directory"),
    "hard link to the top": (Tar().hard("a", "."), "a hard link to ., which is not in this layer"),
    "hard link to itself": (Tar().hard("a", "a"), "a: a hard link to a, which is not in this layer"),
    "twice": (Tar().add("a", b"1").add("a", b"2"), "a: a second member of this path"),
    "twice, other spelling": (Tar().add("d/a", b"1").add("./d//a", b"2"), "./d//a: a second member"),
    "two ways to one place": (
        Tar().folder("d").link("s", "d").add("d/a", b"1").add("s/a", b"2"),
        "s/a: something is there already",
    ),
    "below a file": (Tar().add("f", b"x").add("f/g", b"y"), "f/g: f, above it, is no directory"),
    "below a mark": (Tar().add(".wh.f/g", b"y"), r".wh.f/g: .wh.\* is the name of a whiteout"),
    "a file over a directory": (Tar().add("d/x").add("d", b"x"), "d: something is there already"),
    "a directory over a file": (Tar().add("d").add("d/", kind=tarfile.DIRTYPE), "d/: a second member"),
    "the top as a file": (Tar().add("./", b""), "./: .*top directory"),
    "mark without a name": (Tar().add(".wh."), ".wh.: a whiteout of no name"),
    "mark of the directory": (Tar().add("d/.wh.."), "d/.wh..: a whiteout of no name"),
    "mark of the parent": (Tar().add("d/.wh..."), "d/.wh...: a whiteout of no name"),
    "mark with content": (Tar().add(".wh.a", b"x"), ".wh.a: a whiteout with content"),
    "aufs file with content": (Tar().add(".wh..wh.plnk/1", b"x"), "its content would be lost"),
    "device": (Tar().add("dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=3), "dev: a device node.*run as root"),
    "block device": (Tar().add("dev", kind=tarfile.BLKTYPE, devmajor=8), "dev: a device node.*run as root"),
    "device number": (Tar().add("dev", kind=tarfile.CHRTYPE, devmajor=4096), "dev: device number 4096:0"),
    "owner": (Tar().add("a", uid=2**32 - 1), "a: owner 4294967295:0, expected numbers up to 4294967294"),
    "group": (Tar().add("a", gid=-7, pax_headers={"gid": "-7"}), "a: owner 0:-7"),
    "owner of a mark": (Tar().add(".wh.a", uid=2**40), ".wh.a: owner 1099511627776:0"),
    "empty link": (Tar().link("a", ""), "cannot unpack a: "),
    "sparse": (Tar().add("s", kind=tarfile.GNUTYPE_SPARSE), "a GNU sparse file"),
    "pax sparse": (Tar().add("s", b"x" * 9, pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "99"}), "sparse"),
    "type": (Tar().add("c", kind=tarfile.CONTTYPE), "c: tar type '7' is none that a layer can hold"),
    "long name": (Tar().add("a/" * 2050 + "b"), "a name of 4101 bytes"),
    "long component": (Tar().add("a" * 300), "File name too long"),
    "no tar": (b"this is no tar at all, but it is long enough" * 30, "at byte 0: it is no tar"),
    "zeros and then a header": (bytes(512) + Tar().add("a").end(), "behind a block of zeros"),
    "unreadable size": (Tar().add("a").data.replace(b"00000000000\0", b"9999999999x\0"), "at byte 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_rule_is_named(case: str, layer: Path) -> None:
    tar, told = REFUSED[case]
    with pytest.raises(CommitError, match=told) as raised:
        unpacked(tar.end() if isinstance(tar, Tar) else tar, layer)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 900
    assert raised.value.exit_code == 4


def test_names_in_messages_are_escaped(layer: Path) -> None:
    with pytest.raises(CommitError) as raised:
        unpacked(Tar().add("../a\x1b[31m\n").end(), layer)
    assert "\x1b" not in str(raised.value)
    assert "\\x1b[31m\\n" in str(raised.value)


def test_the_directory_must_be_empty(layer: Path) -> None:
    (layer / "there").touch()
    with pytest.raises(CommitError, match="it is not empty"):
        unpacked(Tar().end(), layer)
    assert os.listdir(layer) == ["there"]


def test_a_symlink_is_no_directory_to_unpack_into(layer: Path, tmp_path: Path) -> None:
    layer.rmdir()
    layer.symlink_to(tmp_path)
    with pytest.raises(CommitError, match="cannot unpack into"):
        unpack(io.BytesIO(Tar().add("a").end()), layer, PLAIN)
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------- what looks odd and is right
def test_links_may_say_anything_as_long_as_nothing_goes_through_them(layer: Path) -> None:
    unpacked(Tar().link("a", "../../../../etc").link("b", "/etc/passwd").link("c", "c").end(), layer)
    assert os.readlink(layer / "a") == "../../../../etc"


@pytest.mark.parametrize("target", ["d", "/d", "x/../d", "./d/.", "/d/e/.."])
def test_a_link_within_the_layer_is_followed(layer: Path, target: str) -> None:
    """As docker does it in its chroot; so that an absolute target begins at the layer's top."""
    unpacked(Tar().folder("d").folder("d/e").folder("x").link("s", target).add("s/new/f", b"1").end(), layer)
    assert (layer / "d/new/f").read_bytes() == b"1"
    assert (layer / "s").is_symlink()


def test_a_directory_that_comes_after_its_members_gets_its_mode_and_time(layer: Path) -> None:
    unpacked(Tar().add("p/f", b"1").folder("p", mode=0o711, mtime=77).end(), layer)
    assert (layer / "p").stat().st_mode & 0o7777 == 0o711
    assert (layer / "p").stat().st_mtime == 77


def test_a_closed_directory_can_be_filled(layer: Path) -> None:
    made = unpacked(Tar().folder("p", mode=0, mtime=5).add("p/f", b"1", mode=0).end(), layer)
    assert (layer / "p").stat().st_mtime == 5
    assert made.side_record["p"].stat is not None
    assert made.side_record["p"].stat.permissions == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_and_its_name_leave_the_name(layer: Path, order: int) -> None:
    """Marks act on lower layers only, whatever the order; a directory is opaque then."""
    members: list[Callable[[Tar], object]] = [
        lambda tar: tar.add(".wh.f"),
        lambda tar: tar.add("f", b"new"),
    ]
    tar = Tar()
    for member in members[::order]:
        member(tar)
    unpacked(tar.end(), layer)
    names = {"f"} if order == 1 else {"f", ".wh.f"}
    assert {name for name in os.listdir(layer) if name == "f"} == {"f"} & names
    assert (layer / "f").read_bytes() == b"new"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_whiteout_of_a_directory_that_comes_again_makes_it_opaque(layer: Path, late: bool, named: bool) -> None:
    tar = Tar() if late else Tar().add(".wh.d")
    tar = (tar.folder("d") if named else tar).add("d/f", b"1")
    tar = tar.add(".wh.d") if late else tar
    unpacked(tar.end(), layer)
    assert (layer / "d/.wh..wh..opq").is_file()
    assert not (layer / ".wh.d").exists()


def test_an_opaque_mark_at_the_top_is_told(layer: Path) -> None:
    assert unpacked(Tar().add(".wh..wh..opq").add("a").end(), layer).hides_everything_below


def test_an_opaque_mark_counts_in_any_order(layer: Path) -> None:
    made = unpacked(Tar().add("d/a").add("d/.wh..wh..opq").add("e/.wh..wh..opq").end(), layer)
    assert (layer / "d/.wh..wh..opq").exists()
    assert (layer / "e/.wh..wh..opq").exists()
    assert not made.hides_everything_below


def test_what_aufs_kept_for_itself_is_left_out_and_told(layer: Path) -> None:
    made = unpacked(Tar().folder(".wh..wh.plnk").add(".wh..wh.aufs").add("a").end(), layer)
    assert os.listdir(layer) == ["a"]
    assert [problem.path for problem in made.problems] == [".wh..wh.plnk/", ".wh..wh.aufs"]


@pytest.mark.parametrize("key", ["user.overlay.opaque", "user.overlay.redirect", OVERRIDE_STAT])
def test_marks_come_from_names_alone(layer: Path, key: str) -> None:
    """An attribute in the tar would otherwise hide what lies below, or give a file another owner."""
    made = unpacked(Tar().folder("d", xattrs={key: "0:0:4755"}).end(), layer, Abilities("user.overlay.", owners=False))
    assert key in made.problems[0].what
    assert os.listxattr(layer / "d") in ([], [OVERRIDE_STAT])
    if os.listxattr(layer / "d"):
        assert os.getxattr(layer / "d", OVERRIDE_STAT) == b"0:0:0755:dir"


def test_the_top_stays_as_it_was_made(layer: Path) -> None:
    """docker passes its entry over."""
    layer.chmod(0o750)
    unpacked(Tar().add("./", kind=tarfile.DIRTYPE, mode=0o777, mtime=3).add("a").end(), layer)
    assert layer.stat().st_mode & 0o777 == 0o750
    assert layer.stat().st_mtime != 3


# ---------------------------------------------------------------------- compression and cut-off input
def contents() -> bytes:
    return Tar().folder("d").add("d/f", random.Random(1).randbytes(200_000)).add("e", b"x" * 9).end()


def two_frames(data: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    return pack(data[:1000]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + pack(data[1000:])


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("plain", bytes),
    "gzip": ("gzip", gzip.compress),
    "two gzip members": ("gzip", lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])),
    "zstd": ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress),
    "zstd frames": ("zstd", two_frames),
    "bzip2": ("bzip2", bz2.compress),
    "xz": ("xz", lzma.compress),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_compression_gives_the_same_layer(form: str, layer: Path, tmp_path: Path) -> None:
    said, compress = FORMS[form]
    made = unpacked(compress(contents()), layer)
    plain = tmp_path / "layer/plain"
    plain.mkdir()
    assert made.compression == said
    assert made.diff_id == unpack(io.BytesIO(contents()), plain, PLAIN).diff_id
    assert made.tar_bytes == len(contents())


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_compressed_tar_that_is_cut_off_is_damaged(form: str, part: float, layer: Path) -> None:
    whole = FORMS[form][1](contents())
    with pytest.raises(CommitError, match=r"ends after|damaged"):
        unpacked(whole[: int(len(whole) * part)], layer)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain"])
def test_what_follows_the_compressed_data_is_refused(form: str, layer: Path) -> None:
    with pytest.raises(CommitError, match=r"follows at byte|damaged"):
        unpacked(FORMS[form][1](contents()) + b"something else", layer)


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("plain", "zstd frames")])
def test_damaged_compressed_data_is_told(form: str, layer: Path) -> None:
    whole = bytearray(FORMS[form][1](contents()))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(40)
    with pytest.raises(CommitError, match="damaged"):
        unpacked(bytes(whole), layer)


def test_a_plain_tar_may_begin_like_a_compressed_one(layer: Path) -> None:
    assert unpacked(Tar().add("BZh", b"1").end(), layer).compression == "plain"
    remove_tree(layer)
    layer.mkdir()
    assert unpacked(Tar().add("\x1f\udc8b", b"1").end(), layer).compression == "plain"


@pytest.mark.parametrize("cut", [100, 512, 700, 1023, 1025, 150_000])
def test_a_plain_tar_that_is_cut_off_is_damaged(cut: int, layer: Path) -> None:
    whole = contents()
    if cut == 512:  # between two entries: nothing is missing that could be seen
        unpacked(whole[:cut], layer)
        return
    with pytest.raises(CommitError, match="the tar ends at byte"):
        unpacked(whole[:cut], layer)


def test_a_bomb_costs_no_memory_and_ends_where_the_tar_says(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros behind the end, a hundred times what is read of them at most."""
    monkeypatch.setattr(tarstream, "MAX_REST", 1 << 20)
    for compress in (gzip.compress, zstandard.ZstdCompressor().compress):
        with pytest.raises(CommitError, match="behind the end of the tar"):
            unpacked(compress(Tar().end() + bytes(100 << 20)), layer)


def test_more_than_the_disk_has_is_refused_before_it_is_written(layer: Path) -> None:
    member = tarfile.TarInfo("big")
    member.size = 1 << 50
    with pytest.raises(CommitError, match=r"big: it has 1125899906842624 bytes, but only \d+ are free"):
        unpacked(member.tobuf(tarfile.PAX_FORMAT), layer)


def test_endless_headers_are_refused(layer: Path) -> None:
    extension = tarfile.TarInfo("x")
    extension.type = tarfile.XHDTYPE
    extension.size = 1 << 20
    body = b"1048576 comment=" + b"x" * (1048576 - 17) + b"\n"
    one = extension.tobuf(tarfile.USTAR_FORMAT) + body
    with pytest.raises(CommitError, match="bytes of headers"):
        unpacked(one * 9, layer)
    extension.size += 1
    with pytest.raises(CommitError, match="extension header of a size over"):
        unpacked(extension.tobuf(tarfile.USTAR_FORMAT) + body, layer)


NAMES = st.sampled_from(
    ["a", "b", "a/b", "b/a", "a/b/a", "..", "a/..", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "/a", "./b"]
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"7", b"g"]
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, KINDS, st.sampled_from(["a", "b/a", "..", "/", "../../x", "/etc"])), max_size=8))
def test_no_tar_reaches_outside_or_fails_otherwise(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    tar = Tar()
    for name, kind, target in members:
        tar.add(name, b"x" if kind == tarfile.REGTYPE and ".wh." not in name else b"", kind, linkname=target)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        (Path(folder) / "secret").write_text("untouched")
        (Path(folder) / "layer").mkdir()
        try:
            unpacked(tar.end(), Path(folder) / "layer")
        except CommitError:
            pass


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_fail_only_with_our_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(contents(), 0)[10:][:4000] if data.draw(st.booleans()) else contents()[:4000])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        try:
            unpack(io.BytesIO(bytes(whole)), Path(folder), PLAIN)
        except CommitError:
            pass


# ---------------------------------------------------------------------- privilege
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="privilege can only be given up by root")
def test_a_device_needs_privilege(nobody: Callable[[], AbstractContextManager[None]]) -> None:
    tar = Tar().folder("d").add("d/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3).end()
    with _home_of_nobody() as home, nobody():
        (home / "layer").mkdir()
        abilities = abilities_in(home)
        with pytest.raises(CommitError, match="d/null: a device node, which this user may not make here"):
            unpack(io.BytesIO(tar), home / "layer", abilities)


class _home_of_nobody:
    def __enter__(self) -> Path:
        self._home = Path(tempfile.mkdtemp(dir="/var/tmp"))
        os.chown(self._home, 65534, 65534)
        return self._home

    def __exit__(self, *_: object) -> None:
        remove_tree(self._home)


def deep(levels: int) -> Iterator[bytes]:
    name = ""
    for _ in range(levels):
        name += "d/"
        yield Tar().add(name, kind=tarfile.DIRTYPE, mode=0o755).data


def test_depth_costs_no_recursion(layer: Path) -> None:
    """As deep as a name can say it; and it can be taken away again."""
    unpacked(b"".join(deep(2000)) + bytes(1024), layer)
    depth, here = 0, os.open(layer, os.O_RDONLY)
    while names := os.listdir(here):
        below = os.open(names[0], os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        depth += 1
    os.close(here)
    assert depth == 2000
    remove_tree(layer)
    assert not layer.exists()
    layer.mkdir()


def test_no_descriptor_is_left_open(layer: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    unpacked(b"".join(deep(200)) + Tar().link("s", "d/d").add("s/f").end(), layer)
    assert len(os.listdir("/proc/self/fd")) == before
    remove_tree(layer)
    layer.mkdir()
    with pytest.raises(CommitError):
        unpacked(b"".join(deep(200)) + Tar().link("s", "d/../..").add("s/f").end(), layer)
    assert len(os.listdir("/proc/self/fd")) == before
