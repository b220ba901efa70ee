"""Changes to one container's files, each with its error in one line: what a person asks for at a screen.

Paths are those of the container's view, without leading slash. Every function takes the lab's lock for as long as it
works, and waits for another one of this process; ``tick`` is called now and then on the way, and stops the work by
raising. What was done until then stays, except where it says otherwise.
"""

from __future__ import annotations

import errno
import io
import os
import stat as modes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from layerscope.errors import CommitError, LayerscopeError, UsageError
from layerscope.formats.escape import escape
from layerscope.hostfs.rename import RENAME_NOREPLACE
from layerscope.lab.container.copying import copy_in as copy_tree_in
from layerscope.lab.root.marker import read_marker
from layerscope.lab.shell.arguments import mode_of, owner_of
from layerscope.lab.shell.commands import copy, remove
from layerscope.lab.shell.interpreter import CommandError, Shell
from layerscope.model.subject import Subject
from layerscope.overlay import MergedView
from layerscope.overlay.engine import Overlay
from layerscope.services.faults import told
from layerscope.services.lab.lab import Lab, open_lab
from layerscope.services.session import Session

Tick = Callable[[], None]

MOST_EDITED = 16 << 20
"""More bytes than that aren't given to an editor."""
_LONGEST_SHOWN = 60
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_OVERWRITE = os.O_WRONLY | os.O_NOFOLLOW
_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755
"""What a process in a container gives to what it makes: its umask is 022."""
_SAID = {
    errno.EEXIST: "something of that name is there already",
    errno.ENOTEMPTY: "that directory isn't empty",
    errno.ENOENT: "there is no such file or directory",
    errno.ENOTDIR: "a part of that path is no directory",
    errno.EISDIR: "it is a directory",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk's quota is used up",
    errno.EROFS: "the disk is mounted read-only",
    errno.ENAMETOOLONG: "that name is too long",
    errno.EBUSY: "it is in use",
    errno.EINVAL: "a directory can't go into itself",
    errno.ELOOP: "it is a symlink",
}
_one_at_a_time = threading.Lock()


def _nothing() -> None:
    """Go on."""


# ---------------------------------------------------------------------- who may
def why_not_writable(session: Session) -> str | None:
    """Why nothing can be changed below a root, in one line; None if it can."""
    if read_marker(session.root) is None:
        return "it is no lab root, so it is only read (layerscope lab new makes one)"
    try:
        with changing_lab(session.path):
            return None
    except LayerscopeError as error:
        return str(error)


@contextmanager
def changing_lab(path: Path) -> Iterator[Lab]:
    """The lab, for as long as nobody else of this process has it.

    Raises:
        LayerscopeError: it can't be written to.
    """
    with _one_at_a_time, open_lab(path) as lab:
        yield lab


@contextmanager
def _changing(root: Path, container: str, doing: str) -> Iterator[Overlay]:
    with changing_lab(root) as lab:
        try:
            with lab.overlay(container) as overlay:
                yield overlay
        except CommandError as error:
            raise UsageError(f"{doing}: {escape(str(error))}") from None
        except OSError as error:
            raise CommitError(f"{doing}: {said(error)}") from None


def said(error: OSError) -> str:
    """A system error in plain words, with its name."""
    number = error.errno or 0
    return f"{_SAID.get(number, os.strerror(number))} ({errno.errorcode.get(number, number)})"


def _shown(path: str) -> str:
    """A path in a message: of a long one the end, so that the reason after it stays in sight."""
    text = escape(path)
    return text if len(text) <= _LONGEST_SHOWN else "…" + text[1 - _LONGEST_SHOWN :]


def path_of(folder: str, name: str) -> str:
    """The path that a typed name means: from ``folder``, or with a leading slash from the top.

    Raises:
        UsageError: it names nothing, or leads upwards.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts:
        raise UsageError("a name is needed")
    if ".." in parts:
        raise UsageError("a name can't lead upwards (..): begin with / for a path from the top")
    if "\0" in name:
        raise UsageError("a name can't hold a zero byte")
    above = folder.split("/") if folder and not name.startswith("/") else []
    return "/".join([*above, *parts])


# ---------------------------------------------------------------------- names
def make_file(root: Path, container: str, path: str) -> None:
    """Make an empty file."""
    place = "/" + path
    with _changing(root, container, f"cannot make {_shown(place)}") as overlay:
        os.close(overlay.open(place, _NEW_FILE, _FILE_MODE))
        overlay.chmod(place, _FILE_MODE)


def make_directory(root: Path, container: str, path: str) -> None:
    """Make an empty directory."""
    place = "/" + path
    with _changing(root, container, f"cannot make {_shown(place)}") as overlay:
        overlay.mkdir(place, _DIRECTORY_MODE)
        overlay.chmod(place, _DIRECTORY_MODE)


def delete(root: Path, container: str, path: str, *, recursive: bool = False, tick: Tick = _nothing) -> None:
    """Delete a file or an empty directory; with ``recursive`` a directory and all below it."""
    place = "/" + path
    with _changing(root, container, f"cannot delete {_shown(place)}") as overlay:
        if recursive or not modes.S_ISDIR(overlay.lstat(place).st_mode):
            remove(_Stoppable(overlay, tick), place, recursive)
        else:
            overlay.rmdir(place)


def rename(root: Path, container: str, path: str, target: str, tick: Tick = _nothing) -> bool:
    """Give something another name, which must be free; whether it had to be copied for that.

    A directory of a lower layer can't be renamed where it is (EXDEV): as mv does, it is copied and then deleted. If
    that ends early, the copy is taken away again as long as nothing of the original is.
    """
    old, new = "/" + path, "/" + target
    with _changing(root, container, f"cannot rename {_shown(old)} to {_shown(new)}") as overlay:
        try:
            overlay.rename2(old, new, RENAME_NOREPLACE)
            return False
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        if f"{new}/".startswith(f"{old}/"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        shell = _Stoppable(overlay, tick)
        try:
            copy(shell, old, new, preserve=True)
        except BaseException:
            with suppress(OSError):
                remove(Shell(overlay, io.BytesIO(), _tell_nobody, {}), new, recursive=True)
            raise
        remove(shell, old, recursive=True)
        return True


# ---------------------------------------------------------------------- contents
def change_attributes(root: Path, container: str, path: str, mode: str = "", owner: str = "") -> None:
    """Change permission bits (``644``, ``u+x,go-w``) and owner (``USER:GROUP``, names of the container or ids).

    Either may be "" to be left alone. The mode goes last: a change of owner takes set-id bits away.
    """
    place = "/" + path
    with _changing(root, container, f"cannot change {_shown(place)}") as overlay:
        present = overlay.lstat(place).st_mode
        bits = mode_of(mode, modes.S_IMODE(present), modes.S_ISDIR(present)) if mode else None
        if owner:
            overlay.lchown(place, *owner_of(overlay, owner))
        if bits is not None:
            overlay.chmod(place, bits, follow_symlinks=not modes.S_ISLNK(present))


def copy_in(root: Path, container: str, source: Path, path: str, tick: Tick = _nothing) -> str:
    """Copy a file or directory of this machine in, as docker cp does; gives the path that it got.

    An existing directory at ``path`` gets it by its name.
    """
    place = "/" + path
    with _changing(root, container, f"cannot copy {_shown(os.fspath(source))} to {_shown(place)}") as overlay:
        with suppress(FileNotFoundError):
            if modes.S_ISDIR(overlay.stat(place).st_mode):
                path = f"{path}/{source.name or source.resolve().name}".lstrip("/")
        copy_tree_in(overlay, source, place, tick=tick)
    return path


def mode_after(text: str, present: int) -> int:
    """The permission bits that ``text`` (``644``, ``u+x,go-w``) makes of a file's mode.

    Raises:
        UsageError: it is no mode.
    """
    try:
        return mode_of(text, modes.S_IMODE(present), modes.S_ISDIR(present))
    except CommandError as error:
        raise UsageError(escape(str(error))) from None


def in_lower_layer(view: MergedView, path: str) -> bool:
    """Whether a level below the top one of ``view`` shows something at a path: what is deleted then stays stored."""
    below = view.cut(view.levels[-1].number - 1) if view.levels else view
    folder, _, name = path.rpartition("/")
    try:
        return below.directory(folder).lookup(name) is not None
    except OSError:
        return False


def read_for_editing(session: Session, subject: Subject, path: str) -> bytes:
    """The bytes of a regular file, if it isn't too large for an editor.

    Raises:
        LayerscopeError: it is, or can't be read.
    """
    with told(f"cannot edit /{path}"), session.open_file(subject, "/" + path) as file:
        data = file.read(MOST_EDITED + 1)
    if len(data) > MOST_EDITED:
        raise UsageError(f"cannot edit /{escape(path)}: it is larger than {MOST_EDITED >> 20} MiB; extract it instead")
    return data


def write(root: Path, container: str, path: str, data: bytes, before: bytes) -> None:
    """Overwrite a file that still is as it was when somebody began to edit it.

    Raises:
        CommitError: it has changed meanwhile, or the disk said no.
    """
    place = "/" + path
    doing = f"cannot write {_shown(place)}"
    with _changing(root, container, doing) as overlay:
        if overlay.lstat(place).st_size != len(before) or overlay.read_bytes(place) != before:
            raise CommitError(f"{doing}: it has changed meanwhile")
        with os.fdopen(overlay.open(place, _OVERWRITE), "wb") as file:
            _make_room(file.fileno(), len(before), len(data))
            file.write(data)
            file.truncate()


def _make_room(fd: int, before: int, wanted: int) -> None:
    """Take the blocks that will be written before anything is: on a full disk the file stays as it was."""
    if wanted > before:
        try:
            os.posix_fallocate(fd, 0, wanted)
        except OSError as error:
            os.ftruncate(fd, before)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


class _Stoppable(Shell):
    """What works on a container's files through it, can be stopped at each of its steps."""

    def __init__(self, overlay: Overlay, tick: Tick) -> None:
        self._files = overlay
        self._tick = tick
        super().__init__(overlay, io.BytesIO(), _tell_nobody, {})

    @property
    def overlay(self) -> Overlay:
        """The files."""
        self._tick()
        return self._files

    @overlay.setter
    def overlay(self, overlay: Overlay) -> None:
        self._files = overlay


def _tell_nobody(line: str) -> None:
    """Nothing is told: errors come through."""
