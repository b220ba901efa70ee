"""The rows of the merged tree: what is read of a view, in which order it is shown, and what is left out."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from layerscope import open_root
from layerscope.services import Session
from layerscope.tui.glyphs import Mark
from layerscope.tui.sources.arrangement import Arrangement, Category, SortOrder
from layerscope.tui.sources.file_row import FileRow, surroundings
from layerscope.tui.sources.files import COMPARE_BYTES, FileSource

needs_marks = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")

_TYPE_OF_TAR = {"0": stat.S_IFREG, "1": stat.S_IFREG, "2": stat.S_IFLNK, "3": stat.S_IFCHR, "5": stat.S_IFDIR}


@pytest.fixture(scope="module")
def session(overlay2_root: Path) -> Iterator[Session]:
    with open_root(overlay2_root) as opened:
        yield opened


def source_of(session: Session, name: str, cut: int | None = None, layer_only: bool = False) -> FileSource:
    subject = session.find(name)
    levels = session.levels(subject)
    return FileSource(session.view(subject), cut or len(levels), layer_only, surroundings(subject, levels))


def read_all(source: FileSource, gone: bool = False) -> dict[str, FileRow]:
    """Every row by its path; removed directories are entered only if ``gone``."""
    found: dict[str, FileRow] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        for row in source.read(folder):
            path = f"{folder}/{row.name}" if folder else row.name
            found[path] = row
            if row.is_dir and (gone or not row.gone):
                pending.append(path)
    return found


def row_of(source: FileSource, path: str) -> FileRow:
    folder, _, name = path.rpartition("/")
    return next(row for row in source.read(folder) if row.name == name)


# ---------------------------------------------------------------------- what is read
@needs_marks
@pytest.mark.parametrize("name", ["editor", "writer", "idle"])
def test_the_rows_are_what_docker_exports(session: Session, name: str, sample_truth: Callable[..., Any]):
    exported = {each["name"]: each for each in sample_truth("overlay2", "export")[name]}
    rows = {path: row for path, row in read_all(source_of(session, name)).items() if not row.gone}
    assert set(rows) == set(exported)
    for path, row in rows.items():
        truth = exported[path]
        mode = int(truth["mode"], 8)
        assert stat.S_IMODE(row.ownership.mode) == stat.S_IMODE(mode), path
        assert (row.ownership.uid, row.ownership.gid) == (truth["uid"], truth["gid"]), path
        if truth["type"] in _TYPE_OF_TAR:
            assert stat.S_IFMT(row.ownership.mode) == _TYPE_OF_TAR[truth["type"]], path
        if truth["type"] == "0":
            assert (row.size, row.mtime) == (truth["size"], truth["mtime"]), path
        if truth["type"] == "2":
            assert row.target == truth["link"], path


@needs_marks
@pytest.mark.parametrize("name", ["editor", "writer"])
def test_the_marks_of_the_writable_layer_are_what_docker_diff_tells(
    session: Session, name: str, sample_truth: Callable[..., Any]
):
    lines = sample_truth("overlay2", "diff")[name]
    source = source_of(session, name)
    rows = read_all(source)
    own = {path: row for path, row in rows.items() if row.level == source.number}
    added = {path for path, row in own.items() if row.mark is Mark.ADDED}
    # docker diff tells a file of another type as deleted and the one in its place not at all.
    assert {line[3:] for line in lines if line[0] == "A"} <= added | {
        p for p, r in own.items() if r.mark is Mark.OPAQUE
    }
    changed = {path for path, row in own.items() if row.mark in (Mark.MODIFIED, Mark.COPIED, Mark.WITHIN, Mark.OPAQUE)}
    assert {line[3:] for line in lines if line[0] == "C"} <= changed
    deleted = {path for path, row in rows.items() if row.gone}
    assert {line[3:] for line in lines if line[0] == "D"} <= deleted


@needs_marks
def test_a_removed_name_is_one_row_with_what_is_still_stored(session: Session):
    row = row_of(source_of(session, "editor"), "data/a.txt")
    below = row_of(source_of(session, "editor", 5), "data/a.txt")
    assert row.mark is Mark.WHITEOUT
    assert row.level == 6
    assert row.size == below.size
    assert row.note == f"deleted in L6, was in L{below.level}"


@needs_marks
def test_what_an_opaque_directory_hides_is_there_struck_through(session: Session):
    source = source_of(session, "editor", 2)
    opaque = [path for path, row in read_all(source).items() if row.mark is Mark.OPAQUE]
    assert opaque, "the sample has an opaque directory in level 2"
    hidden = [row for row in source.rows(opaque[0]) or () if row.mark is Mark.HIDDEN]
    assert hidden
    assert {row.level for row in hidden} == {1}
    assert all(row.note == "hidden by opaque L2" for row in hidden)
    assert "hides L1" in row_of(source, opaque[0]).note


@needs_marks
def test_a_single_layer_shows_only_its_own(session: Session, overlay2_root: Path):
    source = source_of(session, "editor", layer_only=True)
    rows = read_all(source)
    upper = overlay2_root / (session.levels(session.find("editor"))[-1].path or "")
    stored = {os.path.relpath(Path(top, name), upper) for top, dirs, files in os.walk(upper) for name in dirs + files}
    assert set(rows) == stored
    assert {row.level for row in rows.values()} == {6}
    whiteout = rows["data/a.txt"]
    assert whiteout.mark is Mark.WHITEOUT
    assert whiteout.note == "deletes the copy of L1"
    assert whiteout.size == row_of(source_of(session, "editor", 1), "data/a.txt").size


@needs_marks
def test_files_of_the_init_layer_tell_what_they_are_for(session: Session):
    rows = read_all(source_of(session, "idle"))
    assert rows["etc/hosts"].note == "bind-mount target"
    assert rows["proc"].note == "mount point"
    assert rows["etc/mtab"].target == "/proc/mounts"


def test_a_volume_is_told_where_it_is_mounted(session: Session):
    subject = session.find("writer")
    assert subject.container is not None
    mount = next(mount for mount in subject.container.mounts if mount.destination == "/vol")
    assert surroundings(subject, ()).mounts["vol"] == f"{mount.type} {mount.name or mount.source} is mounted here"


def test_a_directory_that_is_gone_is_an_error_of_its_own(session: Session):
    with pytest.raises(OSError):
        source_of(session, "editor").read("no/such/place")


def test_reading_again_sees_what_has_changed(overlay2_root: Path, tmp_path: Path):
    source, _, upper = changeable(overlay2_root, tmp_path)
    assert "fresh" not in {row.name for row in source.read("")}
    (upper / "fresh").write_text("new")
    assert "fresh" in {row.name for row in source.read("")}


def test_a_large_file_is_compared_later(overlay2_root: Path, tmp_path: Path):
    source, base, upper = changeable(overlay2_root, tmp_path)
    (base / "large").write_bytes(b"a" * (COMPARE_BYTES + 1))
    (upper / "large").write_bytes(b"a" * COMPARE_BYTES + b"b")
    os.utime(upper / "large", (1, 1))
    row = next(row for row in source.read("") if row.name == "large")
    assert row.mark is None
    for path, unsettled in source.take_unsettled():
        source.settle(path, unsettled)
    assert row.mark is Mark.MODIFIED


def changeable(overlay2_root: Path, tmp_path: Path) -> tuple[FileSource, Path, Path]:
    """A source over a root of its own: the sample's records with empty layers; its lowest and its topmost layer."""
    root = tmp_path / "root"
    for folder in ("image", "containers"):
        shutil.copytree(overlay2_root / folder, root / folder)
    for layer in (overlay2_root / "overlay2").iterdir():
        (root / "overlay2" / layer.name / "diff").mkdir(parents=True)
        for record in ("link", "lower"):
            if (layer / record).is_file():
                shutil.copy(layer / record, root / "overlay2" / layer.name / record)
    session = open_root(root, xattr_prefix="user")
    subject = session.find("editor")
    levels = session.levels(subject)
    source = FileSource(session.view(subject), len(levels), False, surroundings(subject, levels))
    return source, root / (levels[0].path or ""), root / (levels[-1].path or "")


# ---------------------------------------------------------------------- order
@needs_marks
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", list(SortOrder))
def test_every_order_is_one(session: Session, order: SortOrder, reverse: bool):
    source = source_of(session, "editor")
    rows = source.read("data")
    source.arrange_all(Arrangement(order, reverse))
    shown = [item.value for item in source.children("data") or ()]
    assert sorted(row.name for row in shown) == sorted(row.name for row in rows)
    keys: dict[SortOrder, Callable[[FileRow], Any]] = {
        SortOrder.NAME: lambda row: os.fsencode(row.name),
        SortOrder.SIZE: lambda row: -(row.size or 0),
        SortOrder.TIME: lambda row: -row.mtime,
        SortOrder.LEVEL: lambda row: -row.level,
        SortOrder.CHANGE: lambda row: row.mark is Mark.SAME,
    }
    values = [keys[order](row) for row in shown]
    assert values == sorted(values, reverse=reverse)


def test_the_same_column_again_turns_the_order_round():
    arrangement = Arrangement().by(SortOrder.SIZE)
    assert arrangement == Arrangement(SortOrder.SIZE)
    assert arrangement.by(SortOrder.SIZE) == Arrangement(SortOrder.SIZE, reverse=True)
    assert arrangement.by(SortOrder.SIZE).by(SortOrder.NAME) == Arrangement()


def test_the_orders_come_round():
    arrangement = replace(Arrangement(), reverse=True)
    seen = [arrangement := arrangement.next_order() for _ in SortOrder]
    assert {each.order for each in seen} == set(SortOrder)
    assert not any(each.reverse for each in seen)


@needs_marks
@pytest.mark.parametrize(
    ("category", "marks"),
    [
        (Category.ADDED, {Mark.ADDED}),
        (Category.MODIFIED, {Mark.MODIFIED, Mark.COPIED}),
        (Category.DELETED, {Mark.WHITEOUT, Mark.HIDDEN}),
        (Category.UNMODIFIED, {Mark.SAME}),
    ],
)
def test_a_category_can_be_left_out(session: Session, category: Category, marks: set[Mark]):
    source = source_of(session, "editor")
    everything = {row.mark for row in source.read("data")}
    source.arrange_all(Arrangement().toggled(category))
    shown = {item.value.mark for item in source.children("data") or ()}
    assert shown == everything - marks
    source.arrange_all(source.arrangement.toggled(category))
    assert {item.value.mark for item in source.children("data") or ()} == everything
