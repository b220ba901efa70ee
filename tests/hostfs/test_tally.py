"""The tally of one directory, compiled and in Python, against ``find`` on the same directory."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat as modes
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from ledger_facts import du
from sample_roots import copied

from layerscope.analysis.measuring import processes as measuring_processes
from layerscope.hostfs import measure
from layerscope.hostfs.tally import Tally, stamps_in_python, tallies_in_python

Tallying = Callable[[int, list[str], int, bool, bool], list[Tally]]
Stamping = Callable[[int, int, str], "bytes | None"]


@pytest.fixture(params=["compiled", "in Python"])
def tally(request: pytest.FixtureRequest) -> Tallying:
    """Each of both."""
    if request.param == "in Python":
        return tallies_in_python
    compiled: Any = pytest.importorskip("layerscope.hostfs._tally", reason="_tally.c was not compiled here")
    found: Tallying = compiled.tally
    return found


@pytest.fixture(params=["compiled", "in Python"])
def stamps(request: pytest.FixtureRequest) -> Stamping:
    """Each of both."""
    if request.param == "in Python":
        return stamps_in_python
    compiled: Any = pytest.importorskip("layerscope.hostfs._tally", reason="_tally.c was not compiled here")
    found: Stamping = compiled.stamps
    return found


class Found(NamedTuple):
    """What find tells of one entry; ``changed`` in ns."""

    kind: str
    inode: int
    device: int
    names: int
    size: int
    blocks: int
    changed: int
    mode: int


def found_in(folder: Path) -> dict[str, Found]:
    """The entries of a directory, by name."""
    form = r"%y %i %D %n %s %b %C@ %m %f\0"
    command = ["find", str(folder), "-mindepth", "1", "-maxdepth", "1", "-printf", form]
    done = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    entries = {}
    for line in filter(None, done.stdout.split(b"\0")):
        kind, inode, device, names, size, blocks, changed, mode, name = line.split(b" ", 8)
        seconds, _, fraction = changed.decode().partition(".")
        nanoseconds = int(seconds) * 10**9 + int(fraction[:9])
        numbers = (int(inode), int(device), int(names), int(size), int(blocks), nanoseconds, int(mode, 8))
        entries[os.fsdecode(name)] = Found(kind.decode(), *numbers)
    return entries


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tallied(tally: Tallying, folder: Path, marked: bool = True, crosses: bool = False) -> Tally:
    """The tally of a directory, without its descriptor."""
    with opened(folder.parent) as parent:
        ((fd, *more),) = tally(parent, [folder.name], folder.stat().st_dev, crosses, marked)
    if fd >= 0:
        assert os.path.samestat(os.fstat(fd), folder.stat())
        os.close(fd)
    assert (fd >= 0) == bool(more[2] or more[4])
    return (-1, *more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every kind of entry that a user may make, names of every kind, and more of them than one batch holds."""
    top = tmp_path / "folder"
    top.mkdir()
    for number in range(1500):
        (top / f"file-{number:04}").write_bytes(b"x" * (number * 7 % 9000))
    for name in ("sub", "sub2", " ", "...", "n\new\tline", "ü", "x" * 255, os.fsdecode(b"\xff\xfe")):
        (top / f"{name}"[:250]).mkdir()
        (top / f"{name}"[:250] / "inside").write_bytes(b"inside")
    (top / os.fsdecode(b"caf\xe9")).write_bytes(b"not UTF-8")
    (top / "to nowhere").symlink_to("/no/such/place")
    (top / "to a file").symlink_to("file-0001")
    (top / "to a folder").symlink_to("sub")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(".", os.O_RDONLY)
        os.chdir(top)
        try:
            bound.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
    (top / "one of two").write_bytes(b"linked" * 1000)
    os.link(top / "one of two", top / "two of two")
    os.link(top / "one of two", top / "sub/three of two")
    os.link(top / "to nowhere", top / "to nowhere too", follow_symlinks=False)
    (top / "empty").touch()
    os.link(top / "empty", top / "empty too")
    with (top / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    return top


def expect(tally: Tally, entries: dict[str, Found], device: int) -> None:
    """Hold a tally of marked directories against find."""
    apart = {
        name: one
        for name, one in entries.items()
        if one.device != device or (one.kind != "d" and one.names > 1 and (one.size or one.blocks))
    }
    counted = {name: one for name, one in entries.items() if name not in apart}
    folders = {name: one for name, one in counted.items() if one.kind == "d"}
    assert tally[2] == (
        len(counted),
        sum(one.blocks for one in counted.values()),
        sum(one.size for one in counted.values()),
        sum(one.size for one in folders.values()),
        sum(one.size for one in counted.values() if one.kind == "l"),
        0,
    )
    names, stamps, looked_at, failed = tally[3:]
    assert failed == 0
    assert sorted(names) == sorted(folders)
    told = dict(zip(names, struct.iter_unpack("=QQ", stamps), strict=True))
    assert told == {name: (one.inode, one.changed % (1 << 64)) for name, one in folders.items()}
    assert sorted((name, modes.S_IMODE(mode), *rest) for name, mode, *rest in looked_at) == sorted(
        (name, one.mode, one.inode, one.device, one.names, one.size, one.blocks, one.changed % (1 << 64))
        for name, one in apart.items()
    )
    types = {"f": modes.S_IFREG, "d": modes.S_IFDIR, "l": modes.S_IFLNK}
    assert {name: modes.S_IFMT(mode) for name, mode, *_ in looked_at} == {
        name: types[one.kind] for name, one in apart.items()
    }


def test_a_directory_with_everything(tally: Tallying, folder: Path) -> None:
    entries = found_in(folder)
    assert len(entries) > 1500 and {"f", "d", "l", "p", "s"} <= {one.kind for one in entries.values()}
    expect(tallied(tally, folder), entries, folder.stat().st_dev)


def test_stamps_are_told_where_they_are_asked_for(tally: Tallying, folder: Path) -> None:
    with_stamps, without = tallied(tally, folder), tallied(tally, folder, marked=False)
    assert len(with_stamps[4]) == 16 * len(with_stamps[3]) > 0
    assert without == (*with_stamps[:4], b"", *with_stamps[5:])


def test_an_empty_directory(tally: Tallying, tmp_path: Path) -> None:
    assert tallied(tally, tmp_path) == (-1, tmp_path.stat().st_dev, (0, 0, 0, 0, 0, 0), [], b"", [], 0)


def test_several_directories_at_once(tally: Tallying, folder: Path) -> None:
    for number in range(30):
        (folder / f"{number}").mkdir()
        for more in range(number % 5):
            (folder / f"{number}" / f"folder-{more}").mkdir()
            (folder / f"{number}" / f"file-{more}").write_bytes(b"x" * number)
    names = [f"{number}" for number in range(30)]
    device = folder.stat().st_dev
    with opened(folder) as parent:
        found = tally(parent, [*names, "file-0001", "no such name"], device, False, True)
    assert [one[-1] for one in found[-2:]] == [errno.ENOTDIR, errno.ENOENT]
    for name, (fd, *more) in zip(names, found[:-2], strict=True):
        expect((-1, *more), found_in(folder / name), device)
        if fd >= 0:
            assert os.path.samestat(os.fstat(fd), (folder / name).stat())
            os.close(fd)


def test_a_symlink_is_not_followed(tally: Tallying, folder: Path) -> None:
    with opened(folder) as parent:
        ((fd, *_, failed),) = tally(parent, ["to a folder"], folder.stat().st_dev, False, True)
    assert (fd, failed) == (-1, errno.ENOTDIR)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root")
def test_whiteouts_devices_and_other_file_systems(tally: Tallying, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    os.mknod(tmp_path / "whiteout", modes.S_IFCHR, os.makedev(0, 0))
    os.link(tmp_path / "whiteout", tmp_path / "whiteout too")
    os.mknod(tmp_path / "block", modes.S_IFBLK | 0o600, os.makedev(7, 200))
    (tmp_path / "other").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "other")], check=True)
    try:
        entries = found_in(tmp_path)
        assert entries["other"].device != entries["plain"].device
        expect(tallied(tally, tmp_path), entries, tmp_path.stat().st_dev)
        (tmp_path / "other/inside").write_bytes(b"inside")
        with opened(tmp_path) as parent:
            for crosses, count in ((False, 0), (True, 1)):
                ((fd, device, sums, *_),) = tally(parent, ["other"], tmp_path.stat().st_dev, crosses, True)
                assert device == (entries["other"] if crosses else entries["plain"]).device
                assert sums[0] == count
                if fd >= 0:
                    os.close(fd)
    finally:
        subprocess.run(["umount", str(tmp_path / "other")], check=True)


def test_what_can_not_be_read_is_told(tally: Tallying, tmp_path: Path) -> None:
    assert tally(1_000_000, ["file"], 0, False, False)[0][-1] == errno.EBADF
    with opened(tmp_path) as parent:
        assert tally(parent, ["x" * 256], 0, False, False)[0][-1] == errno.ENAMETOOLONG
        assert tally(parent, [], 0, False, False) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_a_directory_that_may_be_listed_only(tally: Tallying, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"file")
    with opened(tmp_path) as parent:
        device = os.fstat(parent).st_dev
        tmp_path.chmod(0o711)
        for mode, told in ((0o744, errno.EACCES), (0o711, errno.EACCES), (0o755, 0)):
            folder.chmod(mode)
            os.seteuid(65534)
            try:
                (found,) = tally(parent, ["folder"], device, False, True)
            finally:
                os.seteuid(0)
            assert found[-1] == told
            assert found[2][0] == (not told)


def test_a_signal_ends_it(tally: Tallying, tmp_path: Path) -> None:
    """Ctrl-C in a directory of very many names must not wait for the last of them."""
    for number in range(120_000):
        os.close(os.open(tmp_path / f"{number}", os.O_CREAT | os.O_WRONLY))

    class Ended(Exception):
        pass

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGALRM, end)
    try:
        with opened(tmp_path.parent) as parent, pytest.raises(Ended):
            descriptors = len(os.listdir("/proc/self/fd"))
            signal.setitimer(signal.ITIMER_REAL, 0.003)
            tally(parent, [tmp_path.name], tmp_path.stat().st_dev, False, True)
        assert len(os.listdir("/proc/self/fd")) < descriptors
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nothing_is_left_behind(tally: Tallying, tmp_path: Path) -> None:
    """Neither memory nor descriptors, however often it is asked."""
    for number in range(60):
        (tmp_path / f"folder-{number}").mkdir()
        (tmp_path / f"file-{number}").write_bytes(b"x")
        os.link(tmp_path / f"file-{number}", tmp_path / f"link-{number}")
    descriptors = sorted(os.listdir("/proc/self/fd"))
    for _ in range(200):
        tallied(tally, tmp_path)
    before = resident()
    for _ in range(3000):
        tallied(tally, tmp_path)
    assert resident() - before < 2_000_000
    assert sorted(os.listdir("/proc/self/fd")) == descriptors


# ---------------------------------------------------------------------- stamps
def test_stamps_of_names(stamps: Stamping, folder: Path) -> None:
    entries = found_in(folder)
    names = sorted(entries)
    expected = b"".join(struct.pack("=QQ", entries[name].inode, entries[name].changed % (1 << 64)) for name in names)
    with opened(folder) as fd:
        assert stamps(fd, folder.stat().st_dev, "\0".join(names)) == expected
        assert stamps(fd, folder.stat().st_dev, names[0]) == expected[:16]


def test_stamps_of_what_is_not_there(stamps: Stamping, folder: Path) -> None:
    device = folder.stat().st_dev
    with opened(folder) as fd:
        assert stamps(fd, device, "sub\0no such name") is None
        assert stamps(fd, device, "sub\0" + "x" * 300) is None
        assert stamps(fd, device, "sub\0") is None
        assert stamps(fd, device, "") is None
        assert stamps(fd, device + 1, "sub") is None
    assert stamps(1_000_000, device, "sub") is None


def test_stamps_leave_nothing_behind(stamps: Stamping, folder: Path) -> None:
    names = "\0".join(["sub"] * 500)
    with opened(folder) as fd:
        for _ in range(20):
            stamps(fd, folder.stat().st_dev, names)
        before = resident()
        for _ in range(1000):
            stamps(fd, folder.stat().st_dev, names)
            stamps(fd, folder.stat().st_dev, names + "\0no such name")
    assert resident() - before < 2_000_000


# ---------------------------------------------------------------------- who uses it
def test_a_process_that_measures_uses_the_compiled_one() -> None:
    pytest.importorskip("layerscope.hostfs._tally", reason="_tally.c was not compiled here")
    process = measuring_processes._Process(measure.__file__, [])
    try:
        assert process.give([], [], 1)
        assert process.result() == ([], [], [])
        assert "_tally.abi3.so" in Path(f"/proc/{process._process.pid}/maps").read_text()
    finally:
        process.end(at_once=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the sample need root to be unpacked")
@pytest.mark.parametrize("without", ["", "1"], ids=["compiled where it can be", "without extensions"])
def test_df_without_the_compiled_one_is_dus_too(without: str, overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    volume = root / "volumes/vol1/_data"
    for number in range(3000):
        (volume / f"{number % 50}").mkdir(exist_ok=True)
        (volume / f"{number % 50}/{number}").write_bytes(b"x" * number)
    command = [sys.executable, "-m", "layerscope", "--root", str(root), "df", "--no-cache", "--json"]
    environment = {**os.environ, "LAYERSCOPE_NO_EXTENSIONS": without}
    project = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, check=True, text=True)
    assert f'"total_disk": {du(root)}' in done.stdout
