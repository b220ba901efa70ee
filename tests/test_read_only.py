"""Looking changes nothing below a root, reads no more than is asked, and opens only directories and regular files."""

from __future__ import annotations

import hashlib
import os
import stat as modes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import system_calls
from sample_roots import DATA, truth, unpack

from layerscope import open_root

CONTAINER, IMAGE = "editor", "layerscope/app:1.0"
CONTAINER_ID = next(entry["Id"] for entry in truth("overlay2", "api-containers") if entry["Names"] == ["/editor"])
LOOKING: list[tuple[str, ...]] = [
    ("info",),
    ("info", "--json"),
    ("images", "--all"),
    ("images", "--tree"),
    ("images", "--json"),
    ("ps",),
    ("ps", "--json"),
    ("history", IMAGE),
    ("history", IMAGE, "--json"),
    ("inspect", CONTAINER),
    ("inspect", IMAGE),
    ("stack", CONTAINER),
    ("stack", IMAGE, "--json"),
    ("stack", CONTAINER, "--no-counts"),
    ("diff", CONTAINER),
    ("diff", CONTAINER, "--json"),
    ("diff", CONTAINER, "--corrected"),
    ("diff", IMAGE, CONTAINER, "--json"),
    ("diff", f"{IMAGE}@1", f"{IMAGE}@3"),
    ("ls", CONTAINER),
    ("ls", "-R", "--all", CONTAINER),
    ("ls", "-R", "--all", "--json", CONTAINER),
    ("cat", f"{CONTAINER}:/etc/motd"),
    ("cat", f"{CONTAINER}:/etc/motd", "--from", "1"),
    ("cat", f"{CONTAINER}:/data/sparse"),
    ("blame", f"{CONTAINER}:/etc/motd"),
    ("blame", f"{CONTAINER}:/data/a.txt", "--json"),
    ("explain", f"{CONTAINER}:/data/sub/x"),
    ("whose", "{container}"),
    ("find", "*"),
    ("find", "*", CONTAINER, "--deleted", "--json"),
    ("waste", IMAGE),
    ("waste", IMAGE, "--everywhere", "--json"),
    ("waste", "--all"),
    ("verify", "--deep", "-j", "1"),
    ("verify", IMAGE, "--json"),
    ("doctor", "-q"),
    ("df", "--json"),
    ("df", "--docker"),
    ("df", "--prometheus"),
    ("reclaim", "--json", CONTAINER),
    ("scan", "-o", "{outside}"),
    ("export", CONTAINER),
    ("extract", f"{CONTAINER}:/", "{outside}"),
]
"""Every verb that looks, in every form that reads something else."""

needs_strace = pytest.mark.skipif(system_calls.no_strace() is not None, reason=str(system_calls.no_strace()))
OLD = 978_307_200_000_000_000
"""2001: with ``relatime`` any read makes such an access time new."""


class Kept(NamedTuple):
    """All that must stay of one path. ``atime`` is None where it isn't ours to keep."""

    stat: tuple[int, ...]
    atime: int | None
    xattrs: tuple[tuple[str, bytes], ...]
    content: str


def _paths(root: Path) -> list[Path]:
    return [root, *sorted(root.rglob("*"))]


def _kept(path: Path, with_atime: bool) -> Kept:
    """Its facts; the content is read last, and without touching the access time."""
    stat = path.lstat()
    facts = (stat.st_mode, stat.st_ino, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_size, stat.st_rdev)
    keeps_atime = with_atime and (modes.S_ISREG(stat.st_mode) or modes.S_ISDIR(stat.st_mode))
    xattrs = sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in _xattr_names(path))
    content = ""
    if modes.S_ISREG(stat.st_mode):
        with open(path, "rb", opener=_quietly) as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif modes.S_ISLNK(stat.st_mode):
        content = os.readlink(path)
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    return Kept((*facts, *times), stat.st_atime_ns if keeps_atime else None, tuple(xattrs), content)


def _xattr_names(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _quietly(path: str, flags: int) -> int:
    return os.open(path, flags | (os.O_NOATIME if os.geteuid() == 0 else 0))


def _reading_is_noticed(folder: Path) -> bool:
    """Whether the file system of ``folder`` keeps access times at all."""
    probe = folder / "probe"
    probe.write_text("x")
    os.utime(probe, ns=(OLD, OLD))
    probe.read_text()
    noticed = probe.stat().st_atime_ns != OLD
    probe.unlink()
    return noticed


class Untouched(NamedTuple):
    """A root and every path below it."""

    root: Path
    paths: list[Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample root of our own."""
    return unpack(DATA / "overlay2" / "root.tar.gz", tmp_path_factory.mktemp("untouched") / "root")


@pytest.fixture(scope="module")
def untouched(root: Path) -> Iterator[Untouched]:
    """The root; after the last test nothing of it may be another than before the first."""
    with_atime = os.geteuid() == 0 and _reading_is_noticed(root.parent)
    paths = _paths(root)
    if with_atime:
        for path in paths:
            if not path.is_symlink():
                os.utime(path, ns=(OLD, path.lstat().st_mtime_ns), follow_symlinks=False)
    before = {path: _kept(path, with_atime) for path in paths}
    yield Untouched(root, paths)
    # The stats of all come first: to list a directory again is a read of it.
    after = {path: _kept(path, with_atime) for path in paths if os.path.lexists(path)}
    assert after == before
    assert _paths(root) == paths


@pytest.mark.parametrize("verb", LOOKING, ids=lambda verb: " ".join(verb))
def test_verb(untouched: Untouched, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """The verb answers; what it left of the root is compared once, after all of them."""
    before = _times(untouched.paths)
    arguments = [argument.format(outside=tmp_path / "out", container=CONTAINER_ID) for argument in verb]
    command = [sys.executable, "-m", "layerscope", "--root", str(untouched.root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout or "extract" in verb
    assert _times(untouched.paths) == before


def _times(paths: list[Path]) -> dict[str, tuple[int, ...]]:
    """Times and sizes, found without reading a directory."""
    found = {}
    for path in paths:
        stat = path.lstat()
        atime = 0 if modes.S_ISLNK(stat.st_mode) or os.geteuid() else stat.st_atime_ns
        found[str(path)] = (atime, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    return found


def test_python_interface(untouched: Untouched) -> None:
    before = _times(untouched.paths)
    with open_root(untouched.root) as session:
        session.info()
        subjects = [session.find(f"container:{usage.container.id}") for usage in session.containers()]
        subjects += [session.find(f"image:{usage.image.id}") for usage in session.images()]
        for subject in subjects:
            session.history(subject)
            session.stack(subject)
            session.records(subject)
            for entry in session.entries(subject, recursive=True, hidden=True):
                session.blame(subject, entry.path)
                session.explain(subject, entry.path)
    assert _times(untouched.paths) == before


# ---------------------------------------------------------------------- system calls
def _below(root: Path, path: str) -> str | None:
    """The part of ``path`` below the root, None if it isn't there."""
    path = os.path.normpath(path)
    return os.path.relpath(path, root) if path == str(root) or path.startswith(f"{root}/") else None


def _listings(root: Path, heard: list[system_calls.Call]) -> list[str]:
    """The directories below the root that were read to their end, once for each time."""
    paths = [_below(root, call.folder) for call in heard if call.name == "getdents64" and call.result == 0]
    return [path for path in paths if path is not None]


@needs_strace
def test_records_need_no_layer_directory(root: Path, tmp_path: Path) -> None:
    code = f"""
from layerscope import open_root
with open_root({str(root)!r}) as session:
    assert len(session.images()) == 8
    assert len(session.containers(sizes=False)) == 3
"""
    heard = system_calls.calls(system_calls.python(code), "getdents64,openat", tmp_path / "told")
    listings = _listings(root, heard)
    assert "image/overlay2/imagedb/content/sha256" in listings, "the calls were heard"
    assert [path for path in listings if path.startswith("overlay2/")] == []
    opened = {_below(root, call.opened) for call in heard if call.opened}
    assert [path for path in opened if path and path.startswith("overlay2/")] == []


@needs_strace
@pytest.mark.parametrize("folder", ["/", "/etc", "/srv", "/data"])
def test_a_merged_directory_is_one_reading_of_each_level(root: Path, tmp_path: Path, folder: str) -> None:
    with open_root(root) as session:
        subject = session.find(CONTAINER)
        parts = session.view(subject).directory(folder).parts
        levels = {level.number: level.path for level in session.levels(subject)}
        wanted = sorted(os.path.join(str(levels[part.level]), folder.strip("/")).rstrip("/") for part in parts)
    code = f"""
from layerscope import open_root
with open_root({str(root)!r}) as session:
    subject = session.find({CONTAINER!r})
    view = session.view(subject)
    assert list(session.entries(subject, {folder!r}, detail=False))
"""
    heard = system_calls.calls(system_calls.python(code), "getdents64", tmp_path / "told")
    listings = [path for path in _listings(root, heard) if path.startswith("overlay2/")]
    assert sorted(listings) == wanted
    assert len(wanted) >= 2


_CHANGING = (
    "mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,"
    "chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,utime,utimes,utimensat,futimesat,truncate,ftruncate,"
    "setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,fallocate,mount,umount2,flock,creat"
)


@needs_strace
@pytest.mark.parametrize(
    "verb",
    [verb for verb in LOOKING if "--json" not in verb or verb[0] in ("ls", "diff")],
    ids=lambda verb: " ".join(verb),
)
def test_nothing_is_opened_for_writing_or_locked(root: Path, tmp_path: Path, verb: tuple[str, ...]) -> None:
    arguments = [argument.format(outside=tmp_path / "out", container=CONTAINER_ID) for argument in verb]
    command = system_calls.layerscope("--root", str(root), *arguments)
    heard = system_calls.calls(command, f"open,openat,openat2,fcntl,{_CHANGING}", tmp_path / "told")
    opened = 0
    for call in heard:
        if call.name in ("open", "openat", "openat2"):
            inside = [path for path in (call.opened, *call.paths) if path and _below(root, path) is not None]
            if not inside:
                continue
            opened += 1
            assert not any(word in call.arguments for word in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")), call
            if "O_PATH" not in call.arguments and call.opened:
                mode = os.lstat(call.opened).st_mode
                assert modes.S_ISREG(mode) or modes.S_ISDIR(mode), call
        elif call.name == "fcntl":
            locked = "F_SETLK" in call.arguments or "F_OFD_SETLK" in call.arguments
            elsewhere = call.folder and _below(root, call.folder) is None  # the cache of this user
            assert not locked or elsewhere, call
        elif call.name == "flock":
            raise AssertionError(call)
        else:
            named = [path for path in (call.folder, *call.paths) if path and _below(root, path) is not None]
            assert named == [], call
    assert opened, "the calls were heard"


@needs_strace
@pytest.mark.parametrize(("path", "kind"), [("/srv/fifo", modes.S_ISFIFO), ("/data/link", modes.S_ISDIR)])
def test_what_is_no_file_is_refused_and_not_opened(root: Path, tmp_path: Path, path: str, kind: Any) -> None:
    command = system_calls.layerscope("--root", str(root), "cat", f"{CONTAINER}:{path}")
    heard = system_calls.calls(command, "open,openat,openat2,read", tmp_path / "told", codes=(2,))
    reading = [call for call in heard if call.opened.endswith(path) and "O_PATH" not in call.arguments]
    assert reading == []
