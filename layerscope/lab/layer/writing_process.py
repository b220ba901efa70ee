"""A process that makes a layer's files, while this one reads, hashes and records what goes into them.

To make a small file takes about as long as to read and record one, so that a second processor halves the time of a
layer with many. Threads would not: most of either is Python. The work isn't divided by files, because what is laid down
must be what the tar says, even if somebody changes the source meanwhile: one process reads each byte once, the other
one makes of it what it is given, in the order of the tar, and opens nothing of the source.

Messages go there by a pipe, each with its length in front::

    4 bytes   length of what follows, little endian
    marshal   list of members, each (the header's fields, content)

Content that isn't short is None there; then the member is the last one of its list, and pieces follow as messages of
their own, bytes as they are, until all that the header's size says are there. A message of no bytes is the end; a pipe
that ends without it means that the layer is given up. What came of it goes back by a second pipe: pickled, what
:meth:`LayerWriter.finish` gives, or what was raised.
"""

from __future__ import annotations

import fcntl
import gc
import marshal
import os
import pickle
import signal
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, cast

from layerscope.errors import CommitError, LayerscopeError
from layerscope.formats.tar.header import TarHeader
from layerscope.hostfs.processes import may_fork, processors
from layerscope.lab.layer.writer import Laid, LayerWriter
from layerscope.lab.root.abilities import Abilities

_SET_SIZE: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)
_LENGTH = 4
_PIPE = 1 << 20
"""Bytes that one process may be ahead of the other, where the system allows it."""
_MESSAGE = 1 << 17
"""Bytes of content and headers that are gathered for one message."""
_HEADER = 256
"""What a header counts for in that."""
_SHORT = 1 << 16
"""Longest content that goes with its header, in bytes."""
_FORM = 2
"""Of marshal: without a search for things that come twice."""


@contextmanager
def layer_writer(
    top: int, abilities: Abilities, *, link_whiteouts: bool = False
) -> Iterator[LayerWriter | WritingProcess]:
    """What makes the members of a layer in the empty directory ``top``: a process of its own where there can be one.

    There can't with a single processor, nor in a program with several threads, such as one with a screen: there this
    process makes them. The result is the same.

    Args:
        top: descriptor of the directory; stays the caller's.
        abilities: the forms in which marks, owners and devices are kept there.
        link_whiteouts: see :func:`layerscope.lab.layer.unpack.unpack`.
    """
    writer = LayerWriter(top, abilities, link_whiteouts=link_whiteouts)
    try:
        if processors() > 1 and may_fork():
            with WritingProcess(writer) as process:
                yield process
        else:
            yield writer
    finally:
        writer.close()


class WritingProcess:
    """A fork of this process in which ``writer`` makes what is handed over; a context manager.

    It has the methods of :class:`LayerWriter`, and raises the same errors: later, when the members are on their way,
    but an earlier member's always before a later one's. When the ``with`` ends, so has the process. If this one is
    killed, the other ends by itself; it holds the root's lock until then, so that nobody sweeps what it still makes.
    """

    def __init__(self, writer: LayerWriter) -> None:
        source, self._to = _pipe(_PIPE)
        self._back, back = _pipe()
        self._members: list[tuple[tuple[Any, ...], bytes | None]] = []
        self._gathered = 0
        self._ended = False
        self._pid = os.fork()
        if not self._pid:
            self._to.close()
            self._back.close()
            _work(writer, source, back)
        source.close()
        back.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if isinstance(error, LayerscopeError | OSError):
            # What was read so far may break a rule already: that came first.
            self._flush()
            self._result()
        else:
            os.kill(self._pid, signal.SIGKILL)
            self._end()

    def add(self, header: TarHeader, content: Iterable[bytes]) -> None:
        """Hand over one member.

        Raises:
            CommitError: an earlier one broke a rule, the system refused one, or the process was killed.
        """
        if header.size <= _SHORT:
            try:
                data = b"".join(content)
            except BaseException:
                self._members.append((tuple(header), None))
                raise
            self._members.append((tuple(header), data))
            self._gathered += header.size + _HEADER
            if self._gathered >= _MESSAGE:
                self._flush()
            return
        self._members.append((tuple(header), None))
        self._flush()
        for chunk in content:
            self._send(chunk)

    def finish(self) -> Laid:
        """Wait until everything is made; what came of it.

        Raises:
            CommitError: as :meth:`add`.
        """
        self._flush()
        self._send(b"")
        laid = self._result()
        assert laid is not None
        return laid

    # ------------------------------------------------------------------ there
    def _flush(self) -> None:
        if self._members:
            message = marshal.dumps(self._members, _FORM)
            self._members.clear()
            self._gathered = 0
            self._send(message)

    def _send(self, message: bytes) -> None:
        try:
            self._to.write(len(message).to_bytes(_LENGTH, "little"))
            rest = memoryview(message)
            while rest:
                rest = rest[self._to.write(rest) :]
        except BrokenPipeError:
            self._result()
            raise AssertionError("it has ended before it was told to, but says no reason") from None

    # ------------------------------------------------------------------ back
    def _result(self) -> Laid | None:
        """What came of it; None if it was given up. The process has ended then.

        Raises:
            CommitError: a member broke a rule, the system refused one, or the process was killed.
        """
        self._to.close()
        data = self._back.read()
        self._end()
        if not data:
            raise CommitError("the process that made the layer's files was killed; try it again")
        found = pickle.loads(data)
        if isinstance(found, Exception):
            raise found
        return cast(Laid | None, found)

    def _end(self) -> None:
        self._ended = True
        self._to.close()
        self._back.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:  # pragma: no cover - where nobody wants to hear of ended processes
            pass


def _pipe(size: int = 0) -> tuple[BinaryIO, FileIO]:
    """The two ends of a pipe, to read from and to write to; it holds ``size`` bytes if the system allows that."""
    reading, writing = os.pipe()
    if size and _SET_SIZE is not None:
        try:
            fcntl.fcntl(writing, _SET_SIZE, size)
        except OSError:
            pass  # more than this user may have: then the two processes keep closer together
    return open(reading, "rb"), FileIO(writing, "wb")


# ---------------------------------------------------------------------- in the other process
def _work(writer: LayerWriter, source: BinaryIO, back: FileIO) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever forked it decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.freeze()  # what is there already need not be looked at, so it stays shared
        found: Laid | Exception | None
        try:
            found = writer.finish() if _make(writer, source) else None
        except LayerscopeError as error:
            found = error
        except Exception:  # noqa: BLE001 - the one that waits must be told
            found = RuntimeError(traceback.format_exc())
        source.close()  # now the other one stops writing, if it still does
        with back:
            back.write(pickle.dumps(found))
    finally:
        os._exit(0)


def _make(writer: LayerWriter, source: BinaryIO) -> bool:
    """Make all members that come; whether they came to their end."""
    try:
        while message := _message(source):
            for fields, content in marshal.loads(message):
                header = TarHeader._make(fields)
                writer.add(header, _pieces(source, header.size) if content is None else (content,))
    except EOFError:
        return False
    return True


def _message(source: BinaryIO) -> bytes:
    """The next message; EOFError if it doesn't come to its end."""
    front = source.read(_LENGTH)
    length = int.from_bytes(front, "little")
    message = source.read(length)
    if len(front) < _LENGTH or len(message) < length:
        raise EOFError
    return message


def _pieces(source: BinaryIO, size: int) -> Iterator[bytes]:
    """The content of a member that isn't short."""
    while size:
        piece = _message(source)
        size -= len(piece)
        yield piece
