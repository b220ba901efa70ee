"""What copying and unpacking do to an overlay alike."""

from __future__ import annotations

import stat as modes

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.lab.build.files import Entry, Tree, resolved
from layerscope.overlay.engine import Overlay


def dress(overlay: Overlay, target: str, entry: Entry) -> None:
    """Give what is at ``target`` (no first slash) the entry's owner, capability, mode and time."""
    where = f"/{target}"
    overlay.lchown(where, entry.uid, entry.gid)
    if entry.capability:
        overlay.setxattr(where, "security.capability", entry.capability, follow_symlinks=False)
    if not modes.S_ISLNK(entry.mode):
        overlay.chmod(where, modes.S_IMODE(entry.mode))
    set_time(overlay, target, entry)


def set_time(overlay: Overlay, target: str, entry: Entry) -> None:
    """Give what is at ``target`` the entry's time, in whole seconds."""
    time_ns = entry.mtime_ns // 10**9 * 10**9
    overlay.utime(f"/{target}", ns=(time_ns, time_ns), follow_symlinks=False)


def make_directories(overlay: Overlay, files: Tree, path: str, owner: tuple[int, int] = (0, 0)) -> None:
    """Make a directory and those above it that are missing, mode 0755; what is there stays.

    Raises:
        CommitError: something there is no directory.
    """
    names = path.split("/") if path else []
    for depth in range(1, len(names) + 1):
        here = "/".join(names[:depth])
        entry = files.entry(resolved(files, here))
        if entry is not None and not entry.is_directory:
            raise CommitError(f"cannot make the directory /{escape(path)}: /{escape(here)} is none")
        if entry is None:
            overlay.mkdir(f"/{here}", 0o755)
            overlay.chmod(f"/{here}", 0o755)
            overlay.lchown(f"/{here}", *owner)


def remove_all(overlay: Overlay, path: str) -> None:
    """Take away a file, or a directory with everything in it; nothing there is no error."""
    pending = [(path, False)]
    while pending:
        here, emptied = pending.pop()
        try:
            if emptied:
                overlay.rmdir(here)
            elif modes.S_ISDIR(overlay.lstat(here).st_mode):
                pending.append((here, True))
                pending += [(f"{here}/{name}", False) for name in overlay.listdir(here)]
            else:
                overlay.unlink(here)
        except FileNotFoundError:
            continue
