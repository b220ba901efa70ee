"""Random operations on the kernel's overlayfs and on our engine, over the same random layers. Run as a program.

    unshare --mount python engine_cases.py FOLDER FIRST LAST OPERATIONS [redirect_dir] [metacopy]
    unshare -Ur --mount python engine_cases.py FOLDER FIRST LAST OPERATIONS userxattr

Everything but FOLDER is remounted read-only first: an engine that followed an absolute symlink of a case out of its
tree would get EROFS instead of changing the machine's own files. The kernel's side runs in a child that is confined to
the mount by chroot, so that absolute symlinks mean the same on both sides.
"""

from __future__ import annotations

import errno
import os
import pickle
import random
import shutil
import stat as modes
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from random_layers import NAMES, make_layer

from layerscope.overlay.engine import Overlay

Operation = tuple[object, ...]
OFTEN = ("write", "mkdir", "rmdir", "unlink", "rename", "rename", "link")
CALLS = (
    *OFTEN,
    *OFTEN,
    *("append", "read", "truncate", "chmod", "chown", "utime", "setxattr", "removexattr", "rename2", "symlink"),
    *("mknod", "mkfifo", "lstat", "stat", "readlink", "listdir", "exclusive", "trunc", "opendir"),
)


def confine(folder: Path) -> None:
    """Make every mount but ``folder`` read-only, in this mount namespace only."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split(" ")[4].replace("\\040", " ")
        if point != str(folder) and not point.startswith(("/proc", "/sys", "/dev")):
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, capture_output=True)


# ---------------------------------------------------------------------- operations
def random_path(rng: random.Random) -> str:
    path = "/".join(rng.choices(NAMES, k=rng.choice((1, 1, 2, 2, 3))))
    dice = rng.random()
    if dice < 0.04:
        return path + "/"
    if dice < 0.06:
        return path + "/" + rng.choice((".", ".."))
    if dice < 0.08:
        return rng.choice((".", "/", "..", "a/../b", "./a"))
    return path


def random_operation(rng: random.Random) -> Operation:
    path = random_path(rng)
    name = rng.choice(CALLS)
    if name in ("write", "append"):
        return (name, path, rng.randbytes(rng.choice((0, 1, 100))), rng.choice((0o666, 0o600, 0o4755)))
    if name == "exclusive":
        return (name, path, rng.choice((0o644, 0o600)))
    if name == "truncate":
        return (name, path, rng.choice((0, 1, 3, 7000, -1)))
    if name == "chmod":
        return (name, path, rng.choice((0o644, 0o600, 0o755, 0o2755, 0o1777, 0o4711)))
    if name == "chown":
        return (name, path, rng.choice((-1, 0, 1000)), rng.choice((-1, 0, 1000)), rng.random() < 0.7)
    if name == "utime":
        return (name, path, (10**18, 10**18 + rng.randrange(10**9)), rng.random() < 0.7)
    if name in ("setxattr", "removexattr"):
        key = rng.choice(("user.a", "user.b", "trusted.c", "trusted.overlay.opaque", "user.overlay.opaque", "bad.key"))
        return (name, path, key, rng.choice((0, 0, 1, 2)), rng.random() < 0.8)
    if name in ("mkdir", "mkfifo"):
        return (name, path, rng.choice((0o777, 0o700, 0o2775)))
    if name == "mknod":
        return (
            name,
            path,
            rng.choice((modes.S_IFCHR, modes.S_IFBLK, modes.S_IFREG, modes.S_IFSOCK)) | 0o640,
            rng.choice((0, 259)),
        )
    if name in ("rename", "link"):
        return (name, path, random_path(rng))
    if name == "rename2":
        return (name, path, random_path(rng), rng.choice((1, 2, 2, 4, 3, 8)))
    if name == "symlink":
        return (name, rng.choice(("a", "/b", "../c", "nowhere", "a/b", "/etc/passwd")), path)
    return (name, path)


def visible_stat(stat: os.stat_result) -> tuple[object, ...]:
    size = None if modes.S_ISDIR(stat.st_mode) else stat.st_size
    return (stat.st_mode, stat.st_uid, stat.st_gid, size, stat.st_rdev)


def perform(system: object, operation: Operation) -> object:
    """The result of one operation on :mod:`os` (confined) or an Overlay: a value, or the name of an errno."""
    name, path, *rest = operation
    try:
        if name in ("write", "append", "exclusive", "trunc", "read", "opendir"):
            return perform_open(system, name, path, rest)
        if name == "chown":
            uid, gid, follow = rest
            return system.chown(path, uid, gid, follow_symlinks=follow)
        if name == "utime":
            return system.utime(path, ns=rest[0], follow_symlinks=rest[1])
        if name == "setxattr":
            return system.setxattr(path, rest[0], b"value", rest[1], follow_symlinks=rest[2])
        if name == "removexattr":
            return system.removexattr(path, rest[0], follow_symlinks=rest[2])
        if name in ("lstat", "stat"):
            return visible_stat(getattr(system, name)(path))
        if name == "listdir":
            return sorted(entry for entry in system.listdir(path) if seen(system, path, entry))
        return getattr(system, name)(path, *rest)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def seen(system: object, path: str, entry: str) -> bool:
    """Whether a listed name can be looked up: the kernel lists stale whiteouts of directories that aren't merged."""
    try:
        system.lstat(os.path.join(path, entry))
    except OSError as error:
        return error.errno != errno.ENOENT
    return True


def perform_open(system: object, name: str, path: str, rest: list) -> object:
    flags, mode, data = {
        "write": (os.O_WRONLY | os.O_CREAT, *reversed(rest[:2])) if len(rest) > 1 else (),
        "append": (os.O_WRONLY | os.O_APPEND, 0, rest[0]) if rest else (),
        "exclusive": (os.O_RDWR | os.O_CREAT | os.O_EXCL, rest[0] if rest else 0, b"new"),
        "trunc": (os.O_RDONLY | os.O_TRUNC, 0, None),
        "read": (os.O_RDONLY | os.O_NONBLOCK, 0, None),
        "opendir": (os.O_RDONLY | os.O_DIRECTORY, 0, None),
    }[name]
    try:
        kind = modes.S_IFMT(system.stat(path).st_mode)
    except OSError:
        kind = 0
    if kind not in (0, modes.S_IFREG, modes.S_IFDIR):
        return None  # the engine opens no devices and FIFOs
    fd = system.open(path, flags, mode)
    try:
        if data:
            os.write(fd, data)
        return os.read(fd, 10_000) if name == "read" and kind == modes.S_IFREG else None
    finally:
        os.close(fd)


class Served:
    """Operations sent to a child process; ``prepare`` makes there what they are done with, ``act`` does them."""

    def __init__(self, prepare: Callable[[], object], act: Callable[[object, Operation], object] | None = None) -> None:
        ask, self._ask = os.pipe()
        self._answer, answer = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.close(self._ask)
            os.close(self._answer)
            try:
                serve(ask, answer, prepare(), act or perform)
            except BaseException:  # noqa: BLE001 - a child that ends says why
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(ask)
        os.close(answer)
        self._reader, self._writer = os.fdopen(self._answer, "rb"), os.fdopen(self._ask, "wb")

    def perform(self, operation: Operation) -> object:
        pickle.dump(operation, self._writer)
        self._writer.flush()
        return pickle.load(self._reader)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        os.waitpid(self._child, 0)


class Confined(Served):
    """``os`` in a chroot: calls are sent to a child process that lives in the mount."""

    def __init__(self, top: Path, become: Callable[[], object] = lambda: None) -> None:
        def confined() -> object:
            os.chroot(top)
            os.chdir("/")
            become()
            return Kernel()

        super().__init__(confined)


class Kernel:
    """:mod:`os` with renameat2."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def rename2(self, source: str, target: str, flags: int) -> None:
        from layerscope.hostfs.rename import renameat2

        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            renameat2(here, source, here, target, flags)
        finally:
            os.close(here)


def serve(ask: int, answer: int, system: object, act: Callable[[object, Operation], object]) -> None:
    with os.fdopen(ask, "rb") as reader, os.fdopen(answer, "wb") as writer:
        while True:
            try:
                operation = pickle.load(reader)
            except EOFError:
                return
            pickle.dump(act(system, operation), writer)
            writer.flush()


# ---------------------------------------------------------------------- comparison
NOISE = {f"{room}.overlay.{name}" for room in ("trusted", "user") for name in ("origin", "impure", "uuid", "nlink")}


def is_noise(key: str) -> bool:
    return key in NOISE


def tree(top: Path, start: int, raw: bool) -> dict[str, object]:
    """Everything below ``top``; times since ``start`` count as "now"."""
    found: dict[str, object] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            names = os.listdir(top / folder)
        except OSError as error:
            found[folder] = errno.errorcode[error.errno]
            continue
        for name in names + ([] if folder else ["."]):
            path = f"{folder}/{name}" if folder else name
            place = top / path
            try:
                stat = os.lstat(place)
            except FileNotFoundError:
                continue
            except OSError as error:
                found[path] = errno.errorcode[error.errno]
                continue
            whiteout = modes.S_ISCHR(stat.st_mode) and not stat.st_rdev
            if whiteout:
                found[path] = "whiteout"
                continue
            time_seen = "now" if stat.st_mtime_ns >= start else stat.st_mtime_ns
            keys = [key for key in os.listxattr(place, follow_symlinks=False) if not is_noise(key)]
            xattrs = {key: os.getxattr(place, key, follow_symlinks=False) for key in sorted(keys)}
            content: object = None
            if modes.S_ISLNK(stat.st_mode):
                content = os.readlink(place)
            elif modes.S_ISREG(stat.st_mode):
                content = place.read_bytes()
            links = stat.st_nlink if raw and not modes.S_ISDIR(stat.st_mode) else None
            found[path] = (visible_stat(stat), time_seen, xattrs, content, links)
            if modes.S_ISDIR(stat.st_mode) and name != ".":
                pending.append(path)
    return found


def is_kept(operation: Operation) -> bool:
    """Whether it sets an owner or makes a device, which the engine keeps beside the file where the kernel refuses."""
    name, _, *rest = operation
    if name == "mknod":
        kind, device = modes.S_IFMT(rest[0]), rest[1]
        return kind == modes.S_IFBLK or (kind == modes.S_IFCHR and device != 0)
    return name == "chown" and 1000 in rest[:2]


def is_same_file(upper: Path, operation: Operation) -> bool:
    """Whether a rename is of two names that were linked in the upper layer, which does nothing.

    In a user namespace the kernel can't decode the first one's origin, takes the names for two files until the next
    mount, and then finds that they are one.
    """
    name, *paths = operation[:3]
    if name != "rename":
        return False
    first, second = (os.lstat(upper / str(path).strip("/")) for path in paths)
    return os.path.samestat(first, second)


def run_case(home: Path, seed: int, count: int, features: set[str]) -> None:
    rng = random.Random(seed)
    user = "userxattr" in features
    prefix, owners = ("user", (0,)) if user else ("trusted", (0, 1000))
    features = features - {"userxattr"}
    make = partial(make_layer, rng=rng, marks=(), prefix=f"{prefix}.overlay.", owners=owners)
    layers = [home / f"layer{number}" for number in range(rng.randint(1, 4))]
    os.umask(0o022)
    for layer in layers:
        make(layer)
    for name in ("kernel", "kernel-work", "engine", "engine-work", "merged"):
        (home / name).mkdir()
    if rng.random() < 0.7:
        make(home / "start")
        for name in ("kernel", "engine"):
            (home / name).rmdir()
            subprocess.run(["cp", "-a", str(home / "start"), str(home / name)], check=True)
    for name in ("kernel", "engine"):
        os.utime(home / name, ns=(10**18, 10**18))  # made one after the other, and so perhaps at either side of now
    os.umask(rng.choice((0o022, 0o077, 0)))
    start = time.time_ns() - 20_000_000
    lowers = layers[::-1]
    options = [
        f"lowerdir={':'.join(map(str, lowers))}",
        f"upperdir={home}/kernel",
        f"workdir={home}/kernel-work",
        "userxattr" if user else "index=off",
    ]
    options += [f"{name}=on" for name in sorted(features)]
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join(options), str(home / "merged")], check=True)
    kernel = Confined(home / "merged")
    try:
        keywords = dict.fromkeys(features, True)
        with Overlay(lowers, home / "engine", home / "engine-work", xattr=prefix, **keywords) as engine:
            for number in range(count):
                operation = random_operation(rng)
                if user and is_kept(operation):
                    continue
                expected, found = kernel.perform(operation), perform(engine, operation)
                if user and expected == "ESTALE" and is_same_file(home / "engine", operation):
                    expected = None
                assert found == expected, (
                    f"seed {seed}, operation {number} {operation}: kernel {expected}, engine {found}"
                )
        seen_by_kernel = tree(home / "merged", start, raw=False)
    finally:
        kernel.close()
        subprocess.run(["umount", str(home / "merged")], check=True)
    compare(tree(home / "kernel", start, raw=True), tree(home / "engine", start, raw=True), f"seed {seed}: upper")
    options[1], options[2] = f"upperdir={home}/engine", f"workdir={home}/engine-work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join(options), str(home / "merged")], check=True)
    try:
        seen_of_engine = tree(home / "merged", start, raw=False)
    finally:
        subprocess.run(["umount", str(home / "merged")], check=True)
    compare(seen_by_kernel, seen_of_engine, f"seed {seed}: merged view")


def compare(expected: dict[str, object], found: dict[str, object], what: str) -> None:
    lines = [
        f"  {path!r}: kernel {expected.get(path)}, engine {found.get(path)}"
        for path in sorted(expected.keys() | found.keys())
        if expected.get(path) != found.get(path)
    ]
    assert not lines, "\n".join([what, *lines])


def main() -> int:
    folder, first, last, count, *features = sys.argv[1:]
    confine(Path(folder))
    failures = 0
    for seed in range(int(first), int(last)):
        home = Path(folder) / f"case{seed}"
        home.mkdir()
        try:
            run_case(home, seed, int(count), set(features))
        except AssertionError as error:
            failures += 1
            print(error, flush=True)
            if failures > 20:
                break
        shutil.rmtree(home, ignore_errors=True)
    print(f"{int(last) - int(first)} cases, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
