"""What a build refuses: it says which step and why, and leaves the root as it was before that step."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Said = Any
"""How a command line ended, what it wrote and what it told."""
Build = Callable[..., Said]
USAGE, REFUSED = 2, 4


def records(root: Path) -> list[str]:
    """Every file and directory of a root."""
    return sorted(os.path.join(folder, name) for folder, more, names in os.walk(root) for name in (*more, *names))


@pytest.fixture
def build(lab_path: Path, tmp_path: Path, call: Callable[..., Said]) -> Build:
    context = tmp_path / "context"
    (context / "tree").mkdir(parents=True)
    (context / "one").write_text("1\n")
    (context / "tree/two").write_text("2\n")
    (context / "skipped").write_text("s\n")
    (context / ".dockerignore").write_text("skipped\n")
    (context / "out").symlink_to("../../../../../../../../etc/passwd")
    (context / "out-folder").symlink_to("/etc")
    (context / "loop").symlink_to("loop")
    os.mkfifo(context / "pipe")

    def invoke(text: str | bytes, *words: str) -> Said:
        (context / "Dockerfile").write_bytes(text if isinstance(text, bytes) else text.encode())
        return call("build", *words, context, root=lab_path)

    return invoke


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", USAGE, "no instructions"),
        ("FROM base:1.0\nFETCH x\n", USAGE, "Dockerfile line 2: unknown instruction: 'FETCH'"),
        ("FROM base:1.0\nRUN --mount=type=cache x\n", USAGE, "line 2: RUN: --mount is BuildKit's alone"),
        ("FROM base:1.0\nCOPY --link one /\n", USAGE, "line 2: COPY: unknown flag --link"),
        ("FROM base:1.0\nCOPY --chmod=1 one /\n", USAGE, "line 2: COPY: --chmod is BuildKit's alone"),
        ("FROM base:1.0\nCOPY --chown one /\n", USAGE, "line 2: COPY: --chown needs a value"),
        ("FROM base:1.0\n\nCOPY one\n", USAGE, "line 3: COPY: requires at least two arguments"),
        ("FROM base:1.0\nENV\n", USAGE, "line 2: ENV"),
        ("FROM base:1.0\nENV A\n", USAGE, "line 2: ENV"),
        ("FROM base:1.0\nENV A=1 B\n", USAGE, "line 2: ENV"),
        ("FROM base:1.0\nLABEL =x\n", USAGE, "line 2: LABEL"),
        ("FROM base:1.0\nCMD [1]\n", USAGE, "line 2: CMD: in a JSON list all members must be texts"),
        ("FROM base:1.0\nSHELL sh\n", USAGE, "line 2: SHELL"),
        ("FROM base:1.0\nONBUILD FROM x\n", USAGE, "line 2: ONBUILD: FROM isn't allowed"),
        ("FROM base:1.0\nONBUILD NONSENSE\n", USAGE, "line 2: unknown instruction: 'NONSENSE'"),
        ("FROM --platform=linux/arm64 base:1.0\nRUN true\n", USAGE, "--platform=linux/arm64"),
        ("FROM missing:1\n", USAGE, "step 1/1 (line 1) FROM missing:1"),
        ("FROM $NONE\n", USAGE, "an empty text"),
        ("FROM scratch\n", USAGE, "FROM scratch alone is nothing"),
        ("FROM a AS b\nFROM b AS a\n", USAGE, "the later stage of line 2"),
        ("FROM me AS me\nRUN true\n", USAGE, "this stage itself"),
        ("FROM base:1.0 AS a\nCOPY --from=a /etc /\n", USAGE, "this stage itself"),
        ("FROM base:1.0\nCOPY --from=0 /etc /\n", USAGE, "this stage itself"),
        ("FROM base:1.0\nCOPY --from=7 /etc /\n", USAGE, "there is no stage 7"),
        ("FROM base:1.0\nCOPY --from=next /etc /\nFROM base:1.0 AS next\n", USAGE, "the later stage of line 3"),
        ("FROM base:1.0\nENV A='x\n", USAGE, "step 2/2 (line 2) ENV A='x: no matching single quote"),
        ('FROM base:1.0\nLABEL a="x\n', USAGE, "no matching double quote"),
        ("FROM base:1.0\nENV A=${B\n", USAGE, "step 2/2 (line 2)"),
        ("FROM base:1.0\nENV A=" + "${A:-" * 3000 + "}" * 3000, USAGE, "too many substitutions"),
        ("FROM base:1.0\nRUN echo 'x\n", USAGE, "no matching '"),
        ("FROM base:1.0\nRUN echo $(ls)\n", USAGE, "plain variables only"),
        ("FROM base:1.0\nRUN echo x | cat\n", USAGE, "no pipes"),
        ('FROM base:1.0\nRUN ["/bin/true"]\n', USAGE, "none is run"),
        ("FROM base:1.0\nEXPOSE web\n", USAGE, "step 2/2 (line 2) EXPOSE web"),
        ("FROM base:1.0\nADD https://example.org/x /\n", USAGE, "nothing is fetched"),
        ("FROM base:1.0\nCOPY [a-] x /\n", USAGE, "has a set that isn't right"),
        ("FROM base:1.0\nCOPY a[ /\n", USAGE, "isn't closed"),
        ("FROM base:1.0\nCOPY two /\n", REFUSED, "step 2/2 (line 2) COPY two /: two: there is no such file"),
        ("FROM base:1.0\nCOPY skipped /\n", REFUSED, "or .dockerignore leaves it out"),
        ("FROM base:1.0\nCOPY *.none /\n", REFUSED, "fits *.none"),
        ("FROM base:1.0\nCOPY ../lab /\n", REFUSED, "forbidden path"),
        ("FROM base:1.0\nCOPY tree/../../lab /\n", REFUSED, "forbidden path"),
        ("FROM base:1.0\nCOPY one /../../x\n", REFUSED, "forbidden path"),
        ("FROM base:1.0\nCOPY out /\n", REFUSED, "no such file"),
        ("FROM base:1.0\nCOPY out-folder/passwd /\n", REFUSED, "no such file"),
        ("FROM base:1.0\nCOPY loop /\n", REFUSED, "more than 255 links"),
        ("FROM base:1.0\nCOPY pipe /\n", REFUSED, "pipe is no file"),
        ("FROM base:1.0\nCOPY one tree /x\n", REFUSED, "must end with a slash"),
        ("FROM base:1.0\nCOPY one /etc/motd/\n", REFUSED, "is none"),
        ("FROM base:1.0\nCOPY --chown=nobody one /\n", REFUSED, "no user 'nobody'"),
        ("FROM base:1.0\nCOPY --chown=1:2:3 one /\n", REFUSED, "expected USER or USER:GROUP"),
        ("FROM base:1.0\nCOPY --chown=99999999999 one /\n", REFUSED, "is no user ID"),
        ("FROM base:1.0\nWORKDIR /etc/motd\n", REFUSED, "is none"),
        ("FROM base:1.0\nRUN mkdir /a && no-such-verb\n", REFUSED, "returned a non-zero code: 1 (no-such-verb"),
        ("FROM base:1.0\nRUN rm /nothing\n", REFUSED, "returned a non-zero code: 1 (rm: "),
        (
            "FROM base:1.0\nUSER ada\nRUN touch /x\n",
            REFUSED,
            "step 3/3 (line 3) RUN touch /x: the shell works as root only",
        ),
        ("FROM base:1.0\nVOLUME /v\nRUN touch /v/x\n", REFUSED, "put RUN before VOLUME"),
    ],
)
def test_refused(build: Build, lab_path: Path, text: str, code: int, said: str) -> None:
    before = records(lab_path)
    told = build(text, "-q")
    assert (told.code, told.out) == (code, b""), told.err
    assert said in told.err
    steps = text.count("\nUSER") + text.count("\nVOLUME")
    if steps:
        # The steps before stay: their images, and nothing else.
        assert all("/imagedb/" in path for path in set(records(lab_path)) - set(before))
    else:
        assert records(lab_path) == before


def test_a_mistake_behind_the_wanted_stage(build: Build, lab_path: Path) -> None:
    """docker reads the whole file before it builds any stage."""
    before = records(lab_path)
    told = build("FROM base:1.0 AS a\nLABEL x=y\nFROM base:1.0\nARG\n", "--target", "a")
    assert (told.code, told.out) == (USAGE, b"") and "line 4: ARG" in told.err
    assert records(lab_path) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [("../out", "forbidden path"), ("a/../../out", "forbidden path"), ("cut", "cannot unpack the archive")],
)
def test_archives_that_are_refused(build: Build, lab_path: Path, tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / "context/bad.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for member in ("first", name):
            facts = tarfile.TarInfo(member)
            facts.size = 100_000
            archive.addfile(facts, io.BytesIO(os.urandom(100_000)))
    if name == "cut":
        path.write_bytes(path.read_bytes()[:150_000])
    before = records(lab_path)
    told = build("FROM base:1.0\nADD bad.tgz /\n")
    assert told.code == REFUSED and said in told.err, told.err
    assert records(lab_path) == before


def test_files_of_the_host_stay_out_of_the_context(build: Build, lab_path: Path, call: Callable[..., Said]) -> None:
    assert build("FROM base:1.0\nCOPY . /context/\n", "-t", "made:1").code == 0
    listed = call("ls", "made:1:/context", root=lab_path).out.decode()
    assert "out" in listed and "skipped" not in listed
    assert (
        call("cat", "made:1:/context/out", root=lab_path).out == call("cat", "base:1.0:/etc/passwd", root=lab_path).out
    )


def test_a_source_through_a_link_stays_in_the_context(build: Build, tmp_path: Path) -> None:
    (tmp_path / "context/etc").mkdir()
    (tmp_path / "context/etc/passwd").write_text("of the context\n")
    assert build("FROM base:1.0\nCOPY out /x\n").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "none"), "no stage 'none'"),
        (("--build-arg", "=x"), "is no argument"),
        (("--label", "=x"), "a label has no name"),
        (("-t", "UPPER:x y"), "no valid image name"),
        (("--created", "soon"), "is no time"),
        (("--engine", "x"), "engine version"),
    ],
)
def test_mistakes_on_the_command_line(build: Build, lab_path: Path, words: tuple[str, ...], said: str) -> None:
    before = records(lab_path)
    told = build("FROM base:1.0 AS one\nLABEL a=b\n", *words)
    assert (told.code, said in told.err, told.out) == (USAGE, True, b""), told.err
    assert records(lab_path) == before


def test_an_epoch_that_is_none(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    told = build("FROM base:1.0\nLABEL a=b\n")
    assert told.code == USAGE and "SOURCE_DATE_EPOCH" in told.err


def test_a_context_that_is_none(call: Callable[..., Said], lab_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("FROM base:1.0\nLABEL a=b\n")
    assert call("build", "-f", tmp_path / "file", tmp_path / "none", root=lab_path).code == USAGE
    assert call("build", "-f", tmp_path / "file", tmp_path / "file", root=lab_path).code == USAGE
    assert call("build", tmp_path, root=lab_path).code == USAGE
    os.mkfifo(tmp_path / "Dockerfile")
    assert call("build", tmp_path, root=lab_path).code == USAGE


def test_steps_before_a_failed_one_are_not_made_again(build: Build) -> None:
    assert build("FROM base:1.0\nCOPY one /x\nRUN rm /nothing\n").code == REFUSED
    told = build("FROM base:1.0\nCOPY one /x\nRUN rm /x\n")
    assert told.code == 0
    assert told.err.count("Using cache") == 1


def test_what_run_replaces(build: Build, lab_path: Path, call: Callable[..., Said]) -> None:
    text = (
        "FROM base:1.0\nENV TWO='a  b' STAR=/srv/www/*.html QUOTE=\"it's\"\nWORKDIR /w\n"
        'RUN echo $TWO "$TWO" \'$TWO\' ${NONE}x $STAR "$STAR" $QUOTE \\$TWO > out # $(no)\n'
    )
    assert build(text, "-t", "made:1").code == 0
    told = call("cat", "made:1:/w/out", root=lab_path).out
    assert told == b"a b a  b $TWO x /srv/www/index.html /srv/www/*.html it's $TWO\n"


def test_the_same_files_give_the_same_image(
    build: Build, lab_path: Path, call: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    text = "FROM base:1.0\nCOPY tree /srv/deep/er/\nRUN echo x > /etc/motd && rm /srv/www/style.css\nWORKDIR /a/b\n"
    first = build(text, "-t", "made:1")
    second = build(text, "-t", "made:2", "--no-cache")
    assert first.code == second.code == 0
    assert "Using cache" not in second.err
    assert first.line == second.line
    assert b"2023-11-14T22:13:20Z" in call("inspect", "made:1", root=lab_path).out


def test_arguments_that_nobody_declared_are_told(build: Build) -> None:
    told = build("FROM base:1.0\nARG A\nLABEL a=$A\n", "--build-arg", "A=1", "--build-arg", "B=2")
    assert told.code == 0
    assert "[Warning] One or more build-args [B] were not consumed" in told.err
