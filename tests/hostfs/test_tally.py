"""The tally of trees, compiled and in Python, against ``find`` on the same trees."""

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
from layerscope.hostfs.tally import OTHER_DEVICE, SEVERAL_NAMES, Tally, stamps_in_python, tally_in_python

Tallying = Callable[[int, str, list[str], int, bool, bool, int], Tally]
Stamping = Callable[[int, int, str], "bytes | None"]
ALL = 1 << 40
NOT_COMPILED = "nothing was compiled here"


@pytest.fixture(params=["compiled", "in Python"])
def tally(request: pytest.FixtureRequest) -> Tallying:
    """Each of both."""
    if request.param == "in Python":
        return tally_in_python
    compiled: Any = pytest.importorskip("layerscope.hostfs._tally", reason=NOT_COMPILED)
    found: Tallying = compiled.tally
    return found


@pytest.fixture(params=["compiled", "in Python"])
def stamps(request: pytest.FixtureRequest) -> Stamping:
    """Each of both."""
    if request.param == "in Python":
        return stamps_in_python
    compiled: Any = pytest.importorskip("layerscope.hostfs._tally", reason=NOT_COMPILED)
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


def found_in(folder: Path, depth: int | None = None) -> dict[str, Found]:
    """What lies below a directory, by the path from there."""
    form = r"%y %i %D %n %s %b %C@ %m %P\0"
    deepest = [] if depth is None else ["-maxdepth", str(depth)]
    command = ["find", str(folder), "-mindepth", "1", *deepest, "-printf", form]
    done = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    entries = {}
    for line in filter(None, done.stdout.split(b"\0")):
        kind, inode, device, names, size, blocks, changed, mode, path = line.split(b" ", 8)
        seconds, _, fraction = changed.decode().partition(".")
        nanoseconds = int(seconds) * 10**9 + int(fraction[:9])
        numbers = (int(inode), int(device), int(names), int(size), int(blocks), nanoseconds, int(mode, 8))
        entries[os.fsdecode(path)] = Found(kind.decode(), *numbers)
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


def tallied(tally: Tallying, folder: Path, marked: bool = True, crosses: bool = False, budget: int = ALL) -> Tally:
    """The tally of a whole directory; paths begin with its name."""
    with opened(folder.parent) as parent:
        return tally(parent, "", [folder.name], folder.stat().st_dev, crosses, marked, budget)


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


def expect(tally: Tally, folder: Path) -> None:
    """Hold the tally of a directory, marked and of one device, against find."""
    sums, folders, stamps, apart, left = tally
    device = folder.stat().st_dev
    entries = {f"{folder.name}/{path}": one for path, one in found_in(folder).items()}
    other = [path for path, one in entries.items() if one.device != device]
    entries = {path: one for path, one in entries.items() if not path.startswith(tuple(f"{top}/" for top in other))}
    looked_at = {
        path: one
        for path, one in entries.items()
        if path in other or (one.kind != "d" and one.names > 1 and (one.size or one.blocks))
    }
    counted = {path: one for path, one in entries.items() if path not in looked_at}
    directories = {path: one for path, one in counted.items() if one.kind == "d"}
    assert sums == (
        len(counted),
        sum(one.blocks for one in counted.values()),
        sum(one.size for one in counted.values()),
        sum(one.size for one in directories.values()),
        sum(one.size for one in counted.values() if one.kind == "l"),
        0,
    )
    assert left == []
    told = {}
    numbers = struct.iter_unpack("=QQ", stamps)
    for marks in folders.split("\0\0") if folders else ():
        path, *names = marks.split("\0")
        assert names
        told.update({f"{path}/{name}": next(numbers) for name in names})
    assert next(numbers, None) is None
    assert told == {path: (one.inode, one.changed % (1 << 64)) for path, one in directories.items()}
    types = {"f": modes.S_IFREG, "d": modes.S_IFDIR, "l": modes.S_IFLNK, "c": modes.S_IFCHR, "b": modes.S_IFBLK}
    assert sorted(apart) == sorted(
        (
            OTHER_DEVICE if path in other else SEVERAL_NAMES,
            *os.path.split(path),
            types[one.kind] | one.mode,
            *(one.inode, one.device, one.names, one.size, one.blocks),
        )
        for path, one in looked_at.items()
    )


def deep_folder(folder: Path) -> None:
    """Directories in directories, three wide and four deep, with something in each."""
    folders = [folder]
    for _ in range(4):
        folders = [above / f"folder-{number}" for above in folders for number in range(3)]
        for number, below in enumerate(folders):
            below.mkdir()
            (below / "file").write_bytes(b"x" * number * 100)


def test_a_tree_with_everything(tally: Tallying, folder: Path) -> None:
    deep_folder(folder / "sub2")
    entries = found_in(folder)
    assert len(entries) > 1500 and {"f", "d", "l", "p", "s"} <= {one.kind for one in entries.values()}
    expect(tallied(tally, folder), folder)


def test_marks_are_told_where_they_are_asked_for(tally: Tallying, folder: Path) -> None:
    with_marks, without = tallied(tally, folder), tallied(tally, folder, marked=False)
    assert with_marks[1] and len(with_marks[2]) == 16 * len(
        [one for one in found_in(folder).values() if one.kind == "d"]
    )
    assert without == (with_marks[0], "", b"", *with_marks[3:])


def test_an_empty_directory(tally: Tallying, tmp_path: Path) -> None:
    assert tallied(tally, tmp_path) == ((0, 0, 0, 0, 0, 0), "", b"", [], [])


def test_several_directories_at_a_path(tally: Tallying, folder: Path) -> None:
    for number in range(30):
        (folder / f"sub/{number}").mkdir()
        for more in range(number % 5):
            (folder / f"sub/{number}" / f"folder-{more}").mkdir()
            (folder / f"sub/{number}" / f"file-{more}").write_bytes(b"x" * number)
    names = [f"{number}" for number in range(30)]
    with opened(folder.parent) as parent:
        where = (folder.stat().st_dev, False, True, ALL)
        sums, folders, _, apart, left = tally(parent, f"{folder.name}/sub", names, *where)
        again = tally(parent, f"{folder.name}/sub", [*names, "inside", "no such name"], *where)
    found = found_in(folder / "sub")
    below = [one for path, one in found.items() if "/" in path]
    assert sums[:2] == (len(below), sum(one.blocks for one in below))
    assert [marks.split("\0")[0] for marks in folders.split("\0\0")] == [
        f"{folder.name}/sub/{number}" for number in range(30) if number % 5
    ]
    assert (apart, left) == ([], [])
    assert again[:2] == (sums, folders)
    inside = found["inside"]
    assert again[3] == [
        (errno.ENOTDIR, f"{folder.name}/sub", "inside", modes.S_IFREG | inside.mode, *inside[1:4], *inside[4:6]),
        (errno.ENOENT, f"{folder.name}/sub", "no such name", 0, 0, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("budget", [1, 2, 7, 40, 1000])
def test_what_is_left_is_the_rest(tally: Tallying, folder: Path, budget: int) -> None:
    """However it is cut into pieces, the pieces are the whole, and each is at most one directory too long."""
    deep_folder(folder / "sub2")
    (folder / "sub2/wide").mkdir()
    for number in range(300):
        (folder / f"sub2/wide/{number}").mkdir()
    whole = tallied(tally, folder)
    sums, pieces, calls = [0] * 6, [], 0
    with opened(folder.parent) as parent:
        waiting = [("", [folder.name])]
        while waiting:
            path, names = waiting.pop()
            found = tally(parent, path, names, folder.stat().st_dev, False, True, budget)
            sums = [before + now for before, now in zip(sums, found[0], strict=True)]
            pieces.extend(found[3])
            waiting.extend(found[4])
            assert found[0][0] < budget + 1600
            calls += 1
    assert tuple(sums) == whole[0]
    assert sorted(pieces) == sorted(whole[3])
    assert calls > 100 or budget > 1


def test_a_tree_deeper_than_any_path(tally: Tallying, tmp_path: Path) -> None:
    """Few descriptors are open at a time, and what lies deeper is left for the next time."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("x" * 40, dir_fd=fd)
        below = os.open("x" * 40, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    entries, calls = 0, 0
    with opened(tmp_path.parent) as parent:
        waiting = [("", [tmp_path.name])]
        while waiting:
            found = tally(parent, *waiting.pop(), tmp_path.stat().st_dev, False, False, ALL)
            entries += found[0][0]
            assert found[3] == []
            waiting.extend(found[4])
            calls += 1
    assert (entries, calls) == (300, 3)


def test_both_give_the_same_in_the_same_order(folder: Path) -> None:
    compiled: Any = pytest.importorskip("layerscope.hostfs._tally", reason=NOT_COMPILED)
    deep_folder(folder / "sub")
    (folder / "sub/closed").symlink_to("/")
    for budget in (1, 30, ALL):
        assert tallied(compiled.tally, folder, budget=budget) == tallied(tally_in_python, folder, budget=budget)


def test_borders_are_passed_over(folder: Path) -> None:
    """Beyond them something else begins; only the loop in Python knows of them."""
    deep_folder(folder / "sub")
    borders = {f"{folder.name}/sub/folder-1", f"{folder.name}/file-0001"}
    with opened(folder.parent) as parent:
        where = (folder.stat().st_dev, False, False, ALL)
        sums, _, _, _, left = tally_in_python(parent, "", [folder.name], *where, borders, False)
        assert len(left) == 1 and left[0][0] == folder.name
        inside = tally_in_python(parent, folder.name, ["sub"], *where, borders, False)
    here = found_in(folder, 1)
    counted = [one for one in here.values() if one.names == 1 or one.kind == "d" or not (one.size or one.blocks)]
    without = here["file-0001"]
    assert sums[:3] == (
        len(counted) - 1,
        sum(one.blocks for one in counted) - without.blocks,
        sum(one.size for one in counted) - without.size,
    )
    assert sorted(left[0][1]) == sorted(name for name, one in here.items() if one.kind == "d")
    assert inside[0][0] == 3  # the two other directories, and a file; that with other names is apart
    assert [(path, sorted(names)) for path, names in inside[4]] == [(f"{folder.name}/sub", ["folder-0", "folder-2"])]


def test_a_symlink_is_not_followed(tally: Tallying, folder: Path) -> None:
    with opened(folder) as parent:
        device = folder.stat().st_dev
        *_, apart, _ = tally(parent, "", ["to a folder"], device, False, True, ALL)
        assert [(one[:3]) for one in apart] == [(errno.ENOTDIR, "", "to a folder")]
        assert tally(parent, "to a folder", ["."], device, False, True, ALL) == ((0, 0, 0, 0, 0, 1), "", b"", [], [])
        assert tally(parent, "sub/../sub", ["."], device, False, True, ALL)[0][0] == 1


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root")
def test_whiteouts_devices_and_other_file_systems(tally: Tallying, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    os.mknod(tmp_path / "whiteout", modes.S_IFCHR, os.makedev(0, 0))
    os.link(tmp_path / "whiteout", tmp_path / "whiteout too")
    os.mknod(tmp_path / "block", modes.S_IFBLK | 0o600, os.makedev(7, 200))
    (tmp_path / "plain/other").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "plain/other")], check=True)
    try:
        (tmp_path / "plain/other/inside").write_bytes(b"inside")
        other = found_in(tmp_path)["plain/other"]
        assert other.device != tmp_path.stat().st_dev
        expect(tallied(tally, tmp_path), tmp_path)
        with opened(tmp_path) as parent:
            for crosses, count in ((False, 0), (True, 1)):
                sums, _, _, apart, _ = tally(
                    parent, "plain", ["other", "."], tmp_path.stat().st_dev, crosses, True, ALL
                )
                assert sums[0] == count
                assert [(why, name) for why, _, name, *_ in apart] == [
                    *([] if crosses else [(OTHER_DEVICE, "inside")]),
                    (OTHER_DEVICE, "other"),
                ]
    finally:
        subprocess.run(["umount", str(tmp_path / "plain/other")], check=True)


def test_what_can_not_be_read_is_told(tally: Tallying, tmp_path: Path) -> None:
    nothing = ("", b"", [], [])
    assert tally(1_000_000, "", ["file"], 0, False, False, ALL) == ((0, 0, 0, 0, 0, 1), *nothing)
    with opened(tmp_path) as parent:
        assert tally(parent, "none/such", ["a", "b"], 0, False, False, ALL) == ((0, 0, 0, 0, 0, 2), *nothing)
        assert tally(parent, "", ["x" * 256], 0, False, False, ALL)[3][0][:3] == (errno.ENAMETOOLONG, "", "x" * 256)
        assert tally(parent, "", [], 0, False, False, ALL) == ((0, 0, 0, 0, 0, 0), *nothing)


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
                sums, _, _, apart, _ = tally(parent, "", ["folder"], device, False, True, ALL)
            finally:
                os.seteuid(0)
            stat = folder.stat()
            entry = (stat.st_mode, stat.st_ino, stat.st_dev, stat.st_nlink, stat.st_size, stat.st_blocks)
            assert apart == ([(told, "", "folder", *entry)] if told else [])
            assert sums[0] == (not told)


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
            tally(parent, "", [tmp_path.name], tmp_path.stat().st_dev, False, True, ALL)
        assert len(os.listdir("/proc/self/fd")) < descriptors
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nothing_is_left_behind(tally: Tallying, tmp_path: Path) -> None:
    """Neither memory nor descriptors, however often it is asked."""
    for number in range(60):
        (tmp_path / f"folder-{number}/below").mkdir(parents=True)
        (tmp_path / f"file-{number}").write_bytes(b"x")
        os.link(tmp_path / f"file-{number}", tmp_path / f"link-{number}")
    descriptors = sorted(os.listdir("/proc/self/fd"))
    for _ in range(100):
        tallied(tally, tmp_path)
    before = resident()
    for _ in range(1000):
        tallied(tally, tmp_path)
        tallied(tally, tmp_path, budget=90)
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
    pytest.importorskip("layerscope.hostfs._tally", reason=NOT_COMPILED)
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
