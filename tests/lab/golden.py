"""Upper directories as archives, with what docker's commit made of them; readable without any privilege."""

from __future__ import annotations

import errno
import io
import json
import os
import stat as modes
import subprocess
import tarfile
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from layerscope.formats.engine_rules import EngineRules
from layerscope.lab.layer.upper import CommitRules
from layerscope.model.tree import Kind

DATA = Path(__file__).parents[1] / "data" / "layer-tar"
TRUTHS = {"20.10": "truth.json", "28.5.2": "truth-28.json"}


@cache
def truth(engine: str) -> dict[str, Any]:
    """What that engine answered."""
    found: dict[str, Any] = json.loads((DATA / TRUTHS[engine]).read_text())
    return found


NAMES = sorted(truth("20.10")["vectors"])


def commit_rules(name: str, engine: str, rules: EngineRules) -> CommitRules:
    """How a commit of the vector ``name`` was made, with the owner names of the host whose truth ``engine`` names."""
    told = truth(engine)
    host = told["vectors"][name].get("host", told["host"])
    users, groups = ({int(i): n.encode() for i, n in host[kind].items()} for kind in ("users", "groups"))
    return CommitRules(rules, users=users, groups=groups)


def unpacked(name: str, target: Path) -> Path:
    """The vector as a directory, made by GNU tar as root."""
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf", DATA / f"{name}.tar.gz"]
    # It warns of times before 1970; that it made everything shows in the diff ID.
    subprocess.run([*command, "-C", target], check=True, stderr=subprocess.DEVNULL)
    return target


class Archive:
    """A tar.gz whose members can be read in any order; hard links lead to the member they name."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        self.members = {member.name.removeprefix("./"): member for member in self._tar if member.name != "."}
        self.first = {
            path: member.linkname.removeprefix("./") if member.islnk() else path
            for path, member in self.members.items()
        }
        self._inodes = {path: number for number, path in enumerate(self.members, start=2)}

    def stat(self, path: str) -> os.stat_result:
        """``lstat`` of a member: inode numbers of our own, times to the nanosecond."""
        first = self.first[path]
        member = self.members[first]
        kinds = {
            tarfile.DIRTYPE: modes.S_IFDIR,
            tarfile.SYMTYPE: modes.S_IFLNK,
            tarfile.CHRTYPE: modes.S_IFCHR,
            tarfile.BLKTYPE: modes.S_IFBLK,
            tarfile.FIFOTYPE: modes.S_IFIFO,
        }
        kind = kinds.get(member.type, modes.S_IFREG)
        device = kind in (modes.S_IFCHR, modes.S_IFBLK)
        nanoseconds = int(Decimal(member.pax_headers.get("mtime", str(int(member.mtime)))) * 10**9)
        links = sum(target == first for target in self.first.values())
        front = [kind | member.mode & 0o7777, self._inodes[first], 1, links, member.uid, member.gid, member.size]
        whole = [nanoseconds // 10**9] * 3
        rdev = os.makedev(member.devmajor, member.devminor) if device else 0
        return os.stat_result([*front, *whole, *map(float, whole), *[nanoseconds] * 3, 4096, 0, rdev])

    def content(self, path: str) -> bytes:
        """The bytes of a regular file."""
        file = self._tar.extractfile(self.members[self.first[path]])
        assert file is not None
        return file.read()


class ArchiveDirectory:
    """One directory of an archive, as a layer's directory is read."""

    def __init__(self, archive: Archive, path: str = "") -> None:
        self._archive = archive
        self._path = path

    def _at(self, name: str) -> str:
        path = f"{self._path}/{name}" if self._path and name else name or self._path
        if path not in self._archive.members:
            raise FileNotFoundError(errno.ENOENT, "not in the archive", path)
        return path

    def scan(self) -> Iterable[tuple[str, Kind]]:
        front = f"{self._path}/" if self._path else ""
        for path in self._archive.members:
            if path.startswith(front) and "/" not in path[len(front) :]:
                mode = self._archive.stat(path).st_mode
                words: dict[int, Kind] = {modes.S_IFDIR: "d", modes.S_IFREG: "f", modes.S_IFLNK: "l"}
                yield path[len(front) :], words.get(modes.S_IFMT(mode), "o")

    def stats(self, names: Iterable[str]) -> list[os.stat_result | None]:
        return [self._archive.stat(self._at(name)) for name in names]

    def stat(self, name: str) -> os.stat_result:
        return self._archive.stat(self._at(name))

    def stat_self(self) -> os.stat_result:
        return self._archive.stat(self._path)

    def enter(self, name: str) -> ArchiveDirectory:
        return ArchiveDirectory(self._archive, self._at(name))

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._archive.content(self._at(name)))

    def readlink(self, name: str) -> str:
        return self._archive.members[self._archive.first[self._at(name)]].linkname

    def xattrs(self, name: str = "") -> dict[str, bytes]:
        headers = self._archive.members[self._archive.first[self._at(name)]].pax_headers
        front = "SCHILY.xattr."
        return {
            k[len(front) :]: v.encode("utf-8", "surrogateescape") for k, v in headers.items() if k.startswith(front)
        }

    def xattr(self, key: str, name: str = "") -> bytes | None:
        return self.xattrs(name).get(key)


@cache
def archive(name: str) -> Archive:
    """The vector ``name``, read in place."""
    return Archive(DATA / f"{name}.tar.gz")


def upper(name: str) -> ArchiveDirectory:
    """The upper directory of the vector ``name``."""
    return ArchiveDirectory(archive(name))
