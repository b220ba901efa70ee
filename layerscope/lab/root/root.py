"""A root opened for writing: who may, and who else is kept out meanwhile.

Written to are lab roots, which their marker tells; a real root only if that is asked for, by root, and while no daemon
holds it for certain. docker's own lock is taken, too, where its file is there: a daemon that is started meanwhile
doesn't get it and says so. Source: moby volume/service/store.go (bolt keeps an exclusive flock).
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from layerscope.errors import CommitError, RootError, UnsupportedError
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.hostfs.locks import held_locks, lock_on
from layerscope.hostfs.mounts import mounts_below
from layerscope.lab.root.abilities import ROOT, Abilities, abilities_in
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.marker import MARKER, LabMarker, read_marker
from layerscope.model.digest import CacheID
from layerscope.stores.detect import detect, open_directory
from layerscope.stores.docker.liveness import find_liveness
from layerscope.stores.docker.store import DockerStore

DRIVER = "overlay2"
_DAEMONS_LOCK = "volumes/metadata.db"
"""Locked by every daemon for as long as it lives; one that can't lock it doesn't start."""
_LOCK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LabRoot:
    """A root that may be written to, and its lock; a context manager.

    ``marker`` is None for a real root. ``abilities`` are what this user can leave on its disk.
    """

    def __init__(self, path: Path, top: Directory, marker: LabMarker | None) -> None:
        self.path = path
        self.top = top
        self.marker = marker
        self.disk = Disk(top)
        self._locks: list[int] = []
        self._abilities: Abilities | None = None

    @classmethod
    def open(cls, path: Path, *, allow_real_root: bool = False) -> Self:
        """The root at ``path``, locked against every other writer.

        Raises:
            RootError: there is no root, or it can't be read.
            CommitError: it may not be written to; the text has the evidence.
        """
        top = open_directory(path)
        root = cls(path, top, read_marker(top))
        try:
            root._demand_permission(allow_real_root)
            root._lock()
        except BaseException:
            root.close()
            raise
        return root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other writers in."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        self.top.close()

    # ------------------------------------------------------------------ what it is
    @property
    def is_lab(self) -> bool:
        """Whether it is a root of our own."""
        return self.marker is not None

    @property
    def xattr_prefix(self) -> str:
        """``trusted`` or ``user``: the prefix of the marks that count here."""
        return self.marker.xattr_prefix if self.marker is not None else "trusted"

    @property
    def overrides(self) -> bool:
        """Whether owners and modes are kept beside the files: a lab that was made without privilege."""
        return self.xattr_prefix == "user"

    @property
    def abilities(self) -> Abilities:
        """In which form layers are kept here."""
        if self._abilities is None:
            if self.overrides:
                found = abilities_in(self.path, "user")
                self._abilities = replace(found, owners=False)
            else:
                self._abilities = ROOT
        return self._abilities

    def store(self) -> DockerStore:
        """The records as they are now."""
        return DockerStore(self.top, self.path, DRIVER)

    def demand_unmounted(self, cache_id: CacheID, doing: str) -> None:
        """Refuse where a layer is in use by a mount.

        Raises:
            CommitError: it is mounted.
        """
        point = f"/{DRIVER}/{cache_id}/merged"
        for mount in mounts_below(Path(os.path.realpath(self.path))):
            if mount.point.endswith(point):
                raise CommitError(f"{doing}: its writable layer is mounted at {escape(mount.point)}; unmount it")

    # ------------------------------------------------------------------ who may
    def _demand_permission(self, allow_real_root: bool) -> None:
        place = escape(os.fspath(self.path))
        if DRIVER not in detect(self.top, self.path).drivers:
            raise UnsupportedError(f"cannot write to {place}: it holds no records of {DRIVER}, the only driver written")
        liveness = find_liveness(self.top, self.path)
        evidence = "; ".join(liveness.evidence)
        if liveness.held:
            raise CommitError(f"cannot write to {place}: a daemon holds it: {evidence}; stop it first")
        if self.is_lab:
            if not self.overrides and os.geteuid() != 0:
                raise CommitError(
                    f"cannot write to {place}: root made this lab, with owners and marks only root can set"
                )
            return
        if not allow_real_root:
            raise CommitError(
                f"cannot write to {place}: it is no lab root (there is no {MARKER}); "
                "layerscope lab new makes one; --allow-real-root writes to a real one that no daemon holds"
            )
        if liveness.held is None:
            raise CommitError(f"cannot write to {place}: whether a daemon holds it can't be told: {evidence}")
        if os.geteuid() != 0:
            raise CommitError(f"cannot write to {place}: a real root is written to as root only")
        owner = self.top.enter(DRIVER).stat_self()
        if (owner.st_uid, owner.st_gid) != (0, 0):
            raise CommitError(
                f"cannot write to {place}: it belongs to a remapped or rootless daemon (its {DRIVER} to "
                f"{owner.st_uid}:{owner.st_gid}), whose ids are not known"
            )

    def _lock(self) -> None:
        """Take our own lock, on the marker, and the one that a daemon takes."""
        names = [MARKER] if self.is_lab else []
        for name in [*names, _DAEMONS_LOCK]:
            folder, _, base = name.rpartition("/")
            directory = self.top.descend(folder)
            try:
                with directory.held() as fd:
                    lock = os.open(base, _LOCK, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                if name == MARKER or error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EACCES):
                    raise RootError(f"cannot lock {escape(name)}: {error.strerror}") from None
                continue
            self._locks.append(lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommitError(self._busy(name, os.fstat(lock))) from None
            except OSError as error:
                if self.is_lab and error.errno in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
                    continue  # a file system without locks: nobody can be kept out
                raise CommitError(f"cannot lock {escape(name)}: {error.strerror}") from None

    def _busy(self, name: str, stat: os.stat_result) -> str:
        holder = lock_on(stat, held_locks() or [])
        who = f"process {holder.pid}{_program(holder.pid)}" if holder is not None else "another process"
        return f"cannot write to {escape(os.fspath(self.path))}: {who} is writing to it ({name} is locked); wait for it"


def _program(pid: int) -> str:
    try:
        return f" ({escape(Path(f'/proc/{pid}/comm').read_text('utf-8', 'replace').strip())})"
    except OSError:
        return ""
