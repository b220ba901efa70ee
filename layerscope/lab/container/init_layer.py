"""The init layer of a container: what docker lays between image and writable layer, to mount its own files over.

Everything is root's, mode 0755: empty files ``.dockerenv dev/console etc/hostname etc/hosts etc/resolv.conf``,
directories ``dev dev/pts dev/shm etc proc sys``, the symlink ``etc/mtab`` to ``/proc/mounts``. Of what the image has
in these places, and above them, only directories stay. Source: moby daemon/initlayer/setup_unix.go; seen with
20.10.24.
"""

from __future__ import annotations

import os

from layerscope.overlay.engine import Overlay

_WANTED = (
    ("dev/pts", "dir"),
    ("dev/shm", "dir"),
    ("proc", "dir"),
    ("sys", "dir"),
    (".dockerenv", "file"),
    ("etc/resolv.conf", "file"),
    ("etc/hosts", "file"),
    ("etc/hostname", "file"),
    ("dev/console", "file"),
    ("etc/mtab", "/proc/mounts"),
)


def fill_init_layer(overlay: Overlay) -> None:
    """Lay docker's files over the image's, through an overlay whose upper directory is the init layer.

    Raises:
        OSError: as the overlay's operations.
    """
    for path, kind in _WANTED:
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            _unlink("/".join(names[:depth]), overlay)
        if _is_there(path, overlay):
            continue
        _make_directories(overlay, names[:-1] if kind != "dir" else names)
        if kind == "file":
            os.close(overlay.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755))
            overlay.chown(path, 0, 0)
            overlay.chmod(path, 0o755)
        elif kind != "dir":
            overlay.symlink(kind, path)
            overlay.lchown(path, 0, 0)


def _unlink(path: str, overlay: Overlay) -> None:
    """Take away what is there, unless it is a directory."""
    try:
        overlay.unlink(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return


def _is_there(path: str, overlay: Overlay) -> bool:
    try:
        overlay.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _make_directories(overlay: Overlay, names: list[str]) -> None:
    for depth in range(1, len(names) + 1):
        path = "/".join(names[:depth])
        if not _is_there(path, overlay):
            overlay.mkdir(path, 0o755)
            overlay.chown(path, 0, 0)
            overlay.chmod(path, 0o755)
