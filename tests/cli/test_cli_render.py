"""How values look: escapes, docker's words, tables, blocks, JSON text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from layerscope.cli.render import docker_form
from layerscope.cli.render.blocks import Look, blocks, heights
from layerscope.cli.render.document import document, element
from layerscope.cli.render.escape import bytes_of, escaped_text, is_utf8, replaced
from layerscope.cli.render.json import plain, utc
from layerscope.cli.render.table import aligned, docker_table, ellipsis
from layerscope.cli.render.tree import LayerTree, TreeLayer, tree_lines
from layerscope.errors import CorruptError
from layerscope.model.container import Container
from layerscope.model.digest import ChainID, ContainerID, ImageID
from layerscope.model.image import Image
from layerscope.model.level import Level, LevelCounts, Role
from layerscope.model.subject import StackLevel

SECOND = 1_000_000_000
NOON = 1_704_110_400 * SECOND  # 2024-01-01T12:00:00Z


# ---------------------------------------------------------------------- text
def test_text_for_a_terminal_is_one_harmless_line() -> None:
    assert escaped_text("a\nb\x1b[31m\u202e\x7f\udcff") == r"a\nb\x1b[31m\u202e\x7f\xff"
    assert escaped_text(r'sh -c "printf \n"') == r'sh -c "printf \n"'


def test_bytes_come_back_as_they_were() -> None:
    for raw in (b"plain", "ünï ✓".encode(), b"caf\xe9", b"\xff\xfe\x80", "\ufffd".encode()):
        name = os.fsdecode(raw)
        assert bytes_of(name) == raw
        assert is_utf8(name) == _decodes(raw)
    assert replaced(os.fsdecode(b"caf\xe9")) == "caf\ufffd"
    assert "\ud800" not in replaced("a\ud800b")


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------------- JSON
@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.100Z", "2024-01-02T03:04:05.100Z"),
        ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456789Z"),
        ("2024-01-02T03:04:05.123456789+02:00", "2024-01-02T01:04:05.123456789Z"),
        ("2024-01-01T00:30:00.5-05:30", "2024-01-01T06:00:00.5Z"),
        ("2024-03-01T00:30:00+01:00", "2024-02-29T23:30:00Z"),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_utc_with_their_own_digits(recorded: str | None, told: str | None) -> None:
    assert utc(recorded) == told


def test_records_are_made_fit_for_json() -> None:
    record = {"a\udcff": [1, float("nan"), "x\ud800"], "b": ({"c": float("inf")},), "d": None, "e": True}
    assert plain(record) == {"a\ufffd": [1, None, plain("x\ud800")], "b": [{"c": None}], "d": None, "e": True}
    assert json.loads(document(plain(record)))


def test_a_deep_record_is_an_error_of_ours() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CorruptError):
        document(plain(deep))


def test_json_for_a_terminal_is_ascii() -> None:
    assert element({"a": "\x7f\x9b\u202eü"}, terminal=True) == b'{"a": "\\u007f\\u009b\\u202e\\u00fc"}'
    assert element({"a": "ü"}) == '{"a": "ü"}'.encode()


# ---------------------------------------------------------------------- docker's words
def container(state: str, started: str | None = None, finished: str | None = None, **more: object) -> Container:
    values: dict[str, object] = {
        "id": ContainerID("c" * 64),
        "name": "web",
        "image": "app",
        "image_id": ImageID("sha256:" + "1" * 64),
        "command": "sh",
        "created": None,
        "started_at": started,
        "finished_at": finished,
        "state": state,
        "unclean": False,
        "exit_code": 137,
        "driver": "overlay2",
        "log_path": None,
        "log_size": None,
        "mounts": (),
        "labels": {},
        "mount_id": None,
        "init_id": None,
        "chain_id": None,
        "config": {},
        **more,
    }
    return Container(**values)  # type: ignore[arg-type]


def health(word: str) -> dict[str, object]:
    return {"State": {"Health": {"Status": word}}}


EARLIER, BEFORE = "2024-01-01T11:00:00Z", "2024-01-01T11:55:00Z"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (container("running", BEFORE), "Up 5 minutes"),
        (container("running", BEFORE, unclean=True), "Up 5 minutes (unclean)"),
        (container("running", BEFORE, config=health("starting")), "Up 5 minutes (health: starting)"),
        (container("running", BEFORE, config=health("unhealthy")), "Up 5 minutes (unhealthy)"),
        (container("running", BEFORE, config=health("none")), "Up 5 minutes"),
        (container("running", BEFORE, config={"State": "garbage"}), "Up 5 minutes"),
        (container("paused", EARLIER), "Up About an hour (Paused)"),
        (container("restarting", EARLIER, BEFORE), "Restarting (137) 5 minutes ago"),
        (container("exited", EARLIER, BEFORE), "Exited (137) 5 minutes ago"),
        (container("exited", EARLIER, None), ""),
        (container("created"), "Created"),
        (container("dead", EARLIER), "Dead"),
        (container("removing", EARLIER), "Removal In Progress"),
    ],
)
def test_status_has_dockers_words(value: Container, words: str) -> None:
    assert docker_form.status(value, NOON) == words


@pytest.mark.parametrize(
    ("typed", "means", "shown"),
    [
        ("app:1.0", "sha256:" + "1" * 64, "app:1.0"),
        ("app:1.0", "sha256:" + "2" * 64, "111111111111"),
        ("app:1.0", None, "111111111111"),
        ("1" * 12, "sha256:" + "1" * 64, "1" * 12),
        ("app@sha256:" + "a" * 64, "sha256:" + "1" * 64, "app"),
        ("h:5000/app:1@sha256:" + "a" * 64, "sha256:" + "1" * 64, "h:5000/app:1"),
    ],
)
def test_image_of_a_container_is_its_id_once_the_name_moved(typed: str, means: str | None, shown: str) -> None:
    assert docker_form.shown_image(typed, "sha256:" + "1" * 64, means, full=False) == shown


def test_quoted_as_go_does() -> None:
    assert docker_form.quote('a "b"\\\n\x01é\u202e') == r'"a \"b\"\\\n\x01é\u202e"'


def image(tags: tuple[str, ...], digests: tuple[str, ...] = (), parent: str | None = None, number: int = 1) -> Image:
    identity = ImageID("sha256:" + str(number) * 64)
    return Image(identity, tags, digests, parent and ImageID(parent), None, "amd64", "linux", "", (), (), (), 0, {})


def test_names_of_an_image_are_dockers_rows() -> None:
    digest = "@sha256:" + "d" * 64
    assert docker_form.image_names(image(("h:5000/a/b:1", "c:2"), ("c" + digest,))) == [("h:5000/a/b", "1"), ("c", "2")]
    assert docker_form.image_names(image((), ("h:5000/a" + digest,))) == [("h:5000/a", "<none>")]
    assert docker_form.image_names(image(())) == [("<none>", "<none>")]


def test_history_ids_follow_the_parents_that_are_there() -> None:
    below = image((), number=2, parent="sha256:" + "9" * 64)
    top = image(("a:1",), parent=below.id)
    assert docker_form.history_ids(top, 4, {below.id: below}.get) == [top.id, below.id, "<missing>", "<missing>"]
    itself = image((), number=3, parent="sha256:" + "3" * 64)
    assert len(docker_form.history_ids(itself, 3, {itself.id: itself}.get)) == 3


# ---------------------------------------------------------------------- tables
def test_docker_table_is_at_least_ten_wide_with_three_between() -> None:
    assert list(docker_table(("A", "LONG", "C"), [("x", "0123456789", "end")])) == [
        "A         LONG         C",
        "x         0123456789   end",
    ]


def test_ellipsis_counts_columns() -> None:
    assert ellipsis("12345", 5) == "12345"
    assert ellipsis("123456", 5) == "1234…"
    assert ellipsis("漢字漢字", 8) == "漢字漢字"
    assert ellipsis("漢字漢字", 7) == "漢字漢…"
    assert ellipsis("é" * 6, 5) == "é" * 4 + "…"
    assert ellipsis("12345漢", 5) == "1234…"
    assert ellipsis("1234漢", 5) == "1234…"


def test_aligned_cuts_only_the_last_column() -> None:
    rows = [("1", "a", "x" * 30), ("22", "bb", "short"), ("3",)]
    assert list(aligned(rows, frozenset({0}), width=20)) == [" 1  a   " + "x" * 11 + "…", "22  bb  short", " 3"]
    assert next(aligned(rows)).endswith("x" * 30)


def level(number: int, size: int | None, command: str = "", counts: LevelCounts | None = None) -> StackLevel:
    role = Role.RW if number == 3 else Role.IMAGE
    return StackLevel(Level(number, role, None, created_by=command), size, counts)


def test_blocks_are_as_high_as_they_are_big() -> None:
    assert heights([100, 300, 0, None], rows=40) == [10, 30, 1, 1]
    assert heights([None, 0], rows=40) == [1, 1]
    drawn = list(blocks([level(3, 75), level(2, 0), level(1, 25)], Look(glyphs=False)))
    rows = [index for index, line in enumerate(drawn) if "+---" in line]
    assert [after - before for before, after in pairwise(rows)] == [12, 1, 4]
    assert all(line.isascii() for line in drawn)


def test_blocks_fit_the_terminal_and_name_everything() -> None:
    counts = LevelCounts(added=1, modified=2, metadata=3, deleted=4, opaque=5)
    look = Look(glyphs=True, width=60, safe=escaped_text)
    drawn = list(blocks([level(3, 10, "RUN \x1b[31m" + "x" * 100, counts)], look))
    assert "+1 ~2 ↑3 ✗4 ⊘5" in drawn[0]
    assert "\\x1b" in drawn[0]
    assert max(map(len, drawn)) <= 60
    assert list(blocks([], look)) == []


def test_tree_shares_prefixes_and_indents_only_at_forks() -> None:
    def chain(letters: str) -> list[TreeLayer]:
        return [TreeLayer(ChainID(letters[: n + 1]), 1, "") for n in range(len(letters))]

    tree = LayerTree()
    for name, letters in (("one", "abc"), ("two", "abd"), ("three", "a"), ("four", "z"), ("none", "")):
        tree.add(name, chain(letters))
    assert [(guide, layer.chain_id, layer.images) for guide, layer in tree_lines(tree)] == [
        ("● ", "a", ["three"]),
        ("│ ", "ab", []),
        ("├─● ", "abc", ["one"]),
        ("└─● ", "abd", ["two"]),
        ("● ", "z", ["four"]),
    ]
    assert tree.bare == ["none"]
    deep = LayerTree()
    deep.add("deep", [TreeLayer(ChainID(str(n)), 1, "") for n in range(5000)])
    assert sum(1 for _ in tree_lines(deep)) == 5000


# ---------------------------------------------------------------------- what a verb costs to start
def test_a_verb_imports_neither_the_ui_nor_the_other_verbs(overlay2_root: Path) -> None:
    script = (
        "import sys; from layerscope.cli.main import run; code = run(sys.argv[1:]); "
        "unwanted = [n for n in sys.modules if n.partition('.')[0] in ('textual', 'rich', 'watchfiles', 'asyncio')]; "
        "unwanted += [n for n in sys.modules if n.startswith('layerscope.cli.') and n.rpartition('.')[2] in "
        "('records', 'files', 'start', 'completion')]; "
        "print(unwanted, file=sys.stderr); sys.exit(code or bool(unwanted))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "diff", "idle", "--root", str(overlay2_root)], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"[]\n")
