"""Roots made by an attacker, read by every verb: nothing outside is shown, nothing hangs, nothing is a traceback.

Whoever can write a root can put anything in it. Beside each root lies a secret, which no answer may hold.
"""

from __future__ import annotations

import io
import json
import os
import pty
import resource
import shutil
import socket
import stat as modes
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tree_facts
from sample_roots import DATA, truth, unpack

from layerscope import open_root
from layerscope.cli.main import run
from layerscope.errors import LayerscopeError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes, owners and trusted.* attributes need root")
pytestmark = [pytest.mark.root, needs_root]

SECRET = b"TOP-SECRET-OF-THE-HOST"
IMAGE, CONTAINER = "layerscope/app:1.0", "editor"
RECORDS = "image/overlay2"


def _id_of(container: str) -> str:
    listed = truth("overlay2", "api-containers")
    return str(next(entry["Id"] for entry in listed if entry["Names"] == [f"/{container}"]))


def _mounted(container: str) -> list[str]:
    """Cache IDs of a container's levels, top first."""
    inspected = truth("overlay2", "inspect-containers")
    directories = next(entry for entry in inspected if entry["Name"] == f"/{container}")["GraphDriver"]["Data"]
    return [path.split("/")[-2] for path in (directories["UpperDir"], *directories["LowerDir"].split(":"))]


EDITOR, IDLE = _id_of("editor"), _id_of("idle")
UPPER, INIT, *LAYERS = _mounted("editor")
TOP, BASE = LAYERS[0], LAYERS[-1]
CHAINS = truth("overlay2", "image-tree")[
    next(image["Id"] for image in truth("overlay2", "inspect-images") if image["RepoTags"] == [IMAGE])
]["Layers"]
BASE_CHAIN = CHAINS[0].removeprefix("sha256:")


class Root(NamedTuple):
    """A root to spoil. ``outside`` is a directory of the host beside it, with a secret in it."""

    path: Path
    outside: Path

    @property
    def upper(self) -> Path:
        """The writable layer of ``editor``."""
        return self.path / "overlay2" / UPPER / "diff"

    def replace(self, name: str, text: str | bytes) -> None:
        """A record with another content."""
        path = self.path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def link(self, name: str, target: str | Path) -> None:
        """A symlink in the place of whatever is there."""
        self.remove(name)
        (self.path / name).symlink_to(target)

    def remove(self, name: str) -> None:
        """Take away what is there."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()

    def special(self, name: str, kind: str) -> None:
        """Something that is no file in the place of one."""
        self.remove(name)
        path = self.path / name
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, modes.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: reading it never ends
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    listener.bind(f"/proc/self/fd/{here}/{path.name}")
                finally:
                    os.close(here)
        else:
            path.mkdir()

    def huge(self, name: str) -> None:
        """A terabyte without a block."""
        path = self.path / name
        path.touch()
        try:
            os.truncate(path, 1 << 40)
        except OSError:
            os.truncate(path, 1 << 33)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """The sample to spoil."""
    outside = tmp_path / "outside"
    for folder in ("diff", "etc"):
        (outside / folder).mkdir(parents=True)
    for name in ("secret", "passwd", "diff/secret", "etc/passwd", "config.v2.json", "link", "lower"):
        (outside / name).write_bytes(SECRET)
    path = unpack(DATA / "overlay2" / "root.tar.gz", tmp_path / "root")
    yield Root(path, outside)
    # By a program that knows no depth that is too deep.
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


class Answer(NamedTuple):
    """What the program answered."""

    code: int
    out: bytes
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(root: Root, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """``ask(word, …)``: the answer of a verb on the root; never a traceback, never the secret."""

    def call(*words: str) -> Answer:
        capsysbinary.readouterr()
        started = time.monotonic()
        code = run(["--root", str(root.path), *words])
        captured = capsysbinary.readouterr()
        assert time.monotonic() - started < 20
        assert code in (0, 1, 2, 3), captured
        assert SECRET not in captured.out + captured.err
        assert b"Traceback" not in captured.err and b"internal error" not in captured.err, captured.err
        assert captured.err.count(b"\n") <= 8
        return Answer(code, captured.out, captured.err.decode())

    return call


VERBS: list[tuple[str, ...]] = [
    ("info", "--json"),
    ("images", "--all", "--json"),
    ("images", "--tree"),
    ("ps", "--json"),
    ("history", IMAGE),
    ("inspect", CONTAINER),
    ("stack", CONTAINER),
    ("stack", IMAGE, "--json"),
    ("diff", CONTAINER),
    ("diff", CONTAINER, "--corrected", "--json"),
    ("diff", IMAGE, CONTAINER),
    ("ls", "-R", "--all", CONTAINER),
    ("ls", "-R", "--json", IMAGE),
    ("cat", f"{CONTAINER}:/etc/passwd"),
    ("blame", f"{CONTAINER}:/etc/motd"),
    ("explain", f"{CONTAINER}:/etc/motd"),
    ("whose", f"overlay2/{UPPER}"),
    ("whose", EDITOR),
    ("export", CONTAINER),
]


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


SPOILED: dict[str, Callable[[Root], None]] = {
    # ids that are used as parts of paths
    "cache-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", "../../outside"),
    "cache-id is absolute": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", str(r.outside)),
    "cache-id is dots": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", ".."),
    "cache-id with zero byte": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", b"a\0b"),
    "mount-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/mount-id", "../../outside"),
    "init-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/init-id", "../../outside"),
    "parent leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/parent", "sha256:../../../outside"),
    # links in the place of directories
    "cache directory is a link": lambda r: r.link(f"overlay2/{BASE}", r.outside),
    "diff is a link": lambda r: r.link(f"overlay2/{BASE}/diff", r.outside),
    "diff is a link to the host": lambda r: r.link(f"overlay2/{UPPER}/diff", "/etc"),
    "driver's folder is a link": lambda r: r.link("overlay2", r.outside),
    "records are a link": lambda r: r.link(RECORDS, r.outside),
    "container is a link": lambda r: r.link(f"containers/{EDITOR}", r.outside),
    "link is a link": lambda r: r.link(f"overlay2/{BASE}/link", r.outside / "link"),
    "lower is a link": lambda r: r.link(f"overlay2/{UPPER}/lower", r.outside / "lower"),
    "short names lead out": lambda r: [r.link(f"overlay2/l/{n}", r.outside) for n in os.listdir(r.path / "overlay2/l")],
    "short names are a link": lambda r: r.link("overlay2/l", r.outside),
    "mounts are a link": lambda r: r.link(f"{RECORDS}/layerdb/mounts", r.outside),
    # what is no file
    **{
        f"{name} is a {kind}": lambda r, name=name, kind=kind: r.special(name, kind)  # type: ignore[misc]
        for kind in ("fifo", "device", "socket", "folder")
        for name in (
            f"containers/{EDITOR}/config.v2.json",
            f"{RECORDS}/repositories.json",
            f"overlay2/{UPPER}/lower",
            f"overlay2/{UPPER}/link",
            f"overlay2/{UPPER}/diff",
            f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id",
        )
        if not (kind == "folder" and name.endswith("/diff"))
    },
    # too much
    "huge config": lambda r: r.huge(f"containers/{EDITOR}/config.v2.json"),
    "huge names": lambda r: r.huge(f"{RECORDS}/repositories.json"),
    "huge lower": lambda r: r.huge(f"overlay2/{UPPER}/lower"),
    "huge short name": lambda r: r.huge(f"overlay2/{BASE}/link"),
    "huge cache-id": lambda r: r.huge(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id"),
    "nested config": lambda r: r.replace(f"containers/{EDITOR}/config.v2.json", _nested(50_000)),
    "nested names": lambda r: r.replace(f"{RECORDS}/repositories.json", _nested(50_000)),
    "nested lists": lambda r: r.replace(f"containers/{EDITOR}/config.v2.json", "[" * 100_000),
    "10,000 lowers": lambda r: r.replace(f"overlay2/{UPPER}/lower", ":".join(["l/" + "A" * 26] * 10_000)),
    "10,000 real lowers": lambda r: r.replace(
        f"overlay2/{UPPER}/lower", ":".join([f"l/{(r.path / 'overlay2' / BASE / 'link').read_text()}"] * 2_000)
    ),
    "lower names itself": lambda r: r.replace(
        f"overlay2/{UPPER}/lower", "l/" + (r.path / "overlay2" / UPPER / "link").read_text()
    ),
    "lower leads out": lambda r: r.replace(f"overlay2/{UPPER}/lower", "l/../../outside:../../outside:/etc"),
    "lower is garbage": lambda r: r.replace(f"overlay2/{UPPER}/lower", bytes(range(256)) * 20),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_spoiled_records(root: Root, ask: Ask, spoil: Callable[[Root], None]) -> None:
    spoil(root)
    for verb in VERBS:
        ask(*verb)
    told = json.loads(ask("info", "--json").out or b"{}")
    assert not told or told["problems"], "nobody was told"


def test_layers_that_changed_places_are_only_confusing(root: Root, ask: Ask) -> None:
    one, other, aside = (root.path / "overlay2" / name for name in (TOP, BASE, "aside"))
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    for verb in VERBS:
        ask(*verb)


# ---------------------------------------------------------------------- files in layers
@pytest.mark.parametrize("kind", ["fifo", "device", "socket"])
def test_what_is_no_file_is_not_read(root: Root, ask: Ask, kind: str) -> None:
    root.special(f"overlay2/{UPPER}/diff/etc/motd", kind)
    answer = ask("cat", f"{CONTAINER}:/etc/motd")
    assert (answer.code, answer.out) == (2, b"")
    assert answer.err.count("\n") == 1
    for verb in VERBS:
        ask(*verb)


def test_absolute_links_stay_in_the_view(root: Root, ask: Ask) -> None:
    wanted = {entry["name"]: entry["sha256"] for entry in truth("overlay2", "export")["editor"]}["etc/passwd"]
    links = {
        "absolute": "/etc/passwd",
        "data/sub/absolute": "/etc/passwd",
        "dots": "../../../../../../../../etc/passwd",
        "by-link": "/to-etc/passwd",
        "to-etc": "/etc",
    }
    for name, target in links.items():
        (root.upper / name).symlink_to(target)
    for name in ("absolute", "data/sub/absolute", "dots", "by-link"):
        answer = ask("cat", f"{CONTAINER}:/{name}")
        assert answer.code == 0
        assert tree_facts.digest(answer.out) == wanted
    assert b"passwd" in ask("ls", f"{CONTAINER}:/to-etc").out


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/1/root/etc/passwd", "{outside}/secret", "/dev/zero"])
def test_links_to_the_host_lead_nowhere(root: Root, ask: Ask, path: str) -> None:
    target = path.format(outside=root.outside)
    (root.upper / "out").symlink_to(target)
    (root.upper / "relative").symlink_to("../" * 40 + target.lstrip("/"))
    folder = root.upper / "folder"
    folder.symlink_to(os.path.dirname(target))
    for name in ("out", "relative", f"folder/{os.path.basename(target)}"):
        answer = ask("cat", f"{CONTAINER}:/{name}")
        assert (answer.code, answer.out) == (2, b"")
    for verb in VERBS:
        ask(*verb)


def test_links_in_a_circle(root: Root, ask: Ask) -> None:
    (root.upper / "loop").symlink_to("loop")
    (root.upper / "one").symlink_to("other/deeper")
    (root.upper / "other").symlink_to("one")
    for number in range(60):
        (root.upper / f"chain{number}").symlink_to(f"chain{number + 1}")
    for name in ("loop", "one", "chain0"):
        assert ask("cat", f"{CONTAINER}:/{name}").code == 2
        assert ask("ls", f"{CONTAINER}:/{name}/x").code == 2
    for verb in VERBS:
        ask(*verb)


def test_marks_with_odd_values(root: Root, ask: Ask) -> None:
    values = [
        b"",
        b"y",
        b"x",
        b"/../../../outside",
        b"..",
        b"a/b",
        b"/" + b"a" * 300,
        b"\xff\0\n",
        b"/etc",
        b"x" * 3000,
    ]
    for number, value in enumerate(values):
        for mark in ("redirect", "opaque", "metacopy", "whiteout"):
            path = root.upper / "marks" / f"{mark}{number}"
            path.mkdir(parents=True)
            os.setxattr(path, f"trusted.overlay.{mark}", value)
            (path / "file").touch()
            os.setxattr(path / "file", f"trusted.overlay.{mark}", value)
    for verb in VERBS:
        ask(*verb)
    for number in range(len(values)):
        ask("ls", f"{CONTAINER}:/marks/redirect{number}")
        ask("cat", f"{CONTAINER}:/marks/redirect{number}/file")
        ask("cat", f"{CONTAINER}:/marks/metacopy{number}/file")


def test_many_marks_of_the_wrong_kind(root: Root, ask: Ask) -> None:
    """Any process in a container may set ``user.*``: it costs a line or two, not time in the square of their number."""
    for number in range(15_000):
        path = root.upper / "marked" / f"{number:05}"
        path.mkdir(parents=True)
        os.setxattr(path, "user.overlay.opaque", b"y")
    assert ask("diff", IMAGE, CONTAINER).out.count(b"A /marked/") == 15_000
    ask("diff", CONTAINER)
    ask("ls", "-R", CONTAINER)


# ---------------------------------------------------------------------- names
NAMES = [
    b"n" * 255,
    b"new\nline",
    b"esc\x1b[31m\x1b]0;title\x07red",
    b"not \xff\xfe utf8",
    b"carriage\rreturn",
    b"tab\tand\x7f",
    b"bidi\xe2\x80\xae overridden",
    b"c1\xc2\x9b31m",
    b"-rf",
    b" ",
    b"\\x1b",
    "ünï ✓".encode(),
    b"\xed\xa0\x80",
]


def _with_names(root: Root) -> Path:
    folder = root.upper / "names"
    folder.mkdir()
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
        with open(os.path.join(os.fsencode(root.upper), b"link to " + name[:200]), "wb"):
            pass
    return folder


def _on_a_terminal(*command: str) -> bytes:
    """What a command writes to a terminal (standard output and error)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert process.wait(30) in (0, 1)
    return seen


def test_a_pipe_gets_names_as_they_are(root: Root, ask: Ask) -> None:
    _with_names(root)
    lines = ask("diff", CONTAINER).out
    for name in NAMES:
        assert b"A /names/" + name + b"\n" in lines
    listed = json.loads(ask("ls", f"{CONTAINER}:/names", "--json").out)
    assert {os.fsencode(path) for path in tree_facts.of_json(listed)} == {b"names/" + name for name in NAMES}
    for name in NAMES:
        assert ask("cat", f"{CONTAINER}:/names/{os.fsdecode(name)}").out == name
    assert {os.fsencode(path) for path in tree_facts.of_tar(ask("export", CONTAINER).out)} >= {
        b"names/" + name for name in NAMES
    }


@pytest.mark.parametrize("verb", [("diff",), ("ls", "-R"), ("ls", "-R", "--json"), ("diff", "--json"), ("stack",)])
def test_a_terminal_gets_no_name_that_it_would_obey(root: Root, verb: tuple[str, ...]) -> None:
    _with_names(root)
    command = [sys.executable, "-m", "layerscope", "--root", str(root.path), *verb, CONTAINER]
    environment = os.environ.get("NO_COLOR")
    os.environ["NO_COLOR"] = "1"
    try:
        seen = _on_a_terminal(*command)
    finally:
        os.environ.pop("NO_COLOR")
        if environment is not None:
            os.environ["NO_COLOR"] = environment
    text = seen.decode("utf-8")  # all of it is text
    assert text.strip()
    for character in text.replace("\r\n", "\n").replace("\n", ""):
        assert character.isprintable(), f"{character!r} reached the terminal"
    assert "‮" not in text


# ---------------------------------------------------------------------- depth and width
DEPTH, WIDTH = 3_000, 200_000


def _make_deep(top: Path, depth: int) -> None:
    """Directories in one another, too deep for any path; a file in the last."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("dd", dir_fd=here)
        below = os.open("dd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_directories_3000_deep(root: Root, ask: Ask) -> None:
    _make_deep(root.upper, DEPTH)
    deepest = "/" + "/".join(["dd"] * DEPTH) + "/bottom"
    lines = os.fsdecode(ask("diff", CONTAINER).out).splitlines()
    assert f"A {deepest}" in lines
    assert sum(line.startswith("A /dd") for line in lines) == DEPTH + 1
    assert ask("ls", "-R", CONTAINER).out.count(b"/dd") >= DEPTH
    assert f"A {deepest}" in os.fsdecode(ask("diff", IMAGE, CONTAINER).out)
    assert json.loads(ask("stack", CONTAINER, "--json").out)[0]["added"] >= DEPTH + 1
    assert ask("cat", f"{CONTAINER}:{deepest}").code == 0
    assert ask("blame", f"{CONTAINER}:{deepest}").code == 0
    assert json.loads(ask("ps", "--json").out)
    with tarfile.open(fileobj=io.BytesIO(ask("export", CONTAINER).out)) as tar:
        assert deepest[1:] in tar.getnames()


def test_depth_needs_few_descriptors(root: Root) -> None:
    _make_deep(root.upper, DEPTH)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
from layerscope import open_root
with open_root({str(root.path)!r}) as session:
    subject = session.find({CONTAINER!r})
    assert sum(change.path.startswith("dd") for change in session.changes(subject)) == {DEPTH} + 1
    assert sum(entry.path.startswith("dd") for entry in session.entries(subject, recursive=True)) == {DEPTH} + 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert soft > 64


def test_extract_of_a_deep_tree(root: Root, ask: Ask, tmp_path: Path) -> None:
    _make_deep(root.upper, 1_200)
    destination = tmp_path / "extracted"
    assert ask("extract", f"{CONTAINER}:/dd", str(destination)).code == 0
    found = subprocess.run(["find", str(destination), "-name", "bottom"], capture_output=True, check=True)
    assert found.stdout.count(b"\n") == 1


def test_a_directory_of_200000_entries(root: Root, ask: Ask) -> None:
    wide = root.upper / "wide"
    wide.mkdir()
    here = os.open(wide, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(WIDTH):
        os.symlink("x", f"{number:06}", dir_fd=here)
    os.close(here)
    assert ask("diff", CONTAINER).out.count(b"A /wide/") == WIDTH
    with open_root(root.path) as session:
        subject = session.find(CONTAINER)
        names = [entry.name for entry in session.entries(subject, "/wide", detail=False)]
        assert names == [f"{number:06}" for number in range(WIDTH)]
        assert session.stack(subject)[0].counts is not None


# ---------------------------------------------------------------------- what changes while it is read
class Meddler(io.RawIOBase):
    """Where an export goes; when the header of a member is written, something happens to the root."""

    def __init__(self, happenings: dict[str, Callable[[], None]]) -> None:
        self.data = bytearray()
        self._happenings = happenings

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        for name in [name for name in self._happenings if name.encode() in data]:
            self._happenings.pop(name)()
        return len(data)


def _listed_by_tar(data: bytes, path: Path) -> list[str]:
    """The names in a tar, read to its end by GNU tar."""
    path.write_bytes(data)
    done = subprocess.run(["tar", "-tf", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_export_of_files_that_change(root: Root, tmp_path: Path) -> None:
    folder = root.upper / "moving"
    folder.mkdir()
    size = 3_000_000
    for name in ("1-shrinks", "2-grows", "3-vanishes-soon", "5-is-emptied"):
        (folder / name).write_bytes(b"a" * size)
    (folder / "4-folder").mkdir()
    (folder / "4-folder" / "in").write_bytes(b"in")
    happenings = {
        "moving/1-shrinks": lambda: os.truncate(folder / "1-shrinks", 1_000_000),
        "moving/2-grows": lambda: os.truncate(folder / "2-grows", size * 2),
        "moving/": lambda: ((folder / "3-vanishes-soon").unlink(), shutil.rmtree(folder / "4-folder")),
        "moving/5-is-emptied": lambda: os.truncate(folder / "5-is-emptied", 0),
    }
    out = Meddler(happenings)  # type: ignore[arg-type]
    with open_root(root.path) as session:
        problems = session.export(session.find(CONTAINER), out)  # type: ignore[arg-type]
    assert happenings == {}, "everything happened"
    names = _listed_by_tar(bytes(out.data), tmp_path / "tar")
    assert "moving/3-vanishes-soon" not in names and "sticky/t" in names
    with tarfile.open(fileobj=io.BytesIO(bytes(out.data))) as tar:
        for name in ("1-shrinks", "2-grows", "5-is-emptied"):
            member = tar.getmember(f"moving/{name}")
            file = tar.extractfile(member)
            assert file is not None
            content = file.read()
            assert len(content) == member.size == size
            assert set(content) <= {ord("a"), 0}
        assert tar.extractfile("moving/1-shrinks").read().startswith(b"a" * 900_000)  # type: ignore[union-attr]
        assert tar.extractfile("moving/2-grows").read() == b"a" * size  # type: ignore[union-attr]
    told = {problem.path: problem.what for problem in problems}
    assert "shorter" in told["moving/1-shrinks"] and "longer" in told["moving/2-grows"]
    assert "moving/5-is-emptied" in told


def test_export_of_a_root_that_vanishes(root: Root) -> None:
    """The whole driver's folder goes away half way: the tar ends well, and so does the verb."""
    out = Meddler({"etc/": lambda: shutil.rmtree(root.path / "overlay2")})
    with open_root(root.path) as session:
        try:
            session.export(session.find(CONTAINER), out)  # type: ignore[arg-type]
        except LayerscopeError:
            pass
    with tarfile.open(fileobj=io.BytesIO(bytes(out.data))) as tar:
        assert "bin/tl" in tar.getnames()


def test_a_full_disk_under_an_export_is_told(root: Root) -> None:
    with (
        open_root(root.path) as session,
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OSError, match="space"),
    ):
        session.export(session.find(CONTAINER), full)  # type: ignore[arg-type]
