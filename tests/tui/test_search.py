"""Finding names in a whole view."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerscope import open_root
from layerscope.services import Session
from layerscope.tui.sources.file_row import Surroundings
from layerscope.tui.sources.files import FileSource
from layerscope.tui.sources.search import MOST_HITS, Hits, Matcher, find_names

needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


def source_of(session: Session, name: str, layer_only: bool = False) -> FileSource:
    subject = session.find(name)
    return FileSource(session.view(subject), len(session.levels(subject)), layer_only, Surroundings())


def found(source: FileSource, text: str) -> set[str]:
    """The paths that a search ends with."""
    hits = Hits(Matcher(text))
    ends = [ended for _, ended in find_names(source, hits)]
    assert ends[-1] and not any(ends[:-1])
    paths = set()
    for folder in hits.folders():
        for name in hits.names_in(folder):
            path = f"{folder}/{name}" if folder else name
            if hits.is_hit(path):
                paths.add(path)
    assert hits.count == len(paths)
    return paths


@pytest.mark.parametrize(
    ("text", "folder", "name", "is_one"),
    [
        ("conf", "etc", "app.conf", True),
        ("CONF", "etc", "app.conf", False),
        ("conf", "etc", "App.CONF", True),
        ("*.conf", "etc", "app.conf", True),
        ("*.con", "etc", "app.conf", False),
        ("a?p.*", "etc", "app.conf", True),
        ("[bc]pp.conf", "etc", "app.conf", False),
        ("etc/a", "etc", "app.conf", True),
        ("/etc/a", "etc", "app.conf", True),
        ("/tc/a", "etc", "app.conf", False),
        ("etc/*.conf", "etc", "app.conf", True),
        ("etc/*.conf", "usr/etc", "app.conf", False),
        (".", "etc", "hosts", False),
        ("a+b", "", "a+b", True),
    ],
)
def test_what_a_text_means(text: str, folder: str, name: str, is_one: bool):
    assert Matcher(text).matches(folder, name) is is_one


def test_the_part_that_was_looked_for_can_be_shown():
    assert Matcher("pp").span("app.conf") == (1, 3)
    assert Matcher("a*").span("app.conf") is None
    assert Matcher("etc/a").span("app.conf") is None


@needs_marks
@pytest.mark.parametrize("text", ["t", "deep", "x", "*.txt"])
@pytest.mark.parametrize("name", ["editor", "writer"])
def test_a_search_finds_what_docker_exports_and_what_was_deleted(
    session: Session, name: str, text: str, sample_truth: Callable[..., Any]
):
    matcher = Matcher(text)
    exported = {each["name"] for each in sample_truth("overlay2", "export")[name]}
    deleted = {line[3:] for line in sample_truth("overlay2", "diff")[name] if line[0] == "D"}
    wanted = {path for path in exported | deleted if matcher.matches(*os.path.split(path))}
    got = found(source_of(session, name), text)
    assert wanted <= got
    # Beyond that only what the image's own layers had deleted before.
    hidden = source_of(session, name)
    for path in got - wanted:
        folder, file = os.path.split(path)
        rows = {row.name: row for row in hidden.read(folder)}
        assert rows[file].gone or _in_removed(hidden, folder), path


def _in_removed(source: FileSource, folder: str) -> bool:
    while folder:
        above, name = os.path.split(folder)
        if any(row.gone for row in source.read(above) if row.name == name):
            return True
        folder = above
    return False


@needs_marks
def test_a_search_in_one_layer_finds_only_what_it_holds(session: Session, overlay2_root: Path):
    upper = overlay2_root / (session.levels(session.find("editor"))[-1].path or "")
    stored = {os.path.relpath(Path(top, name), upper) for top, dirs, files in os.walk(upper) for name in dirs + files}
    assert found(source_of(session, "editor", layer_only=True), "t") == {
        path for path in stored if "t" in os.path.basename(path).lower()
    }


def test_what_leads_to_a_hit_is_shown_and_all_below_a_hit():
    hits = Hits(Matcher("x"))
    assert hits.add("a/b", {"x"}) == ["a/b", "a"]
    assert hits.names_in("") == {"a"}
    assert hits.names_in("a") == {"b"}
    assert hits.names_in("a/b") == {"x"}
    assert not hits.covers("a/b")
    assert hits.covers("a/b/x")
    assert hits.covers("a/b/x/deeper")
    hits.add("a/b", {"x"})
    assert hits.count == 1


def test_a_search_ends_when_there_is_too_much(tmp_path: Path):
    from layerscope.hostfs import Directory
    from layerscope.overlay import MergedView, ViewLevel

    for number in range(MOST_HITS // 100 + 5):
        folder = tmp_path / f"d{number}"
        folder.mkdir()
        for name in range(100):
            (folder / f"x{name}").touch()
    view = MergedView([ViewLevel(1, Directory.open_root(tmp_path))])
    source = FileSource(view, 1, False, Surroundings())
    hits = Hits(Matcher("x"))
    assert [ended for _, ended in find_names(source, hits)][-1]
    assert MOST_HITS <= hits.count < MOST_HITS + 100
