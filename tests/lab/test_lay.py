"""A layer laid straight from an upper directory is the one that is unpacked from its tar, by one process or by two."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread

import pytest

from layerscope.formats.engine_rules import rules_of
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer.lay import lay
from layerscope.lab.layer.pack import LayerTar
from layerscope.lab.layer.unpack import Unpacked, unpack_into
from layerscope.lab.layer.upper import CommitRules
from layerscope.lab.layer.writer import LayerWriter
from layerscope.lab.layer.writing_process import layer_writer
from layerscope.lab.root.abilities import ROOT

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="sets owners, devices and trusted attributes"),
]


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    top = tmp_path / "upper"
    for folder in ("d/deep/er", "opaque", "sticky", "n" * 120):
        (top / folder).mkdir(parents=True)
    os.setxattr(top / "opaque", "trusted.overlay.opaque", b"y")
    (top / "sticky").chmod(0o3777)
    for name, data in {"d/f": b"text", "d/empty": b"", "d/ü\udcff": b"x" * 600, "opaque/new": b"n" * 512}.items():
        (top / name).write_bytes(data)
    (top / "d/large").write_bytes(os.urandom(3 << 20))
    (top / ("n" * 120) / ("m" * 120)).write_bytes(b"far")
    os.chown(top / "d/f", 70_000, 3_000_000_000)
    (top / "d/f").chmod(0o4751)
    os.link(top / "d/f", top / "d/second")
    os.symlink("nowhere/" + "t" * 150, top / "link")
    os.lchown(top / "link", 5, 6)
    os.mkfifo(top / "pipe")
    os.mknod(top / "d/gone", modes.S_IFCHR, 0)
    os.link(top / "d/gone", top / "gone-too")
    os.mknod(top / "null", modes.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(top / "d/large", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(top / "d/empty", "user.comment", b"left out")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(top, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    os.utime(top / "d/f", ns=(10**18 + 5, 10**18 + 999_999_999))
    os.utime(top / "d/empty", (-5, -5))
    return top


def facts(top: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for folder, names, files in os.walk(top):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            keys = os.listxattr(path, follow_symlinks=False)
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in keys}
            owner = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev, stat.st_nlink)
            found[os.path.relpath(path, top)] = (*owner, stat.st_mtime_ns, xattrs, os.path.islink(path))
    return found


@contextmanager
def several_threads() -> Iterator[None]:
    """As in a program with a screen: this process can't be forked meanwhile."""
    ended = Event()
    other = Thread(target=ended.wait)
    other.start()
    try:
        yield
    finally:
        ended.set()
        other.join()


def made(upper: Path, target: Path, engine: str, how: str) -> tuple[Unpacked, bytes]:
    target.mkdir()
    rules = rules_of(engine)
    tar = LayerTar(Directory.open_root(upper), CommitRules(rules))
    out = io.BytesIO()
    record = TarSplitWriter(out, empty_last_segment=rules.empty_last_segment, short_escapes=rules.short_escapes)
    top = os.open(target, os.O_RDONLY)
    try:
        with several_threads() if "thread" in how else nullcontext(), layer_writer(top, ROOT) as writer:
            assert isinstance(writer, LayerWriter) is ("thread" in how)
            unpacked = unpack_into(tar.open(), writer, record) if "tar" in how else lay(tar, writer, record)
    finally:
        os.close(top)
    return unpacked, gzip.decompress(out.getvalue())


@pytest.mark.parametrize("engine", ["20.10", "23", "24"])
@pytest.mark.parametrize("how", ["straight", "straight, with threads", "tar"])
def test_however_it_is_laid_it_is_as_unpacked_from_the_tar_in_one_process(
    upper: Path, tmp_path: Path, engine: str, how: str
) -> None:
    laid, record = made(upper, tmp_path / "laid", engine, how)
    expected, expected_record = made(upper, tmp_path / "unpacked", engine, "tar, with threads")
    assert facts(tmp_path / "laid") == facts(tmp_path / "unpacked")
    for path, (mode, *_) in facts(tmp_path / "laid").items():
        if modes.S_ISREG(int(str(mode))):
            assert (tmp_path / "laid" / path).read_bytes() == (tmp_path / "unpacked" / path).read_bytes()
    assert record == expected_record
    assert laid == expected
    assert laid.side_record == {}
