"""Reading one record file below a root: bytes, or the reason why not, never an exception.

A record that can't be read costs itself only, so reading gives a :class:`Fault` in its place; whoever knows what the
record means turns that into a problem. Links, devices, FIFOs and sockets are never opened; lengths are bounded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from msgspec import Struct

from layerscope.errors import CorruptError
from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import Kind

SHORT = 4096
"""No one-line record (an ID, a digest, a size) is longer; real ones have at most 71 bytes."""

RUN_AS_ROOT = "run as root"
"""The hint of every problem that is only a lack of privilege."""

_DENIED = {errno.EACCES, errno.EPERM}
_NO_DIRECTORY = {errno.ENOTDIR, errno.ELOOP}


class Fault(Struct, frozen=True):
    """Why a record can't be read: ``what`` continues a sentence that begins with its path."""

    what: str
    absent: bool = False
    denied: bool = False

    def problem(self, path: str, effect: str = "", hint: str = "", severity: Severity = Severity.ERROR) -> Problem:
        """This fault as the problem of the record at ``path``."""
        return Problem(path, self.what, effect, hint or (RUN_AS_ROOT if self.denied else ""), severity)


MISSING = Fault("is missing", absent=True)
NOT_A_DIRECTORY = Fault("is not a directory (links are not followed)")
"""What should hold the record is something else, or a link."""


def shown(text: object, width: int = 80) -> str:
    """A hostile text for a message: control characters and lone surrogates escaped, cut to ``width`` characters."""
    plain = str(text)
    cut = plain[:width]
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return f"“{safe}{'…' if len(plain) > width else ''}”"


def fault_of(error: OSError) -> Fault:
    """Why the system refused, in words that continue a sentence."""
    if error.errno == errno.ENOENT:
        return MISSING
    if error.errno in _DENIED:
        return Fault("can't be read without privilege", denied=True)
    if error.errno == errno.EISDIR:
        return Fault("is a directory, expected a file")
    if error.errno == errno.EINVAL:
        return Fault("is a link or special file, expected a regular file; it was not opened")
    if error.errno in _NO_DIRECTORY:
        return NOT_A_DIRECTORY
    return Fault(f"can't be read: {error.strerror or error}")


def read_bytes(directory: Directory, name: str, limit: int) -> bytes | Fault:
    """All bytes of the file ``name``, at most ``limit``."""
    try:
        return directory.read(name, limit)
    except CorruptError:
        return Fault(f"is longer than {limit} bytes, which no such record is")
    except OSError as error:
        return fault_of(error)


def read_line(directory: Directory, name: str) -> str | Fault:
    """The text of a one-line record, as it is: white space around it is kept. An empty one is a fault."""
    data = read_bytes(directory, name, SHORT)
    if isinstance(data, Fault):
        return data
    try:
        return data.decode() if data else Fault("is empty")
    except UnicodeDecodeError:
        return Fault(f"is not text: {data[:40]!r}")


def list_directory(directory: Directory) -> list[tuple[str, Kind]] | Fault:
    """Name and kind of each entry, sorted by the names' bytes."""
    try:
        return sorted(directory.scan(), key=lambda entry: os.fsencode(entry[0]))
    except OSError as error:
        return fault_of(error)


def is_gone(directory: Directory, name: str) -> bool:
    """Whether an entry that was listed a moment ago has vanished: a daemon may be working in the root."""
    try:
        return directory.stat_or_none(name) is None
    except OSError:
        return False


def unique(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """``problems`` without repetitions, in order."""
    return tuple(dict.fromkeys(problems))
