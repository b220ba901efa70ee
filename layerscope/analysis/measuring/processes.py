"""Processes that measure beside the caller: for a tally in Python, of which only one can run in a process at a time.

They are programs of the standard library only, so they start fast; they inherit descriptors of the roots, and end when
their input does.
"""

from __future__ import annotations

import marshal
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from layerscope.errors import LayerscopeError
from layerscope.hostfs import measure as measuring
from layerscope.hostfs.measure import Check, Done, Task

_JOBS = 2
"""What each process has at most, the one that it does and the next, so that none waits for it."""
_SMALL_JOB = 16 << 10
"""Bytes of a job that is given to a process at work: less than any pipe holds, so that neither waits for the other."""


class MeasuringProcesses:
    """Satisfies :class:`layerscope.analysis.measuring.pool.Crew`; ``size`` is 0 where no process can be started.

    Args:
        size: how many.
        roots: descriptors that tasks and checks name; processes inherit them under the same numbers.
    """

    def __init__(self, size: int, roots: Sequence[int]) -> None:
        self._selector = selectors.DefaultSelector()
        self._processes: list[_Process] = []
        program = measuring.__file__
        if not sys.executable or not program or not os.path.isfile(program):
            return
        for _ in range(size):
            try:
                process = _Process(program, roots)
            except OSError:  # no more processes are allowed
                break
            self._processes.append(process)
            self._selector.register(process.output, selectors.EVENT_READ, process)

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self._processes)

    @property
    def jobs(self) -> int:
        """How many were given and have no result yet."""
        return sum(process.jobs for process in self._processes)

    @property
    def has_room(self) -> bool:
        """Whether one more job may be given."""
        return any(process.jobs < _JOBS for process in self._processes)

    def give(self, tasks: list[Task], checks: list[Check], budget: int) -> bool:
        """Give a job to the process that has least to do; false: it is too long for any that is at work."""
        return min(self._processes, key=lambda process: process.jobs).give(tasks, checks, budget)

    def results(self, timeout: float) -> Iterator[Done]:
        """What is done by now; waits for the first of it, at most so many seconds."""
        for key, _ in self._selector.select(timeout):
            process: _Process = key.data
            yield process.result()

    def end(self, at_once: bool) -> None:
        """End them all; at once: whatever they do."""
        for process in self._processes:
            process.end(at_once)
        self._selector.close()


class _Process:
    """One of them. ``jobs``: how many it was given and hasn't answered."""

    def __init__(self, program: str, roots: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # an answer that lay in a buffer would not wake the selector
            pass_fds=tuple(roots),
            process_group=0,  # Ctrl-C is for this process, which then ends them all
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self.jobs = 0

    def give(self, tasks: list[Task], checks: list[Check], budget: int) -> bool:
        """Give it a job. False: that is too long for a process which may be writing an answer itself."""
        data = marshal.dumps((tasks, checks, budget))
        if self.jobs and len(data) > _SMALL_JOB:
            return False
        left = memoryview(len(data).to_bytes(4, "big") + data)
        while left:
            left = left[self._input.write(left) :]
        self.jobs += 1
        return True

    def result(self) -> Done:
        """Its oldest answer."""
        data = self._read(int.from_bytes(self._read(4), "big"))
        self.jobs -= 1
        done: Done = marshal.loads(data)
        return done

    def _read(self, count: int) -> bytes:
        data = self.output.read(count)
        while len(data) < count:
            more = self.output.read(count - len(data))
            if not more:
                raise LayerscopeError("a process that measures files ended before its time")
            data += more
        return data

    def end(self, at_once: bool) -> None:
        """Let it end, or end it."""
        if at_once:
            self._process.kill()
        try:
            self._input.close()
        except OSError:
            pass
        self.output.close()
        self._process.wait()
