"""The threads or processes that measure: how an interruption ends them, what they tell, on a terminal too."""

from __future__ import annotations

import gc
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ledger_facts import assert_closed, du

from layerscope.analysis.measuring import pool
from layerscope.analysis.measuring import threads as measuring_threads
from layerscope.hostfs import tally
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

FOLDERS, FILES = 150, 40


@pytest.fixture(scope="module")
def root(overlay2_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample root with so many files that several processes measure it."""
    place = tmp_path_factory.mktemp("large") / "root"
    subprocess.run(["cp", "-a", str(overlay2_root), str(place)], check=True)
    for folder in range(FOLDERS):
        below = place / f"volumes/vol1/_data/{folder}"
        below.mkdir()
        for name in range(FILES):
            (below / f"{name}").touch()
    return place


@pytest.fixture(params=["threads", "processes"])
def crew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What helps to measure: each of both, where there is a compiled tally."""
    if request.param == "threads" and not tally.COMPILED:
        pytest.skip("nothing was compiled here, so nothing is measured by threads")
    monkeypatch.setattr(pool, "COMPILED", request.param == "threads")
    return str(request.param)


def helpers(crew: str) -> list[str]:
    """Threads by their names, or processes by their numbers."""
    if crew == "threads":
        return [thread.name for thread in threading.enumerate()]
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_interrupting_ends_everyone(root: Path, crew: str) -> None:
    """Where it was interrupted nothing goes on, and nothing is left behind."""
    before, during = helpers(crew), []

    def interrupted(entries: int) -> None:
        during[:] = helpers(crew)
        if len(during) > len(before):
            raise KeyboardInterrupt

    gc.collect()  # other tests' descriptors go with what held them
    descriptors = len(os.listdir("/proc/self/fd"))
    with open_root(root) as session, pytest.raises(KeyboardInterrupt):
        ledger(session, workers=3, counted=interrupted)
    assert len(during) > len(before)
    assert helpers(crew) == before
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_what_is_counted_is_told_as_it_grows(root: Path, crew: str) -> None:
    told: list[int] = []
    with open_root(root) as session:
        found = ledger(session, workers=3, counted=told.append)
    assert_closed(found, du(root))
    assert told == sorted(told)
    assert len(set(told)) > 3
    assert FOLDERS * FILES < told[-1] <= sum(one.count for one in found.entries)


def test_what_goes_wrong_in_a_thread_is_raised_where_it_was_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Exception):
        pass

    def broken(*job: object, **more: object) -> None:
        raise Broken

    monkeypatch.setattr(measuring_threads, "measure", broken)
    monkeypatch.setattr(pool, "COMPILED", True)
    before = threading.enumerate()
    with open_root(root) as session, pytest.raises(Broken):
        ledger(session, workers=3)
    assert threading.enumerate() == before


def test_without_another_process_it_is_measured_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no more may be started, or nothing is there that could be."""
    monkeypatch.setattr(pool, "COMPILED", False)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with open_root(root) as session:
        assert_closed(ledger(session, workers=3), du(root))


def test_an_interruption_at_the_terminal_is_quiet(root: Path, tmp_path: Path, crew: str) -> None:
    """Ctrl-C goes to everything in the foreground: the program ends with 130, and no process of its says a word."""
    slow = (
        f"import layerscope.analysis.measuring.pool as pool; pool.COMPILED = {crew == 'threads'}\n"
        "import signal, sys, time, layerscope.services.ledger as service\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it\n"
        "from layerscope.cli.main import run\n"
        "real = service.walk\n"
        "def walk(trees, mounts, workers, cancelled, counted, kept):\n"
        "    def told(entries):\n"
        "        if entries > 3000:\n"
        "            time.sleep(0.3)  # a line is shown four times a second\n"
        "            counted(entries)\n"
        "            print('now', flush=True)\n"
        "            time.sleep(20)\n"
        "    return real(trees, mounts, 3, cancelled, told, kept)\n"
        "service.walk = walk\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    terminal, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", slow, "--root", str(root), "df", "--no-cache"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert program.stdout is not None
    with program.stdout as out:
        assert out.readline() == b"now\n"
        start = time.monotonic()
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(10) == 130
        assert time.monotonic() - start < 5
        assert out.read() == b""
    seen = b""
    try:
        while more := os.read(terminal, 4096):
            seen += more
    except OSError:  # nobody has the other end any more
        pass
    os.close(terminal)
    assert b"counting" in seen
    assert b"entries" in seen
    assert seen.endswith(b"\r\x1b[K")
    assert b"Traceback" not in seen
