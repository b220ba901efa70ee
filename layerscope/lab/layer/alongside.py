"""What a layer in the making needs and another thread can do meanwhile: its digest, compressing, the way to the disk.

All are long calls that let go of the interpreter, so on a second processor they cost no time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from threading import Event
from types import TracebackType
from typing import Self

from layerscope.lab.root.disk import Disk

_PIECE = 1 << 20
_PAUSE = 0.2


class InTurn:
    """Calls that another thread carries out, one after the other, while this one goes on; a context manager.

    One is under way at a time: the next one waits for it, as does the end of the ``with``, and raises what it raised.
    What is handed in must not change afterwards.
    """

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, name)
        self._busy: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        if error is None:
            self.wait()

    def __call__(self, act: Callable[..., object], *words: object) -> None:
        """Have ``act(*words)`` carried out next."""
        self.wait()
        self._busy = self._threads.submit(act, *words)

    def wait(self) -> None:
        """Return when everything is done."""
        if self._busy is not None:
            busy, self._busy = self._busy, None
            busy.result()


class RunningDigest:
    """The SHA-256 of what goes by, taken by the mebibyte; a context manager.

    ``length`` counts the bytes. What was handed in must not change afterwards.
    """

    def __init__(self) -> None:
        self._digest = sha256()
        self._in_turn = InTurn("digest")
        self._kept: list[bytes] = []
        self._kept_length = 0
        self.length = 0

    def __enter__(self) -> Self:
        self._in_turn.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_turn.__exit__(kind, error, trace)

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._kept.append(data)
        length = len(data)
        self._kept_length += length
        self.length += length
        if self._kept_length >= _PIECE:
            self._start()

    def hexdigest(self) -> str:
        """The digest of everything taken in so far."""
        self._start()
        self._in_turn.wait()
        return self._digest.hexdigest()

    def _start(self) -> None:
        data = b"".join(self._kept)
        self._kept.clear()
        self._kept_length = 0
        self._in_turn(self._digest.update, data)


class EarlySync:
    """Brings what is written inside the ``with`` to the disk while more is written, so that less is left for the end.

    It takes no duty off whoever syncs at the end.

    Raises:
        OSError: at the end of the ``with``, if the disk failed meanwhile: the kernel tells that only once.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._ended = Event()
        self._threads = ThreadPoolExecutor(1, "sync")
        self._synced: Future[None]

    def __enter__(self) -> Self:
        self._synced = self._threads.submit(self._sync_on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._threads.shutdown()
        if error is None:
            self._synced.result()

    def _sync_on(self) -> None:
        while not self._ended.wait(_PAUSE):
            self._disk.sync()
