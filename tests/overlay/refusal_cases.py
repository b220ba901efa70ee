"""Sequences in which the kernel refuses, on the kernel's overlayfs and on our engine. Run as a program.

    unshare --mount python refusal_cases.py FOLDER CASE

What random operations hardly ever meet: flags of chattr(1), lists that are no access control lists, names and paths
that are too long, links below a metadata-only copy, an overlay without an upper layer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat as modes
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from engine_cases import Kernel, Operation, Served, compare, confine, tree

from layerscope.overlay.engine import Overlay

GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND, NOATIME = 0x10, 0x20, 0x80
LONG = "n" * 255
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
LIST = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in ((1, 7, -1), (4, 5, -1), (32, 0, -1)))
NO_LIST = struct.pack("<I", 2)
TEMPORARY = os.O_TMPFILE | os.O_RDWR


def flags(path: Path, wanted: int | None = None) -> int:
    """The flags of chattr(1) that count here, set first if some are ``wanted``."""
    fd = os.open(path, os.O_RDONLY)
    try:
        found = struct.unpack("q", fcntl.ioctl(fd, GET_FLAGS, bytes(8)))[0]
        if wanted is not None:
            fcntl.ioctl(fd, SET_FLAGS, struct.pack("q", found & ~(IMMUTABLE | APPEND | NOATIME) | wanted))
        return found & (IMMUTABLE | APPEND | NOATIME)
    finally:
        os.close(fd)


def perform(system: object, operation: Operation) -> object:
    """The result of one operation: a value, or the name of an errno."""
    name, path, *rest = operation
    try:
        if name == "open":
            mode, data = rest
            fd = system.open(path, mode, 0o666)
            try:
                return os.write(fd, data) if data else None
            finally:
                os.close(fd)
        if name == "links":
            return system.lstat(path).st_nlink
        return getattr(system, name)(path, *rest)
    except OSError as error:
        return errno.errorcode[error.errno]


class Confined(Served):
    """``os`` in a chroot of a child process, with the operations of this program."""

    def __init__(self, top: Path) -> None:
        def confined() -> object:
            os.chroot(top)
            os.chdir("/")
            return Kernel()

        super().__init__(confined, perform)


def make(top: Path, *files: str) -> None:
    for file in files:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith("/"):
            (top / file).mkdir()
        else:
            (top / file).write_text(file)


def flagged(top: Path) -> None:
    make(top, "still", "log", "quiet", "plain", "folder/", "locked/file", "locked/below/file", "log.d/file")
    for name, wanted in {"still": IMMUTABLE, "log": APPEND, "quiet": NOATIME, "log.d": APPEND}.items():
        flags(top / name, wanted)
    flags(top / "locked", IMMUTABLE)


FLAGGED: list[Operation] = [
    *((name, "still", *rest) for name, *rest in (("chmod", 0o600), ("chown", 1, 1), ("utime",), ("truncate", 0))),
    *(("open", "still", mode, b"") for mode in (os.O_WRONLY, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND)),
    *(("open", "log", mode, b"x") for mode in (os.O_WRONLY, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)),
    ("setxattr", "still", "user.a", b""),
    ("setxattr", "still", "no.such", b""),
    ("removexattr", "still", "user.a"),
    ("access", "still", os.W_OK),
    ("access", "still", os.R_OK),
    *((name, "still") for name in ("unlink", "rmdir")),
    *(("rename", *ends) for ends in (("still", "new"), ("plain", "still"), ("folder", "still"), ("log.d", "new"))),
    ("rename2", "plain", "still", 2),
    ("link", "still", "new"),
    ("link", "log", "new"),
    ("link", "locked", "plain"),
    *((name, "locked/new") for name in ("mkdir", "mkfifo")),
    ("symlink", "x", "locked/new"),
    ("open", "locked/new", os.O_WRONLY | os.O_CREAT, b""),
    ("open", "locked", TEMPORARY, b""),
    ("unlink", "locked/file"),
    ("unlink", "locked/below"),
    ("rmdir", "locked"),
    ("rename", "plain", "locked/new"),
    ("rename", "locked/file", "new"),
    ("unlink", "log.d/file"),
    ("rename", "log.d/file", "new"),
    ("rename", "plain", "log.d/file"),
    ("truncate", "log", 0),
    ("utime", "log", (1, 1)),
    ("utime", "log"),
    ("open", "log", os.O_WRONLY | os.O_APPEND, b"more"),
    ("open", "log", os.O_WRONLY, b""),
    ("unlink", "log"),
    ("chmod", "locked/file", 0o600),
    ("open", "locked/new", os.O_WRONLY | os.O_CREAT, b""),
    ("chmod", "locked/below", 0o700),
    ("open", "log.d/new", os.O_WRONLY | os.O_CREAT, b"new"),
    ("unlink", "log.d/new"),
    ("chmod", "quiet", 0o600),
]


def named(top: Path) -> None:
    make(top, "file", "folder/inner/x", "list/", "other", "third")
    (top / "link").symlink_to("file")


NAMED: list[Operation] = [
    ("links", "."),
    ("mkdir", "folder/new"),
    ("links", "folder"),
    ("links", "folder/inner"),
    ("lstat", "/" * 4094 + "d"),
    *((name, "/" * 4095 + "d") for name in ("lstat", "mkdir", "unlink", "readlink", "listdir")),
    ("rename", "missing", LONG + "n"),
    ("rename", LONG + "n", "missing/x"),
    ("rename", "missing", LONG + "n/x"),
    ("symlink", "x" * 4096, "file"),
    ("open", "file", os.O_CREAT | os.O_DIRECTORY, b""),
    ("open", "list", TEMPORARY, b"hidden"),
    ("open", "list", os.O_TMPFILE, b""),
    ("open", "file", TEMPORARY, b""),
    ("open", "other", os.O_PATH | os.O_RDWR | os.O_TRUNC, b""),
    ("setxattr", "other", "", b""),
    ("setxattr", "other", "user." + LONG, b""),
    ("setxattr", "other", "user.a", b"", 7),
    ("setxattr", "other", "user.a", bytes(65537)),
    ("setxattr", "missing", "user.a", bytes(65537)),
    ("getxattr", "missing", ""),
    ("removexattr", "missing", "x" * 256),
    ("setxattr", "other", "trusted.overlay." + "n" * 235, b""),
    ("setxattr", "other", ACCESS, b"junk"),
    ("setxattr", "other", ACCESS, b""),
    ("setxattr", "other", ACCESS, NO_LIST),
    ("setxattr", "other", DEFAULT, LIST),
    ("setxattr", "other", DEFAULT, NO_LIST),
    ("setxattr", "folder/inner", DEFAULT, NO_LIST),
    ("setxattr", "folder/inner", DEFAULT, b"junk"),
    ("setxattr", "third", ACCESS, LIST),
]


def linked(top: Path) -> None:
    make(top, "a/file", f"{LONG}/single", f"{LONG}/{LONG[1:]}", "b/")
    os.link(top / "a/file", top / "a/other")


LINKED: list[Operation] = [
    ("rename", "a/file", "a/moved"),
    ("rename", f"{LONG}/single", f"{LONG}/moved"),
    ("rename", f"{LONG}/{LONG[1:]}", "b/moved"),
    ("link", f"{LONG}/{LONG[1:]}", "b/moved"),
    ("rename", f"{LONG}/{LONG[1:]}", f"{LONG}/m"),
]

READ_ONLY: list[Operation] = [
    *((name, path) for name in ("unlink", "rmdir", "mkdir", "mkfifo") for path in ("missing", "file", "folder", ".")),
    ("mkdir", LONG + "n"),
    *(("rename", *ends) for ends in (("file", "file"), ("missing", "x"), ("folder", "folder/x"), (LONG + "n", "x"))),
    ("rename2", "file", "file", 1),
    ("rename2", "file", "missing", 2),
    ("rename2", "file", "x", 8),
    ("mknod", "new", modes.S_IFCHR, 0),
    ("mknod", "file", modes.S_IFCHR, 0),
    ("truncate", "folder", 0),
    ("setxattr", "link", "user.a", b""),
    ("open", "new", os.O_WRONLY | os.O_CREAT, b""),
    ("open", "file", os.O_RDONLY | os.O_CREAT, b""),
    ("open", "folder", TEMPORARY, b""),
]

Case = tuple[Callable[[Path], None], Sequence[Operation], Sequence[str], bool]
CASES: dict[str, Case] = {
    "flags": (flagged, FLAGGED, (), True),
    "names": (named, NAMED, (), True),
    "links": (linked, LINKED, ("metacopy",), True),
    "read-only": (named, READ_ONLY, (), False),
}


def run_case(home: Path, case: Case) -> None:
    lay, operations, features, writable = case
    lowers = [home / "top", home / "base"]
    for folder in (*lowers, *(home / name for name in ("kernel", "kernel-work", "engine", "engine-work", "merged"))):
        folder.mkdir()
    for name in ("kernel", "engine"):
        os.utime(home / name, ns=(10**18, 10**18))
    lay(home / "base")
    time.sleep(0.02)
    start = time.time_ns() - 10_000_000
    options = [f"lowerdir={':'.join(map(str, lowers))}", *(f"{feature}=on" for feature in features)]
    if writable:
        options += [f"upperdir={home}/kernel", f"workdir={home}/kernel-work"]
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join(options), str(home / "merged")], check=True)
    kernel = Confined(home / "merged")
    places = (home / "engine", home / "engine-work") if writable else ()
    try:
        with Overlay(lowers, *places, xattr="trusted", **dict.fromkeys(features, True)) as engine:
            for operation in operations:
                expected, found = kernel.perform(operation), perform(engine, operation)
                if isinstance(expected, os.stat_result):
                    expected, found = expected.st_mode, getattr(found, "st_mode", found)
                assert found == expected, f"{str(operation)[:100]}: kernel {expected}, engine {found}"
                both = [tree(home / name, start, raw=True) for name in ("kernel", "engine")]
                compare(*both, f"upper after {str(operation)[:100]}")
        for path in both[0]:
            if os.path.isfile(home / "kernel" / path):
                assert flags(home / "engine" / path) == flags(home / "kernel" / path), path
    finally:
        kernel.close()
        subprocess.run(["umount", str(home / "merged")], check=True)
        for path in home.rglob("*"):
            if path.is_file() or (path.is_dir() and not path.is_symlink()):
                flags(path, 0)


def main() -> int:
    folder, case = sys.argv[1:]
    confine(Path(folder))
    os.umask(0o022)
    try:
        run_case(Path(folder), CASES[case])
    except AssertionError as error:
        print(error)
        return 1
    print(f"{len(CASES[case][1])} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
