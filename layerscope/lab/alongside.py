"""What a layer in the making needs and another thread can do meanwhile: its digest, and its way to the disk.

Both are long calls that let go of the interpreter, so on a second processor they cost no time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from threading import Event
from types import TracebackType
from typing import Self

from layerscope.lab.disk import Disk

_PIECE = 1 << 20
_PAUSE = 0.2


class RunningDigest:
    """The SHA-256 of what goes by, taken by the mebibyte; a context manager.

    ``length`` counts the bytes. What was handed in must not change afterwards.
    """

    def __init__(self) -> None:
        self._digest = sha256()
        self._threads = ThreadPoolExecutor(1, "digest")
        self._busy: Future[None] | None = None
        self._kept: list[bytes] = []
        self._kept_length = 0
        self.length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._kept.append(data)
        self._kept_length += len(data)
        self.length += len(data)
        if self._kept_length >= _PIECE:
            self._start()

    def hexdigest(self) -> str:
        """The digest of everything taken in so far."""
        self._start()
        self._wait()
        return self._digest.hexdigest()

    def _start(self) -> None:
        data = b"".join(self._kept)
        self._kept.clear()
        self._kept_length = 0
        self._wait()
        self._busy = self._threads.submit(self._digest.update, data)

    def _wait(self) -> None:
        if self._busy is not None:
            self._busy.result()


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
