"""A sample root to spoil, and the verbs that must survive it; beside it lies a secret that no answer may hold."""

from __future__ import annotations

import os
import shutil
import socket
import stat as modes
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sample_roots import truth

SECRET = b"TOP-SECRET-OF-THE-HOST"
IMAGE, CONTAINER = "layerscope/app:1.0", "editor"
RECORDS = "image/overlay2"


def _id_of(container: str) -> str:
    listed = truth("overlay2", "api-containers")
    return str(next(entry["Id"] for entry in listed if entry["Names"] == [f"/{container}"]))


def _mounted(container: str) -> list[str]:
    """Cache IDs of a container's levels, top first."""
    inspected = truth("overlay2", "inspect-containers")
    directories = next(entry for entry in inspected if entry["Name"] == f"/{container}")["GraphDriver"]["Data"]
    return [path.split("/")[-2] for path in (directories["UpperDir"], *directories["LowerDir"].split(":"))]


EDITOR, IDLE = _id_of("editor"), _id_of("idle")
UPPER, INIT, *LAYERS = _mounted("editor")
TOP, BASE = LAYERS[0], LAYERS[-1]
CHAINS = truth("overlay2", "image-tree")[
    next(image["Id"] for image in truth("overlay2", "inspect-images") if image["RepoTags"] == [IMAGE])
]["Layers"]
BASE_CHAIN = CHAINS[0].removeprefix("sha256:")


class Root(NamedTuple):
    """A root to spoil. ``outside`` is a directory of the host beside it, with a secret in it."""

    path: Path
    outside: Path

    @property
    def upper(self) -> Path:
        """The writable layer of ``editor``."""
        return self.path / "overlay2" / UPPER / "diff"

    def replace(self, name: str, text: str | bytes) -> None:
        """A record with another content."""
        path = self.path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def link(self, name: str, target: str | Path) -> None:
        """A symlink in the place of whatever is there."""
        self.remove(name)
        (self.path / name).symlink_to(target)

    def remove(self, name: str) -> None:
        """Take away what is there."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()

    def special(self, name: str, kind: str) -> None:
        """Something that is no file in the place of one."""
        self.remove(name)
        path = self.path / name
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, modes.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: reading it never ends
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    listener.bind(f"/proc/self/fd/{here}/{path.name}")
                finally:
                    os.close(here)
        else:
            path.mkdir()

    def huge(self, name: str) -> None:
        """A terabyte without a block."""
        path = self.path / name
        path.touch()
        try:
            os.truncate(path, 1 << 40)
        except OSError:
            os.truncate(path, 1 << 33)


class Answer(NamedTuple):
    """What the program answered."""

    code: int
    out: bytes
    err: str


Ask = Callable[..., Answer]


VERBS: list[tuple[str, ...]] = [
    ("info", "--json"),
    ("images", "--all", "--json"),
    ("images", "--tree"),
    ("ps", "--json"),
    ("history", IMAGE),
    ("inspect", CONTAINER),
    ("stack", CONTAINER),
    ("stack", IMAGE, "--json"),
    ("diff", CONTAINER),
    ("diff", CONTAINER, "--corrected", "--json"),
    ("diff", IMAGE, CONTAINER),
    ("ls", "-R", "--all", CONTAINER),
    ("ls", "-R", "--json", IMAGE),
    ("cat", f"{CONTAINER}:/etc/passwd"),
    ("blame", f"{CONTAINER}:/etc/motd"),
    ("explain", f"{CONTAINER}:/etc/motd"),
    ("whose", f"overlay2/{UPPER}"),
    ("whose", EDITOR),
    ("find", "*", "--json"),
    ("find", "*", CONTAINER, "--deleted"),
    ("waste", IMAGE, "--json"),
    ("waste", IMAGE, "--everywhere"),
    ("verify", "--deep", "--json"),
    ("doctor", "--json"),
    ("df", "--json"),
    ("df", "--docker"),
    ("reclaim", CONTAINER),
    ("scan", "-o", "/dev/null", "--json"),
    ("export", CONTAINER),
]
