"""A layer made by two processes: errors come as from one, whichever meets them, and no process is left behind."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from test_lay import several_threads

from layerscope.errors import CommitError
from layerscope.formats.engine_rules import rules_of
from layerscope.formats.tar.header import TarHeader
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer import writing_process
from layerscope.lab.layer.lay import lay
from layerscope.lab.layer.pack import LayerTar, pack
from layerscope.lab.layer.unpack import unpack
from layerscope.lab.layer.upper import CommitRules
from layerscope.lab.layer.writing_process import WritingProcess, layer_writer
from layerscope.lab.root.abilities import Abilities
from layerscope.services.lab.lab import Lab, commit_options, new_lab, open_lab

OWN = Abilities("user.overlay.", owners=False)
RULES = CommitRules(rules_of("24"))


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "layer").mkdir()
    fd = os.open(tmp_path / "layer", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(params=["two processes", "one process"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    with several_threads() if request.param == "one process" else nullcontext():
        yield


def member(name: str, size: int = 0, kind: str = "0") -> TarHeader:
    return TarHeader(name, kind, 0o644, 0, 0, size, 0, "", "", "", 0, 0, {}, size)


def tar(*names: str, size: int = 0) -> bytes:
    """Without the blocks that end it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name in names:
            header = tarfile.TarInfo(name)
            header.size = size
            file.addfile(header, io.BytesIO(bytes(size)))
        return out.getvalue()[: file.offset]


def test_there_are_two_only_where_a_fork_is_safe(top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with layer_writer(top, OWN) as writer:
        assert isinstance(writer, WritingProcess)
    with several_threads(), layer_writer(top, OWN) as writer:
        assert not isinstance(writer, WritingProcess)
    monkeypatch.setattr(writing_process, "processors", lambda: 1)
    with layer_writer(top, OWN) as writer:
        assert not isinstance(writer, WritingProcess)


@pytest.mark.parametrize("sizes", [[0], [1, 65_536, 65_537, 0, 200_000], [3 << 20, 5], [7] * 5000])
def test_content_of_every_length_arrives(top: int, tmp_path: Path, sizes: list[int]) -> None:
    contents = [os.urandom(size) for size in sizes]
    with layer_writer(top, OWN) as writer:
        for number, content in enumerate(contents):
            pieces = [content[start : start + 70_000] for start in range(0, len(content), 70_000)]
            writer.add(member(f"d/{number}", len(content)), [b"", *pieces])
        laid = writer.finish()
    assert laid.size == sum(sizes)
    assert [(tmp_path / f"layer/d/{number}").read_bytes() for number in range(len(sizes))] == contents


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("size", "more", "cut"), [(0, 1, 9), (3, 0, 1), (3, 0, 510), (3, 5000, 1), (99_999, 0, 5000)])
def test_a_broken_rule_is_told_though_the_tar_ends_too_early_behind_it(
    tmp_path: Path, size: int, more: int, cut: int
) -> None:
    names = ["a", "../out", *map(str, range(more))]
    (tmp_path / "layer").mkdir()
    with pytest.raises(CommitError, match=r"^cannot unpack \.\./out: a name with '\.\.' in it"):
        unpack(io.BytesIO(tar(*names, size=size)[:-cut]), tmp_path / "layer", OWN)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("size", "cut"), [(0, 9), (3, 510), (99_999, 5000)])
def test_a_tar_that_ends_too_early_is_told(tmp_path: Path, size: int, cut: int) -> None:
    (tmp_path / "layer").mkdir()
    with pytest.raises(CommitError, match=r"^cannot unpack the tar: the tar ends at byte"):
        unpack(io.BytesIO(tar("a", "b", size=size)[:-cut]), tmp_path / "layer", OWN)


def test_an_error_that_nobody_foresaw_is_told_with_its_place(top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(writing_process.LayerWriter, "_file", broken)
    with layer_writer(top, OWN) as writer:
        writer.add(member("f"), ())
        with pytest.raises(RuntimeError, match=r"(?s)in broken.*ZeroDivisionError: unforeseen"):
            writer.finish()


@pytest.mark.parametrize("when", ["before", "between", "behind"])
def test_a_process_that_is_killed_is_told(top: int, when: str) -> None:
    def give(writer: WritingProcess, number: int) -> None:
        for each in range(10_000):
            writer.add(member(f"{number}/{each}", 300), (bytes(300),))

    with layer_writer(top, OWN) as writer:
        assert isinstance(writer, WritingProcess)

        def kill() -> None:
            os.kill(writer._pid, signal.SIGKILL)

        with pytest.raises(CommitError, match="the process that made the layer's files was killed"):
            if when == "before":
                kill()
            give(writer, 1)
            if when == "between":
                kill()
            give(writer, 2)
            if when == "behind":
                kill()
            writer.finish()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, KeyError])
def test_one_who_stops_it_need_not_wait(top: int, raised: type[BaseException]) -> None:
    with pytest.raises(raised), layer_writer(top, OWN) as writer:
        for number in range(1000):
            writer.add(member(f"d/{number}", 3000), (bytes(3000),))
        raise raised


def test_an_interrupt_of_both_is_left_to_the_first(top: int) -> None:
    """As control-C at a terminal goes to both."""
    with layer_writer(top, OWN) as writer:
        assert isinstance(writer, WritingProcess)
        writer.add(member("a", 100_000), (bytes(100_000),))
        os.kill(writer._pid, signal.SIGINT)
        writer.add(member("b", 100_000), (bytes(100_000),))
        assert writer.finish().size == 200_000


@pytest.mark.usefixtures("threads")
def test_what_is_laid_is_what_was_hashed_though_the_files_change(top: int, tmp_path: Path) -> None:
    """Each time another file is looked at, all files get other bytes of the same length."""
    upper = tmp_path / "upper"
    upper.mkdir()
    for number in range(300):
        (upper / str(number)).write_bytes(bytes(number + 1) if number % 50 else bytes(100_000 + number))
    source = LayerTar(Directory.open_root(upper), RULES)
    ticks = 0

    def change() -> None:
        nonlocal ticks
        ticks += 1
        for path in upper.iterdir():
            size = path.stat().st_size
            if ticks % 20 == 0:
                with path.open("r+b") as file:
                    file.write(os.urandom(16)[:size])

    source.tick = change
    with layer_writer(top, OWN) as writer:
        laid = lay(source, writer, TarSplitWriter(io.BytesIO(), empty_last_segment=False))
    assert ticks >= 300
    again = pack(Directory.open_root(tmp_path / "layer"), CommitRules(rules_of("24"), overrides=True))
    assert again.diff_id == laid.diff_id


def test_the_lock_stays_while_the_other_process_lives(tmp_path: Path, top: int) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with layer_writer(top, OWN) as writer:
        writer.add(member("a"), ())
        os.close(lock)
        other = os.open(tmp_path / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        writer.finish()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """With a container whose upper has more files than one message takes."""
    new_lab(tmp_path / "lab")
    with open_lab(tmp_path / "lab") as opened:
        opened.create("base:1.0", "web")
        with opened.overlay("web") as overlay:
            for number in range(60):
                overlay.write_bytes(f"/file{number}", bytes([number]) * 9000)
        yield opened


def test_a_commit_is_the_same_in_a_program_with_several_threads(lab: Lab) -> None:
    options = commit_options(created="2024-01-02T03:04:05Z")
    made = lab.commit("web", "made:1", options=options)
    assert made.diff_id is not None
    lab.remove_image("made:1")
    with several_threads():
        assert lab.commit("web", "made:1", options=options) == made


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, CommitError])
def test_a_commit_that_is_stopped_leaves_nothing(lab: Lab, raised: type[BaseException]) -> None:
    def paths() -> set[Path]:
        return set(lab.path.rglob("*"))

    def stop() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise raised("stopped")

    before, left = paths(), 50
    with pytest.raises(raised, match="stopped"):
        lab.commit("web", "made:1", tick=stop)
    assert paths() == before


def test_a_commit_whose_process_is_killed_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    forks: list[int] = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(fork()) or forks[-1])
    before = set(lab.path.rglob("*"))
    with pytest.raises(CommitError, match=r"^cannot commit web: the process that made the layer's files was killed"):
        lab.commit("web", "made:1", tick=lambda: len(forks) == 1 and os.kill(forks[0], signal.SIGKILL))
    assert set(lab.path.rglob("*")) == before
