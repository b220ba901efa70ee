"""Looks at the root of a daemon at work: nothing that is alive is called an orphan, and nothing makes a look fail."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import operations
import pytest
from engine import ApiError, Engine, docker_client
from operations import BASE, Operation

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services.doctor import examine
from layerscope.services.ledger import ledger

NOBODYS = {Category.UNKNOWN, Category.ORPHAN, Category.UNREADABLE}
LOST_RULES = {"directory of no record", "container layer without container"}
WRITING = """
while true; do
  mkdir -p /w/a/b/c; for i in $(seq 300); do echo $i > /w/a/b/c/$i; done; ln /w/a/b/c/1 /w/a/l
  truncate -s 100000 /w/a/long; mv /w/a /w/z; echo written; rm -r /w
done
"""
WRITERS = 2
PATIENCE = 60
"""Seconds that may go by until something vanishes under a look."""


@pytest.fixture(params=["overlay2", pytest.param("vfs", marks=pytest.mark.full)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made = Engine(request.param)
    try:
        made.start()
        operations.populate(made)
        yield made
    finally:
        made.remove()


class Worker:
    """Runs operations on a daemon, one after the other, until it is told to stop."""

    def __init__(self, engine: Engine, known: Sequence[Operation], rounds: int | None) -> None:
        self.error: BaseException | None = None
        self.ended = False
        self.now = ""
        self.done: Counter[str] = Counter()
        self._engine = engine
        self._known = known
        self._rounds = rounds
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self._thread.join()
        if self.error is not None:
            raise self.error

    @property
    def works(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        turn = 0
        try:
            while self._rounds is None or turn < self._rounds * len(self._known):
                operation = self._known[turn % len(self._known)]
                turn += 1
                self.now = operation.name
                operation.prepare(self._engine, turn)
                operation.work(self._engine, turn)
                self.done[operation.name] += 1
                if self.ended:
                    return
        except (ApiError, OSError, AssertionError) as error:
            self.error = error


def slow_import(engine: Engine, turn: int) -> None:
    """An import from a pipe into which little comes at a time: its layer is unclaimed for as long as that takes."""
    with _importing(engine, f"slow/t{turn}:1") as tar:
        for number in range(25):
            member = tarfile.TarInfo(f"file{number}")
            member.size = 64 << 10
            tar.addfile(member, io.BytesIO(os.urandom(member.size)))
            time.sleep(0.1)


@contextmanager
def _importing(engine: Engine, name: str) -> Iterator[tarfile.TarFile]:
    command = [str(docker_client()), "-H", f"unix://{engine.home}/s", "import", "-", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        with importing.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as tar:
            yield tar
        assert importing.wait(60) == 0


def called_nobodys(engine: Engine) -> list[str]:
    """What a look calls nobody's, in the ledger, in doctor, and asked of each directory."""
    with open_root(engine.root) as session:
        found = ledger(session, workers=1)
        told = [f"df: {one.path}: {one.reason}" for one in found.entries if one.category in NOBODYS]
    with open_root(engine.root) as session:
        examined = examine(session, layers=False)
        told += [
            f"doctor: {one.path}: {one.what}"
            for one in examined
            if one.rule in LOST_RULES and "written" not in one.what
        ]
    folder = "vfs/dir" if engine.driver == "vfs" else engine.driver
    for name in os.listdir(engine.root / folder):
        if name not in ("l", "backingFsBlockDev"):
            with open_root(engine.root) as session:
                owners = session.owners(f"{folder}/{name}")
            told += [f"whose: {owner.path}: {owner.reason}" for owner in owners if owner.kind == "orphan"]
    return told


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.full)])
def test_nothing_alive_is_an_orphan(engine: Engine, rounds: int) -> None:
    known = operations.operations()
    if docker_client() is not None:
        known.append(Operation("slow import", slow_import))
    looks: Counter[str] = Counter()
    with Worker(engine, known, rounds) as worker:
        while worker.works:
            assert called_nobodys(engine) == [], worker.now
            looks[worker.now] += 1
    print(f"\n{looks.total()} looks: {', '.join(f'{name} {count}' for name, count in sorted(looks.items()))}")
    assert worker.done == {one.name: rounds for one in known}
    assert len(looks) >= len(known) // 2
    engine.stop()
    assert called_nobodys(engine) == []  # nothing was lost, so every look that named something was wrong


# ---------------------------------------------------------------------- writers
@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.full)])
def test_writers_make_no_look_fail(engine: Engine, seconds: int) -> None:
    """Containers write, images come and go: every verb ends well, and what vanished is counted."""
    for number in range(WRITERS):
        engine.run(BASE, ["/bin/busybox", "sh", "-c", WRITING], f"busy{number}", wait=False, StopSignal="SIGKILL")
    wanted = {"load", "run", "rm", "rmi", "import", "image prune", "build", "BuildKit build"}
    known = [one for one in operations.operations() if one.name in wanted]
    counts: Counter[str] = Counter()
    vanished = 0
    with Worker(engine, known, None) as worker:
        end = time.monotonic() + seconds
        while worker.works and (time.monotonic() < end or (not vanished and time.monotonic() < end + PATIENCE)):
            for verb, more in (("df", []), ("find", ["*"]), ("df", []), ("verify", []), ("doctor", []), ("ps", [])):
                answer = asked(engine, [verb, *more, "--json"])
                counts[verb] += 1
                if verb == "df":
                    vanished += answer["vanished"]
                    assert sum(one["disk"] for one in answer["entries"]) == answer["total_disk"]
                elif verb == "find":
                    assert any(one["path"] == "/bin/busybox" for one in answer)
                elif verb == "verify":
                    assert [one for one in answer if one["ok"] is False] == []
                elif verb == "ps":
                    assert {f"busy{number}" for number in range(WRITERS)} <= {one["name"] for one in answer}
    print(f"\n{dict(counts)}, {vanished} entries vanished while they were read, {worker.done.total()} operations")
    assert vanished


def asked(engine: Engine, words: list[str]) -> Any:
    """The JSON of a verb, as a process of its own; it may tell of problems, but not fail."""
    command = [sys.executable, "-m", "layerscope", *words, "--root", str(engine.root)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 1), (words, done.returncode, done.stderr.decode()[-2000:])
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return json.loads(done.stdout)
