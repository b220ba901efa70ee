"""How the program ends: exit codes, one line on standard error, never a traceback."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from layerscope import __main__, __version__

ONE_LINE = [
    # words, exit code, a part of the message
    (("stack", "nobody"), 2, "nobody"),
    (("diff", "nobody"), 2, "nobody"),
    (("diff", "editor", "nobody"), 2, "nobody"),
    (("diff", "layerscope/app:1.0"), 2, "is an image"),
    (("diff", "image:editor"), 2, "editor"),
    (("diff", "editor@2"), 2, "level"),
    (("history", "editor"), 2, "editor"),
    (("history", "container:editor"), 2, "an image is needed"),
    (("inspect", "nobody"), 2, "nobody"),
    (("ls", "nobody:/etc"), 2, "nobody"),
    (("ls", "editor:/nowhere"), 2, "no such path"),
    (("ls", "editor@99"), 2, "99"),
    (("cat", "editor:/etc"), 2, "directory"),
    (("cat", "editor:/nowhere"), 2, "no such path"),
    (("cat", "editor:/srv/fifo2"), 2, "no regular file"),
    (("cat", "editor"), 2, "names no path"),
    (("cat", "editor:/etc/motd", "--from", "99"), 2, "99"),
    (("cat", "editor:/etc/motd", "--from", "3"), 2, "holds no copy"),
    (("cat", "editor:/etc/motd", "--from", "0"), 2, "--from"),
    (("blame", "editor"), 2, "names no path"),
    (("blame", "editor:/nowhere"), 2, "no such path"),
    (("explain", "editor"), 2, "names no path"),
    (("explain", "editor:/nowhere"), 2, "no such path"),
    (("stack", "editor:/etc"), 2, "holds a path"),
    (("stack", "@3"), 2, "names nothing"),
    (("extract", "nobody:/etc", "/nowhere/x"), 2, "nobody"),
    (("extract", "editor", "/nowhere/x"), 2, "names no path"),
    (("export", "nobody"), 2, "nobody"),
    (("export", "editor", "-o", "/nowhere/x"), 4, "/nowhere/x"),
    (("export", "editor", "-o", "/"), 4, "directory"),
    (("export", "editor", "-o", "/dev/full"), 4, "No space left"),
    (("info", "--driver", "vfs"), 2, "vfs"),
    (("info", "--driver", "../overlay2"), 2, "../overlay2"),
    (("info", "--xattr-prefix", "security"), 2, "security"),
    (("info", "extra"), 2, "extra"),
    (("stack",), 2, "REF"),
    (("diff", "editor", "--sorted"), 2, "--sorted"),
]


@pytest.mark.parametrize(
    ("words", "code", "part"), ONE_LINE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_bad_input_gets_one_line(ask: Any, overlay2_root: Path, words: tuple[str, ...], code: int, part: str) -> None:
    answer = ask(*words, root=overlay2_root)
    assert answer.code == code
    assert answer.out == b""
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("layerscope: ")
    assert part in answer.err


@pytest.mark.parametrize(
    "verb", ["info", "images", "ps", "stack x", "diff x", "ls x", "cat x:/a", "whose x", "inspect x"]
)
def test_a_missing_root_is_3_for_every_verb(ask: Any, tmp_path: Path, verb: str) -> None:
    answer = ask(*verb.split(), root=tmp_path / "nowhere")
    assert (answer.code, answer.out) == (3, b"")
    assert "nowhere" in answer.err
    assert answer.err.count("\n") == 1


def test_what_is_no_root_is_3(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "some", tmp_path / "file"):
        answer = ask("ps", root=path)
        assert (answer.code, answer.out, answer.err.count("\n")) == (3, b"", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_an_unreadable_root_is_3(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "image" / "overlay2").mkdir(parents=True)
    secret.chmod(0o700)
    # Everything is imported first: a stranger may not be able to read this source tree either.
    script = f"""
import os, sys
from layerscope.cli.main import run
import layerscope.cli.verbs.ps, layerscope.services.ahead, layerscope.services.opening.root
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(run(["ps", "--root", {str(secret)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"permission" in done.stderr.lower()


def test_an_empty_root_is_not_the_default(ask: Any, overlay2_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERSCOPE_ROOT", str(overlay2_root))
    assert ask("ps", "--root", "").code == 2


def test_the_root_comes_from_option_or_environment(
    ask: Any, overlay2_root: Path, buildkit_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def root(*words: str) -> str:
        answer: str = ask(*words).json["root"]
        return answer

    one, other = str(overlay2_root), str(buildkit_root)
    assert root("info", "--json", "--root", one) == one
    assert root("--root", one, "info", "--json") == one
    assert root("--root", one, "info", "--json", "--root", other) == other
    monkeypatch.setenv("LAYERSCOPE_ROOT", other)
    assert root("info", "--json") == other
    assert root("info", "--json", "--root", one) == one
    assert root("--root", one, "info", "--json") == one


def test_problems_make_it_1_and_the_answer_is_there(ask: Any, records_copy: Path) -> None:
    broken = next((records_copy / "containers").glob("ea5e3b14c41b*")) / "config.v2.json"
    broken.write_text("")
    answer = ask("ps", "--json", root=records_copy)
    assert answer.code == 1
    assert {"idle", "editor"} <= {item["name"] for item in answer.json}
    assert answer.err.startswith("layerscope: ")
    assert "problem" in answer.err
    assert "config.v2.json" in answer.err
    text = ask("info", root=records_copy)
    assert text.code == 1
    assert b"config.v2.json" in text.out


def test_a_word_that_is_no_verb_and_no_path(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = ask("dif")
    assert answer.code == 2
    assert "did you mean 'diff'?" in answer.err


@pytest.mark.parametrize("words", [[], ["."], ["./ps"], ["demo"], ["--root", "/nowhere"]])
def test_the_ui_needs_a_terminal(as_program: Any, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "ps").mkdir()
    done = as_program(*words, cwd=tmp_path, env={"PYTHONPATH": str(Path(__main__.__file__).parents[1])})
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"terminal" in done.stderr


def test_a_verb_wins_over_a_path(as_program: Any, tmp_path: Path) -> None:
    (tmp_path / "ps").mkdir()
    environment = {"PYTHONPATH": str(Path(__main__.__file__).parents[1]), "LAYERSCOPE_ROOT": str(tmp_path / "nowhere")}
    done = as_program("ps", cwd=tmp_path, env=environment)
    assert done.returncode == 3, "it listed containers, rather than opening ./ps"


def test_version_and_help(as_program: Any) -> None:
    done = as_program("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"layerscope, version {__version__}\n".encode(), b"")
    shown = as_program("--help")
    assert shown.returncode == 0
    assert b"explain" in shown.stdout
    assert as_program("ls", "--help").returncode == 0


@pytest.mark.parametrize(
    "words", [["diff", "editor"], ["ls", "-R", "editor", "--json"], ["export", "editor"], ["--help"]]
)
def test_a_broken_pipe_is_141(overlay2_root: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "layerscope", *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "LAYERSCOPE_ROOT": str(overlay2_root)},
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("words", [["diff", "editor"], ["cat", "editor:/etc/motd"], ["export", "editor"]])
def test_a_full_disk_behind_standard_output_is_4(overlay2_root: Path, words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "layerscope", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "LAYERSCOPE_ROOT": str(overlay2_root)},
            timeout=60,
        )
    assert done.returncode == 4
    assert done.stderr == b"layerscope: cannot write to standard output: No space left on device\n"


def test_an_interrupt_is_130(overlay2_root: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "layerscope", "export", "editor", "-o", str(pipe), "--root", str(overlay2_root)],
        stderr=subprocess.PIPE,
        # A shell without job control starts what runs in the background with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 5
    while "wait_for_partner" not in _waits_in(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)  # until it waits for a reader of the pipe
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (130, b"")


def _waits_in(pid: int) -> str:
    """Where the process waits: the kernel's name for it, or that it opens a pipe, as its stack's end tells."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def test_a_defect_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(arguments: list[str]) -> int:
        raise RuntimeError("first\nsecond \x1b[31m")

    monkeypatch.setattr("layerscope.cli.main.run", broken)
    assert __main__.main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "RuntimeError: first second" in told
    assert "\x1b" not in told
    monkeypatch.setenv("LAYERSCOPE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        __main__.main()


@pytest.mark.parametrize("at_work", [False, True], ids=["alone", "a thread is at work"])
def test_what_is_to_be_done_at_the_end_is_done(tmp_path: Path, at_work: bool) -> None:
    """The program isn't taken apart; what was asked for at its end, and a thread's work, must not be lost by that."""
    thread = "def work():\n    time.sleep(0.5)\n    Path('worked').touch()\nthreading.Thread(target=work).start()\n"
    code = (
        "import atexit, sys, threading, time\n"
        "from pathlib import Path\n"
        f"{thread if at_work else ''}"
        "atexit.register(print, 'at the end')\n"
        "sys.argv = ['layerscope', '--root', '/no/such/root', 'info']\n"
        "sys.stdout.write('held back, ')\n"
        "from layerscope.__main__ import start\n"
        "start()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__main__.__file__).parents[1])}
    environment.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "held back, at the end\n")
    assert "/no/such/root" in done.stderr
    assert (tmp_path / "worked").exists() == at_work


def test_export_is_complete_or_not_there(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    import tarfile

    target = tmp_path / "out.tar"
    target.write_text("before")
    assert ask("export", "nobody", "-o", str(target), root=overlay2_root).code == 2
    assert target.read_text() == "before"
    assert ask("export", "writer", "-o", str(target), root=overlay2_root).code == 0
    assert os.listdir(tmp_path) == ["out.tar"]
    with tarfile.open(target) as tar:
        assert "etc/motd" in tar.getnames()
    assert ask("export", "writer", root=overlay2_root).out == target.read_bytes()


def test_nothing_is_written_below_the_root(ask: Any, records_copy: Path) -> None:
    before = sorted(path for path in records_copy.rglob("*"))
    for words in (("export", "idle", "-o"), ("extract", "idle:/")):
        answer = ask(*words, str(records_copy / "new"), root=records_copy)
        assert answer.code == 4
        assert "below the root" in answer.err
    assert sorted(path for path in records_copy.rglob("*")) == before


def _on_a_terminal(words: list[str], **environment: str) -> tuple[int, bytes]:
    """Exit code and output of the program with its standard output on a terminal of 100 columns."""
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "layerscope", *words],
            stdout=slave,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = screen.read(65536)
            except OSError:  # how Linux says that nobody has the terminal open any more
                break
            if not chunk:
                break
            shown += chunk
        return process.wait(timeout=30), shown


@pytest.fixture
def hostile_root(records_copy: Path, overlay2_root: Path) -> Path:
    """The sample with a file in ``idle`` whose name would recolour and reorder a terminal's text."""
    mount = next((overlay2_root / "image/overlay2/layerdb/mounts").glob("a846d6cd2c28*"))
    for name in os.listdir(overlay2_root / "overlay2"):
        (records_copy / "overlay2" / name / "diff").mkdir(parents=True, exist_ok=True)
    upper = records_copy / "overlay2" / (mount / "mount-id").read_text() / "diff"
    (upper / os.fsdecode(b"\x1b[31mred\n\xe2\x80\xaegnp.\xff\x9b")).write_text("x")
    return records_copy


@pytest.mark.parametrize(
    "words", [["diff", "idle"], ["ls", "idle"], ["diff", "idle", "--json"], ["ls", "idle", "--json"]]
)
def test_a_terminal_gets_no_control_characters(hostile_root: Path, words: list[str]) -> None:
    _, shown = _on_a_terminal([*words, "--root", str(hostile_root)], NO_COLOR="1")
    assert b"red" in shown
    assert b"\x1b" not in shown
    assert "\u202e".encode() not in shown
    assert b"\xff" not in shown
    assert b"\x9b" not in shown
    if "--json" in words:
        assert json.loads(shown)


def test_a_pipe_gets_the_bytes(ask: Any, hostile_root: Path) -> None:
    out = ask("diff", "idle", root=hostile_root).out
    assert b"A /\x1b[31mred\n\xe2\x80\xaegnp.\xff\x9b\n" in out


def test_stack_has_colour_only_where_it_is_wanted(overlay2_root: Path) -> None:
    words = ["stack", "editor", "--root", str(overlay2_root)]
    code, shown = _on_a_terminal(words)
    assert code == 0
    assert b"\x1b[48;5;" in shown
    assert b"\x1b" not in _on_a_terminal(words, NO_COLOR="1")[1]
    plain = _on_a_terminal([*words, "--ascii"], NO_COLOR="1")[1]
    assert plain.isascii()
    assert max(map(len, plain.decode().splitlines())) <= 100


def test_a_tar_is_not_for_a_terminal(overlay2_root: Path) -> None:
    code, shown = _on_a_terminal(["export", "editor", "--root", str(overlay2_root)])
    assert (code, shown) == (2, b"")


@pytest.mark.parametrize("words", [["diff", "editor"], ["diff", "editor", "--json"], ["ls", "-R", "editor", "--json"]])
def test_the_locale_changes_no_byte_of_an_answer(as_program: Any, overlay2_root: Path, words: list[str]) -> None:
    root = {"LAYERSCOPE_ROOT": str(overlay2_root)}
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    usual, other = as_program(*words, env=root), as_program(*words, env={**root, **ascii_only})
    assert (usual.returncode, other.returncode) == (0, 0), other.stderr
    assert "ünï ✓".encode() in usual.stdout
    # Names that are beyond ASCII sort by their bytes in any locale.
    assert other.stdout == usual.stdout


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_closed_standard_output_is_told(overlay2_root: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m layerscope ps --root {overlay2_root} >&-"], capture_output=True, timeout=60
    )
    assert done.returncode == 4
    assert done.stderr.count(b"\n") == 1
