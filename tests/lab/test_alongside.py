"""What a second thread does while a layer is made: its digest, and bringing it to the disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.lab.layer.alongside import EarlySync, InTurn, RunningDigest
from layerscope.lab.root.disk import Disk


class Told(Disk):
    """A disk that counts how often it was asked to sync, and may fail."""

    def __init__(self, top: Directory, fails: bool = False) -> None:
        super().__init__(top)
        self.count = 0
        self._fails = fails

    def sync(self) -> None:
        self.count += 1
        if self._fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("sizes", [(), (0,), (1, 5, 0, 511), ((1 << 20) - 1, 1, 1), (3 << 20, 7, 1 << 20, 1 << 19)])
def test_the_digest_is_that_of_all_pieces(sizes: tuple[int, ...]) -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    with RunningDigest() as running:
        for piece in pieces:
            running.update(piece)
        assert running.hexdigest() == sha256(b"".join(pieces)).hexdigest()
        assert running.length == sum(sizes)


def test_a_digest_that_nobody_asks_for_holds_nothing_up() -> None:
    with pytest.raises(KeyError), RunningDigest() as running:
        running.update(bytes(5 << 20))
        raise KeyError


def test_calls_are_carried_out_in_their_order_and_all_at_the_end() -> None:
    done: list[int] = []
    with InTurn("test") as in_turn:
        for number in range(200):
            in_turn(lambda each: time.sleep(0.0002) or done.append(each), number)
    assert done == list(range(200))


def test_what_a_call_raises_comes_out_at_the_next_or_at_the_end() -> None:
    done: list[int] = []
    with InTurn("test") as in_turn:
        in_turn(os.stat, "/none/such")
        with pytest.raises(FileNotFoundError):
            in_turn(done.append, 1)
        in_turn(done.append, 2)
    assert done == [2]
    with pytest.raises(FileNotFoundError), InTurn("test") as in_turn:
        in_turn(os.stat, "/none/such")
    with pytest.raises(KeyError), InTurn("test") as in_turn:
        in_turn(os.stat, "/none/such")
        raise KeyError


def test_the_disk_is_synced_while_the_work_goes_on_and_not_afterwards(tmp_path: Path) -> None:
    disk = Told(Directory.open_root(tmp_path))
    with EarlySync(disk):
        until(lambda: disk.count > 1)
    count = disk.count
    time.sleep(0.5)
    assert disk.count == count


def test_an_error_of_the_disk_comes_out_at_the_end(tmp_path: Path) -> None:
    disk = Told(Directory.open_root(tmp_path), fails=True)
    with pytest.raises(OSError, match="Input/output error"), EarlySync(disk):
        until(lambda: disk.count > 0)


def test_an_error_of_the_work_goes_before_one_of_the_disk(tmp_path: Path) -> None:
    disk = Told(Directory.open_root(tmp_path), fails=True)
    with pytest.raises(KeyError), EarlySync(disk):
        until(lambda: disk.count > 0)
        raise KeyError
