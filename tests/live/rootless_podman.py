"""A real podman that a user without privilege runs, on a store in his home."""

from __future__ import annotations

import os
from functools import cache

import rootless_user
from engine import busybox, minimal_tar
from rootless_user import USER, RootlessUser

FUSE = ("--storage-opt", "overlay.mount_program=/usr/bin/fuse-overlayfs")
MASK = (*FUSE, "--storage-opt", "overlay.force_mask=shared")
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vfs": ("vfs", ()),
    "overlay": ("overlay", ()),
    "fuse-overlayfs": ("overlay", FUSE),
    "owners in attributes": ("overlay", MASK),
}
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@cache
def missing(kind: str) -> str | None:
    """Why no rootless podman can run here with a kind of store, or None. Where all is installed one is run, to see."""
    reason = rootless_user.missing("podman", *(["fuse-overlayfs"] if KINDS[kind][1] else []))
    if reason:
        return reason
    if busybox() is None:
        return "no static busybox to run in containers (apt-get install busybox-static)"
    try:
        engine = RootlessPodman(kind)
    except OSError as error:
        return f"the user's machine can't be made here: {error}"
    try:
        engine.import_tar(minimal_tar().bytes(), "localhost/probe:1")
        engine.run("run", *_LIMITS, "--network", "none", "localhost/probe:1", "/bin/busybox", "true")
    except (RuntimeError, OSError) as error:
        return f"a rootless podman can't run containers here: {' '.join(str(error).split())[-300:]}"
    finally:
        engine.remove()
    return None


class RootlessPodman:
    """One store, below ``root``."""

    def __init__(self, kind: str) -> None:
        driver, options = KINDS[kind]
        self.keeps_image_owners = bool(options)
        """Containers in namespaces of their own get no copies: fuse-overlayfs shifts what it shows."""
        self.owners_in_attributes = options == MASK
        self.user = RootlessUser(str(USER), fuse=bool(options))
        self.root = self.user.home / ".local/share/containers/storage"
        self._podman = ["podman", "--storage-driver", driver, "--cgroup-manager", "cgroupfs"]
        self._podman += ["--events-backend", "file", *options]

    def run(self, *arguments: str, data: bytes | None = None) -> str:
        """What a command of podman's prints."""
        return os.fsdecode(self.user.run(*self._podman, *arguments, data=data))

    def import_tar(self, data: bytes, name: str) -> None:
        """An image of one layer."""
        self.run("import", "-", name, data=data)

    def shell(self, name: str, image: str, script: str, *options: str) -> str:
        """What a container prints that runs ``script`` and ends."""
        words = ("--network", "none", "--name", name, *options, image, "/bin/busybox", "sh", "-c", script)
        return self.run("run", *_LIMITS, *words)

    def facts(self, name: str) -> dict[str, tuple[int, int, str, str]]:
        """Owner, group, mode and type of everything in a container, as seen in the namespace that podman works in."""
        look = 'find "$(%s mount %s)" -mindepth 1 -printf "%%P\\t%%U\\t%%G\\t%%m\\t%%y\\n"'
        printed = self.run("unshare", "sh", "-c", look % (" ".join(self._podman), name))
        found = {}
        for line in printed.splitlines():
            path, user, group, mode, kind = line.split("\t")
            found[path] = (int(user), int(group), mode, kind)
        return found

    def remove(self) -> None:
        """Remove everything, the process of podman's that keeps its namespaces too."""
        self.user.remove()
