"""Unpacking the demo's archive without privilege, and without trusting it more than any other archive.

| in the archive | on disk |
| --- | --- |
| character device 0:0 | the same (Linux 5.8 and later let any user make it); where that is refused, an empty file with
  the attribute ``P``overlay.whiteout, in a directory with ``P``overlay.opaque = ``x`` |
| PAX record ``SCHILY.xattr.trusted.overlay.opaque`` = ``y`` of a directory | ``P``overlay.opaque = ``y`` |

P is ``trusted.`` where that can be written, else ``user.``. Owners are not kept, nor setuid and setgid bits. Members
must come sorted, a directory before its members. Everything is made by descriptor of its directory, exclusively, and
no symlink is ever followed. Sources: overlayfs.rst, "Whiteouts and opaque directories"; mknod(2).
"""

from __future__ import annotations

import errno
import io
import os
import stat as modes
import tarfile
from dataclasses import dataclass

from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.escape import escape
from layerscope.model.digest import is_file_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE_RECORD = "SCHILY.xattr.trusted.overlay.opaque"
_REFUSED = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_LARGEST_FILE = 1 << 24
_LARGEST_TAR = 1 << 26
_MEMORY_LIMIT = 1 << 28


@dataclass(slots=True)
class _Folder:
    """A directory that is being filled, with what it gets when it is complete."""

    name: str
    fd: int
    mode: int
    mtime: int
    opaque: bytes


def mark_prefix(fd: int) -> str | None:
    """Which overlay marks this process can write on the file system of ``fd``: ``trusted``, ``user``, or neither."""
    for prefix in ("trusted", "user"):
        try:
            os.setxattr(fd, f"{prefix}.overlay.opaque", b"y")
            os.removexattr(fd, f"{prefix}.overlay.opaque")
            return prefix
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        except AttributeError:  # pragma: no cover - this system has no extended attributes
            return None
    return None


def unpack(archive: bytes, fd: int, prefix: str) -> None:
    """Unpack a tar.xz into the empty directory ``fd``, with marks of ``prefix`` (``trusted`` or ``user``).

    Raises:
        CorruptError: it is no such archive, or holds what must not be unpacked.
        UnsupportedError: this Python can't read xz.
        OSError: the disk said no; the directory is then half filled.
    """
    target = _Target(fd, f"{prefix}.overlay.")
    try:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(archive)), mode="r:") as tar:
            for member in tar:
                target.add(tar, member)
        target.finish()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CorruptError(f"the archive can't be read: {escape(str(error))}") from None
    finally:
        target.close()


def _decompressed(archive: bytes) -> bytes:
    """The tar in a tar.xz of at most 64 MiB, checked to its end."""
    try:
        import lzma
    except ImportError:
        raise UnsupportedError("this Python was built without lzma: the demo's archive can't be read") from None
    reader = lzma.LZMADecompressor(memlimit=_MEMORY_LIMIT)
    try:
        plain = reader.decompress(archive, _LARGEST_TAR)
    except lzma.LZMAError as error:
        raise CorruptError(f"the archive can't be read: {escape(str(error))}") from None
    if not reader.eof:
        raise CorruptError(f"the archive can't be read: it ends early, or is longer than {_LARGEST_TAR} bytes unpacked")
    return plain


class _Target:
    def __init__(self, fd: int, prefix: str) -> None:
        self._top = fd
        self._prefix = prefix
        self._open: list[_Folder] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Make one member."""
        names = member.name.split("/")
        if not all(map(is_file_name, names)):
            raise CorruptError(f"{escape(member.name)} in it is no path that may be unpacked")
        parent, name = self._enter(names[:-1]), names[-1]
        times = (member.mtime, member.mtime)
        if member.isdir():
            self._directory(parent, name, member)
            return
        if member.isreg():
            self._file(parent, name, self._content(tar, member), member.mode & 0o1777)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._hard_link(parent, name, member.linkname)
        elif member.ischr() and (member.devmajor, member.devminor) == (0, 0):
            if not self._whiteout(parent, name):
                return
        else:
            raise CorruptError(f"{escape(member.name)} in it is of a kind that is never unpacked")
        os.utime(name, times, dir_fd=parent, follow_symlinks=False)

    def _enter(self, names: list[str]) -> int:
        """The directory in which the next member goes; those that are left are complete."""
        kept = 0
        while kept < min(len(names), len(self._open)) and self._open[kept].name == names[kept]:
            kept += 1
        while len(self._open) > kept:
            self._complete()
        if len(self._open) != len(names):
            raise CorruptError(f"{escape('/'.join(names))} in it comes after its members")
        return self._open[-1].fd if self._open else self._top

    def _directory(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _FOLDER, dir_fd=parent)
        opaque = b"y" if member.pax_headers.get(_OPAQUE_RECORD) == "y" else b""
        self._open.append(_Folder(name, fd, member.mode & 0o1777, int(member.mtime), opaque))

    def _complete(self) -> None:
        folder = self._open.pop()
        try:
            if folder.opaque:
                os.setxattr(folder.fd, f"{self._prefix}opaque", folder.opaque)
            os.fchmod(folder.fd, folder.mode)
            os.utime(folder.fd, (folder.mtime, folder.mtime))
        finally:
            os.close(folder.fd)

    @staticmethod
    def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        if member.size > _LARGEST_FILE:
            raise CorruptError(f"{escape(member.name)} in it is {member.size} bytes long, expected no such file")
        file = tar.extractfile(member)
        content = file.read() if file is not None else b""
        if len(content) != member.size:
            raise CorruptError(f"{escape(member.name)} in it ends early")
        return content

    @staticmethod
    def _file(parent: int, name: str, content: bytes, mode: int) -> None:
        with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=parent), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)

    def _hard_link(self, parent: int, name: str, first: str) -> None:
        """A second name for a file of this archive, reached without following a link."""
        *folders, last = first.split("/")
        if not all(map(is_file_name, (*folders, last))):
            raise CorruptError(f"{escape(first)} in it is no path that may be linked to")
        fd = os.dup(self._top)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            os.link(last, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _whiteout(self, parent: int, name: str) -> bool:
        """A whiteout of the kind that can be made here; False if none is needed."""
        try:
            os.mknod(name, modes.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            return True
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        folder = self._open[-1] if self._open else None
        if folder is not None and folder.opaque == b"y":
            return False  # an opaque directory hides the name already, and can't be marked twice
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            os.setxattr(fd, f"{self._prefix}whiteout", b"y")
        finally:
            os.close(fd)
        if folder is not None:
            folder.opaque = b"x"
        return True

    def finish(self) -> None:
        """Complete the directories that are still open."""
        while self._open:
            self._complete()

    def close(self) -> None:
        """Give back what is open; nothing is written."""
        for folder in self._open:
            os.close(folder.fd)
        self._open.clear()
