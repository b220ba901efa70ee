"""What the Explore screen costs on a root of 200,000 files, one directory of which has 200,000 entries more.

``python -m pytest -m bench -s tests/bench/bench_explore.py``. The program runs as a whole in a terminal of its own
(120x40), with a warm page cache. Beside the time to the first usable frame stands what importing textual alone takes
in the same run: on a busy machine the ratio tells more than the seconds.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

HERE = Path(__file__).parent
FIRST_FRAME_SECONDS, MOST_LISTED, KEY_MS, MEMORY_MB = 0.5, 50, 16.0, 150
RUNS = 10
SEEN_FIRST = ("idle", "RUN make layer 1", "wide", "replaced")
"""Of the list, of the stack, and of the tree."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "root"
    subprocess.run([sys.executable, str(HERE / "make_root.py"), str(path), "--wide", "200000"], check=True)
    return path


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, command: list[str]) -> None:
        self.start = time.perf_counter()
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LAYERSCOPE_THEME": "layerscope-dark"}
            os.environ |= {"COLUMNS": "120", "LINES": "40"}
            os.execvp(command[0], command)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.seen = ""

    def read(self, wait: float) -> bool:
        if not select.select([self.terminal], [], [], wait)[0]:
            return False
        self.seen += os.read(self.terminal, 1 << 16).decode(errors="replace")
        return True

    def until(self, *wanted: str, limit: float = 60) -> float:
        """The seconds since the start until all of the texts were drawn."""
        end = time.perf_counter() + limit
        while not all(text in self.seen for text in wanted):
            assert time.perf_counter() < end, f"{wanted} not seen"
            self.read(0.1)
        return time.perf_counter() - self.start

    def quiet(self, seconds: float = 0.5) -> None:
        while self.read(seconds):
            pass
        self.seen = ""

    def press(self, key: str) -> float:
        """The milliseconds until something is drawn after a key."""
        self.quiet(0.06)
        start = time.perf_counter()
        os.write(self.terminal, key.encode())
        assert self.read(5), "nothing was drawn"
        return (time.perf_counter() - start) * 1000

    @property
    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024


@contextmanager
def running(root: Path, *before: str) -> Iterator[Terminal]:
    terminal = Terminal([*before, sys.executable, "-m", "layerscope", str(root)])
    try:
        yield terminal
    finally:
        os.killpg(terminal.process, signal.SIGKILL)  # strace and what it traces, too
        os.waitpid(terminal.process, 0)
        os.close(terminal.terminal)


def test_the_first_usable_frame(root: Path):
    frames, imports = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import textual.app"], check=True)
        imports.append(time.perf_counter() - start)
        with running(root) as terminal:
            frames.append(terminal.until(*SEEN_FIRST))
    ratio = statistics.median(frame / alone for frame, alone in zip(frames, imports, strict=True))
    print(
        f"\nfirst usable frame: best {min(frames):.3f} s, median {statistics.median(frames):.3f} s;"
        f" importing textual alone: best {min(imports):.3f} s; {ratio:.2f} times that"
    )
    assert min(frames) < FIRST_FRAME_SECONDS


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_few_directories_are_listed_before_it(root: Path, tmp_path: Path):
    log = tmp_path / "log"
    tracing = ("strace", "-f", "--seccomp-bpf", "-y", "-s", "100000", "-e", "trace=getdents64,write", "-o", str(log))
    with running(root, *tracing) as terminal:
        terminal.until(*SEEN_FIRST)
    text = log.read_text(errors="replace")
    seen, listed = "", set()
    for line in text.splitlines():
        if "write(" in line and "/dev/pts/" in line:
            seen += line
            if all(wanted in seen for wanted in SEEN_FIRST):
                break
        found = re.search(r"getdents64\(\d+<([^>]*)>", line)
        if found and "/overlay2/" in found[1] and "/diff" in found[1]:
            listed.add(found[1])
    print(f"\nlayer directories listed before the first usable frame: {len(listed)}")
    assert 0 < len(listed) < MOST_LISTED


def test_keys_and_memory_in_a_directory_of_200000_entries(root: Path):
    with running(root) as terminal:
        terminal.until(*SEEN_FIRST)
        terminal.quiet(2)
        at_first = terminal.memory_mb
        for key in b"3", b"G":  # a terminal's keys come one by one
            os.write(terminal.terminal, key)
            terminal.quiet()
        start = time.perf_counter()
        os.write(terminal.terminal, b"l")
        terminal.until("00002")
        loaded = time.perf_counter() - start
        terminal.quiet(2)
        print(f"\nread and shown in {loaded:.1f} s; {at_first:.0f} MB before, {terminal.memory_mb:.0f} MB after")
        for name, keys in (("down", "j" * 200), ("page down", ["\x1b[6~"] * 60), ("ends", "Gg" * 10)):
            times = sorted(terminal.press(key) for key in keys)
            late = times[int(len(times) * 0.95)]
            print(f"{name:>9}: median {statistics.median(times):.1f} ms, 95% {late:.1f} ms, longest {times[-1]:.1f} ms")
            assert statistics.median(times) < KEY_MS
        print(f"{terminal.memory_mb:.0f} MB at the end")
        assert terminal.memory_mb < MEMORY_MB
