"""File systems filled through a mount, and what the kernel and a reader of ours say of every entry in them."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat as modes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from layerscope.model.tree import LayerDirectory


class Told(NamedTuple):
    """What is said of one entry; times in nanoseconds, ``content`` is a digest."""

    mode: int
    inode: int
    links: int
    uid: int
    gid: int
    size: int
    sectors: int
    block_bytes: int
    device: int
    times: tuple[int, int, int]
    target: str
    content: str
    xattrs: dict[str, bytes]


def told(stat: os.stat_result, target: str, content: str, xattrs: dict[str, bytes]) -> Told:
    """The facts of one entry."""
    times = (stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns)
    owner = (stat.st_uid, stat.st_gid)
    size = (stat.st_size, stat.st_blocks, stat.st_blksize)
    return Told(stat.st_mode, stat.st_ino, stat.st_nlink, *owner, *size, stat.st_rdev, times, target, content, xattrs)


def kernels(mount: Path) -> dict[str, Told]:
    """What the kernel says of every entry below a mount, and of its top ("")."""
    found: dict[str, Told] = {}
    pending = [""]
    while pending:
        path = pending.pop()
        place = os.path.join(mount, path) if path else str(mount)
        stat = os.lstat(place)
        target = os.readlink(place) if modes.S_ISLNK(stat.st_mode) else ""
        content = hashlib.sha256(Path(place).read_bytes()).hexdigest() if modes.S_ISREG(stat.st_mode) else ""
        names = os.listxattr(place, follow_symlinks=False)
        xattrs = {name: os.getxattr(place, name, follow_symlinks=False) for name in names}
        found[path] = told(stat, target, content, xattrs)
        if modes.S_ISDIR(stat.st_mode):
            pending.extend(f"{path}/{name}".lstrip("/") for name in os.listdir(place))
    return found


def readers(top: LayerDirectory) -> dict[str, Told]:
    """What the reader says of every entry."""
    found = {"": told(top.stat_self(), "", "", top.xattrs())}
    pending = [("", top)]
    while pending:
        path, directory = pending.pop()
        listed = dict(directory.scan())
        for name, stat in zip(listed, directory.stats(listed), strict=True):
            assert stat is not None
            below = f"{path}/{name}".lstrip("/")
            target = directory.readlink(name) if listed[name] == "l" else ""
            content = ""
            if listed[name] == "f":
                with directory.open(name) as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[below] = told(stat, target, content, directory.xattrs(name))
            if listed[name] == "d":
                pending.append((below, directory.enter(name)))
    return found


_HOLD = 'mount -o "loop,$1" "$2" "$3" && echo mounted && { read -r _; umount "$3"; }'


@contextmanager
def mounted(image: Path, options: str) -> Iterator[Path]:
    """The file system in ``image``, mounted where only those see it who are given the path.

    Whoever makes a mount namespace meanwhile, as other tests and engines do, would else take a copy of the mount into
    it: after umount(8) the kernel still had the file system open, the journal not yet written into its places.
    """
    place = image.with_suffix(".mount")
    place.mkdir(exist_ok=True)
    words = ["unshare", "--mount", "sh", "-c", _HOLD, "sh", options, str(image), str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            if holder.stdout.readline() == b"mounted\n":
                yield Path(f"/proc/{holder.pid}/root{place.resolve()}")
        finally:
            holder.communicate()
    if holder.returncode:
        raise subprocess.CalledProcessError(holder.returncode, words)


def fill(top: Path) -> None:
    """Entries of every kind that a file system may hold, as far as this one takes them."""
    source = random.Random(20)
    (top / "empty").touch()
    (top / "small").write_bytes(b"sixteen bytes...")
    (top / "medium").write_bytes(source.randbytes(150))
    (top / "large").write_bytes(source.randbytes(3_000_000))
    for length in (1, 59, 60, 61, 255, 900):
        os.symlink("x" * length, top / f"link-{length}")
    os.link(top / "large", top / "another-name")
    os.mkfifo(top / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.open(top, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{place}/socket")
        finally:
            os.close(place)
    for name, kind, device in (
        ("null", modes.S_IFCHR, (1, 3)),
        ("whiteout", modes.S_IFCHR, (0, 0)),
        ("disk", modes.S_IFBLK, (259, 70000)),
    ):
        os.mknod(top / name, kind | 0o600, os.makedev(*device))
    os.chmod(top / "small", 0o6755)
    os.chown(top / "small", 3_000_000_000, 70_000)
    sparse(top)
    times(top)
    attributes(top)
    directories(top, source)


def sparse(top: Path) -> None:
    """Files with holes, with space that was reserved and never written, and in many pieces."""
    with (top / "holes").open("wb") as file:
        for block in (0, 5, 300, 70_000):
            file.seek(block * 4096 + 7)
            file.write(b"island %d" % block)
        file.truncate(70_010 * 4096 + 3)
    with (top / "only-a-hole").open("wb") as file:
        file.truncate(1_000_000)
    with (top / "reserved").open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 500_000)
        except OSError:
            pass  # not with indirect blocks
        file.seek(123_456)
        file.write(b"written")
    with (top / "pieces").open("wb") as file:
        for block in range(0, 900, 2):
            file.seek(block * 4096)
            file.write(b"%d" % block)
        file.flush()
        os.fsync(file.fileno())


def times(top: Path) -> None:
    """Times before 1970, after 2038, after 2106, with nanoseconds."""
    for number, seconds in enumerate((-1, -(2**31), 2**31 - 1, 2**31, 2**32 + 5, 2**33, 3 * 2**32 - 1)):
        path = top / f"time-{number}"
        path.touch()
        os.utime(path, ns=(seconds * 10**9 + 123_456_789, seconds * 10**9 + 999_999_999))


def attributes(top: Path) -> None:
    """Extended attributes in the inode, in a block, in inodes of their own; capabilities; access control lists."""
    path = top / "attributes"
    path.touch()
    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "trusted.overlay.opaque", b"y")
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    for number in range(6):
        os.setxattr(path, f"user.many.{number}", bytes([number]) * 90)
    big = top / "big-attribute"
    big.touch()
    try:
        os.setxattr(big, "user.big", bytes(range(250)) * 200)
    except OSError:
        os.setxattr(big, "user.big", bytes(range(250)) * 3)
    named = top / "acl"
    named.mkdir()
    entry = [(1, 7, 2**32 - 1), (2, 5, 1000), (4, 5, 2**32 - 1), (8, 4, 70_000), (16, 7, 2**32 - 1), (32, 1, 2**32 - 1)]
    acl = b"\2\0\0\0" + b"".join(t.to_bytes(2, "little") + p.to_bytes(2, "little") + i.to_bytes(4, "little")
                                 for t, p, i in entry)  # fmt: skip
    os.setxattr(named, "system.posix_acl_access", acl)
    os.setxattr(named, "system.posix_acl_default", acl)
    os.setxattr(top / "null", "trusted.on-a-device", b"v")
    os.setxattr(top / "link-60", "trusted.on-a-link", b"w", follow_symlinks=False)


def directories(top: Path, source: random.Random) -> None:
    """Names of every length and byte, a hashed directory of two levels with gaps, a deep path."""
    names = top / "names"
    names.mkdir()
    for name in (b"\xff\xfe", b"a\nb", "日本語".encode(), b"n" * 255, b"-", b"..."):
        Path(os.fsdecode(os.path.join(os.fsencode(names), name))).write_bytes(name)
    many = top / "many"
    many.mkdir()
    for number in range(2500):
        (many / f"{number:05}{'x' * source.randrange(1, 120)}").touch()
    for number, path in enumerate(sorted(many.iterdir())):
        if number % 3 == 0:
            path.unlink()
    few = top / "few"
    few.mkdir()
    (few / "only").write_text("one")
    deep = top
    for _ in range(80):
        deep /= "d"
        deep.mkdir()
    (deep / "bottom").write_text("reached")
