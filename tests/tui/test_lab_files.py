"""Changing files of a container on the screen: what each key leaves on the disk, and what is shown of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab_roots import (
    SIZE,
    accept,
    app_on,
    ask,
    fill,
    line,
    make_lab,
    marks,
    messages,
    refused,
    stand_on,
    until,
    upper_of,
)
from one_screen import lines, settled, shown
from textual.pilot import Pilot
from textual.widgets import Checkbox

from layerscope.services.lab.lab import open_lab
from layerscope.tui.app import LayerscopeApp
from layerscope.tui.glyphs import Mark
from layerscope.tui.widgets.details.pane import Details
from layerscope.tui.widgets.files.merged_tree import MergedTree
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.stack.blocks import LayerStack

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root owners and whiteouts lie there in another form")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_lab(tmp_path / "lab")


@pytest.fixture
def upper(root: Path) -> Path:
    return upper_of(root, "web")


def row(pilot: Pilot[Any], path: str) -> Any:
    """The tree's row of a path, None if it has none."""
    return pilot.app.screen.query_one(MergedTree).model.row_at(path)


def current(pilot: Pilot[Any]) -> str:
    """The path under the cursor."""
    found = pilot.app.screen.query_one(MergedTree).current
    assert found is not None
    return str(found.path)


def said(root: Path, *words: str) -> list[str]:
    """What the command line tells of the root, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "layerscope", *words, "--root", str(root)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


# ---------------------------------------------------------------------- new
async def test_a_new_file_appears_on_the_disk_and_under_the_cursor(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        stack = pilot.app.screen.query_one(LayerStack)
        assert stack.blocks[0].marks == []
        dialog = await ask(pilot, "a")
        await fill(pilot, name="notes.txt")
        assert line(dialog) == "a new, empty file: /etc/notes.txt"
        await accept(pilot)
        assert current(pilot) == "etc/notes.txt"
        assert row(pilot, "etc/notes.txt").value.mark is Mark.ADDED
        assert row(pilot, "etc").value.mark is Mark.WITHIN
        assert stack.blocks[0].marks == [(Mark.ADDED, 1)]
        assert messages(pilot) == ["made /etc/notes.txt"]
    found = marks(upper)
    assert sorted(found) == ["etc", "etc/notes.txt"]
    assert stat.filemode(found["etc/notes.txt"].st_mode) == "-rw-r--r--"
    assert found["etc/notes.txt"].st_size == 0
    assert said(root, "diff", "web") == ["C /etc", "A /etc/notes.txt"]


async def test_a_slash_makes_a_directory_and_one_in_front_begins_at_the_top(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc")
        dialog = await ask(pilot, "a")
        await fill(pilot, name="/srv/new/")
        assert line(dialog) == "a new, empty directory: /srv/new"
        await accept(pilot)
        assert current(pilot) == "srv/new"
    assert stat.filemode(marks(upper)["srv/new"].st_mode) == "drwxr-xr-x"
    assert said(root, "diff", "web") == ["C /srv", "A /srv/new"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("motd", "cannot make /etc/motd: something of that name is there already (EEXIST)"),
        ("no/where", "cannot make /etc/no/where: there is no such file or directory (ENOENT)"),
        ("motd/x", "cannot make /etc/motd/x: a part of that path is no directory (ENOTDIR)"),
        ("n" * 256, "that name is too long (ENAMETOOLONG)"),
    ],
)
async def test_an_error_of_the_engine_is_a_line_in_the_dialog(root: Path, upper: Path, name: str, error: str):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await ask(pilot, "a")
        await fill(pilot, name=name)
        assert error in await refused(pilot)
        # The dialog can be used again.
        await fill(pilot, name="fresh")
        await accept(pilot)
        assert current(pilot) == "etc/fresh"
    assert sorted(marks(upper)) == ["etc", "etc/fresh"]


async def test_a_name_that_leads_upwards_is_told_as_it_is_typed(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        dialog = await ask(pilot, "a")
        await fill(pilot, name="../../x")
        assert "a name can't lead upwards" in line(dialog)
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.screen is dialog
        await pilot.press("escape")
        await settled(pilot)
    assert marks(upper) == {}


async def test_escape_leaves_everything_as_it_was(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        for key in ("a", "x", "R", "o", "p"):
            await ask(pilot, key)
            await accept(pilot, "escape")
            assert current(pilot) == "etc/motd"
        assert messages(pilot) == []
    assert marks(upper) == {}


# ---------------------------------------------------------------------- delete
@as_root
async def test_deleting_a_file_of_a_lower_layer_leaves_a_whiteout(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        dialog = await ask(pilot, "x")
        assert "a whiteout hides it, its bytes stay stored below" in " ".join(lines(dialog.query_one(".words")))
        await accept(pilot)
        assert row(pilot, "etc/motd").value.mark is Mark.WHITEOUT
        assert current(pilot) == "etc/motd"
        details = pilot.app.screen.query_one(Details)
        assert details.life is not None and details.looked is not None and details.looked.path == "etc/motd"
        for key in ("e", "x", "R", "o"):
            await pilot.press(key)
            await settled(pilot)
            assert messages(pilot)[-1] == "off: /etc/motd is not there any more, only its bytes below are"
    status = marks(upper)["etc/motd"]
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    assert said(root, "diff", "web") == ["C /etc", "D /etc/motd"]


async def test_a_directory_is_deleted_with_what_is_in_it_only_when_that_is_ticked(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/app")
        dialog = await ask(pilot, "x")
        assert await refused(pilot) == "▲ cannot delete /etc/app: that directory isn't empty (ENOTEMPTY)"
        box = dialog.query_one(Checkbox)
        assert shown(box).split() == ["□", "and", "all", "that", "is", "in", "it"]
        await pilot.press("space")
        assert shown(box).startswith("■")
        await accept(pilot)
    assert said(root, "diff", "web") == ["C /etc", "D /etc/app"]
    assert not [entry for entry in said(root, "ls", "-R", "web:/etc") if "app" in entry]


async def test_deleting_what_only_the_writable_layer_has_leaves_nothing(root: Path, upper: Path):
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        overlay.write_bytes("/srv/own", b"x" * 5000)
        overlay.write_bytes("/srv/pen", b"")
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "srv/own")
        stack = pilot.app.screen.query_one(LayerStack)
        assert stack.blocks[0].size == 5000
        dialog = await ask(pilot, "x")
        assert "it is gone for good" in " ".join(lines(dialog.query_one(".words")))
        await accept(pilot)
        assert row(pilot, "srv/own") is None
        assert current(pilot) == "srv/pen"  # not somewhere far off
        assert stack.blocks[0].size == 0
    assert sorted(marks(upper)) == ["srv", "srv/pen"]


async def test_the_end_of_a_long_name_is_told_before_it_is_deleted(root: Path):
    name = "n" * 120 + "-end"
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        overlay.write_bytes(f"/srv/{name}", b"")
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, f"srv/{name}")
        dialog = await ask(pilot, "x")
        words = "".join("".join(lines(dialog.query_one(".words"))).split())
        assert words.startswith(f"/srv/{name}Onlythewritablelayer")
        await accept(pilot, "escape")


# ---------------------------------------------------------------------- rename
async def test_a_file_gets_another_name_and_the_cursor_follows(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        dialog = await ask(pilot, "R")
        await fill(pilot, name="greeting")
        assert line(dialog) == "it will be /etc/greeting"
        await accept(pilot)
        assert current(pilot) == "etc/greeting"
        assert messages(pilot) == ["renamed: /etc/motd is now /etc/greeting"]
    assert said(root, "diff", "web") == ["C /etc", "A /etc/greeting", "D /etc/motd"]
    assert said(root, "cat", "web:/etc/greeting") == said(root, "cat", "base:1.0:/etc/motd") != []
    assert (upper / "etc/greeting").stat().st_size == 41


async def test_a_name_that_nobody_can_type_reaches_no_line_to_type_in(root: Path, upper: Path, tmp_path: Path):
    (tmp_path / "page").write_text("hello")
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        overlay.mkdir("/srv/\x1b]0;mine\x07")
        overlay.write_bytes("/srv/\x1b]0;mine\x07/\udcff\udc9b31m", b"x")
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "srv/\x1b]0;mine\x07/\udcff\udc9b31m")
        for key in "aRxop":
            drawn = shown(await ask(pilot, key))
            assert drawn.replace("\n", "").isprintable(), key
            if key != "p":
                await accept(pilot, "escape")
        await fill(pilot, source=str(tmp_path / "page"))
        assert line(pilot.app.screen).endswith(" into /srv/\\x1b]0;mine\\x07")
        await accept(pilot)
        await ask(pilot, "R")
        await fill(pilot, name="typed")
        await accept(pilot)
    assert sorted(os.listdir(upper / "srv/\x1b]0;mine\x07")) == ["typed", "\udcff\udc9b31m"]


async def test_a_name_that_is_taken_is_not_replaced(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await ask(pilot, "R")
        await fill(pilot, name="passwd")
        error = await refused(pilot)
        assert error == "▲ cannot rename /etc/motd to /etc/passwd: something of that name is there already (EEXIST)"
        await accept(pilot, "escape")
    assert said(root, "diff", "web") == []


async def test_a_directory_of_a_lower_layer_is_copied_and_deleted(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/app")
        dialog = await ask(pilot, "R")
        await fill(pilot, name="/srv/app")
        assert "copied whole, the old name whited out" in line(dialog)
        await accept(pilot)
        assert current(pilot) == "srv/app"
        assert messages(pilot) == ["copied and deleted (EXDEV): /etc/app is now /srv/app"]
    assert said(root, "cat", "web:/srv/app/app.conf") == said(root, "cat", "base:1.0:/etc/app/app.conf") != []
    assert "D /etc/app" in said(root, "diff", "web")


async def test_a_directory_does_not_go_into_itself(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/app")
        await ask(pilot, "R")
        await fill(pilot, name="app/inner")
        assert "a directory can't go into itself (EINVAL)" in await refused(pilot)
        await accept(pilot, "escape")
    assert said(root, "diff", "web") == []


# ---------------------------------------------------------------------- mode and owner
@as_root
async def test_mode_and_owner(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        dialog = await ask(pilot, "o")
        assert line(dialog) == "-rw-r--r--  0:0  as it is"
        await fill(pilot, mode="u+x,o-r", owner="ada:12")
        assert line(dialog) == "-rwxr-----  ada:12"
        await accept(pilot)
        assert row(pilot, "etc/motd").value.mark is Mark.COPIED
        assert current(pilot) == "etc/motd"
    status = marks(upper)["etc/motd"]
    assert (stat.filemode(status.st_mode), status.st_uid, status.st_gid) == ("-rwxr-----", 1000, 12)
    assert said(root, "diff", "web") == ["C /etc", "C /etc/motd"]


async def test_what_would_not_change_is_not_copied_up(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await ask(pilot, "o")
        await fill(pilot, mode="a+r")
        await accept(pilot)
    assert marks(upper) == {}


async def test_a_mode_that_is_none_and_an_owner_that_nobody_knows(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        dialog = await ask(pilot, "o")
        await fill(pilot, mode="rwx")
        assert "is no mode such as 644" in line(dialog)
        assert dialog.query_one("#mode Input").has_class("-invalid")
        await fill(pilot, mode="644", owner="nobody-here")
        assert "the container knows no user 'nobody-here'" in await refused(pilot)
        await accept(pilot, "escape")
    assert marks(upper) == {}


# ---------------------------------------------------------------------- copy in
async def test_a_directory_of_this_machine_is_copied_in(root: Path, tmp_path: Path):
    (tmp_path / "site/css").mkdir(parents=True)
    (tmp_path / "site/index.html").write_text("hello")
    (tmp_path / "site/css/a.css").write_text("body {}")
    os.chmod(tmp_path / "site/index.html", 0o640)
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "srv")
        dialog = await ask(pilot, "p")
        await fill(pilot, source=f"{tmp_path}/site")
        assert line(dialog).endswith("into /srv")
        await accept(pilot)
        assert current(pilot) == "srv/site"
    assert said(root, "cat", "web:/srv/site/index.html") == ["hello"]
    assert said(root, "cat", "web:/srv/site/css/a.css") == ["body {}"]
    (entry,) = [entry for entry in said(root, "ls", "-l", "web:/srv/site") if "index.html" in entry]
    assert "-rw-r-----" in entry


async def test_the_host_path_is_completed(root: Path, tmp_path: Path):
    (tmp_path / "a long name").mkdir()
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "srv")
        dialog = await ask(pilot, "p")
        await fill(pilot, source=f"{tmp_path}/a lo")
        source = dialog.query_one("#source Input")
        source.cursor_position = len(source.value)
        await until(pilot, lambda: bool(source._suggestion), "a suggestion")
        await pilot.press("right")
        assert source.value == f"{tmp_path}/a long name/"
        await accept(pilot, "escape")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/etc/motd/", "is no directory"),
        ("/no/such/place", "there is no such file or directory (ENOENT)"),
    ],
)
async def test_copying_in_where_it_cannot_go(root: Path, upper: Path, tmp_path: Path, target: str, error: str):
    (tmp_path / "tree").mkdir()
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "srv")
        await ask(pilot, "p")
        await fill(pilot, source=f"{tmp_path}/nothing")
        assert "there is no such file or directory on this machine" in await refused(pilot)
        await fill(pilot, source=f"{tmp_path}/tree", target=target)
        assert (await refused(pilot)).endswith(error) or error in line(pilot.app.screen)
        await accept(pilot, "escape")
    assert marks(upper) == {}


# ---------------------------------------------------------------------- edit
@contextmanager
def no_terminal(self: LayerscopeApp) -> Iterator[None]:
    """A test has no terminal to lend."""
    yield


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that stands for the editor; it notes which file it was given, with its mode."""
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\nstat -c "%a %U %n" "$1" "${{1%/*}}" > {tmp_path}/seen\n. {tmp_path}/does\n')
    script.chmod(0o755)
    (tmp_path / "does").write_text('echo more >> "$1"\n')
    monkeypatch.delenv("VISUAL", raising=False)
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.setattr(LayerscopeApp, "suspend", no_terminal)
    return tmp_path


async def test_an_edited_file_is_written_back(root: Path, upper: Path, editor: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await pilot.press("e")
        await settled(pilot)
        assert messages(pilot) == ["wrote /etc/motd"]
        assert row(pilot, "etc/motd").value.mark is Mark.MODIFIED
        details = pilot.app.screen.query_one(Details)
        assert details.life is not None
        assert [copy.level.number for copy in details.life.copies] == [3, 1]
        assert pilot.app.screen.query_one(LayerStack).blocks[0].size == 46
    assert (upper / "etc/motd").read_text() == "\n".join(said(root, "cat", "base:1.0:/etc/motd")) + "\nmore\n"
    file, folder = (seen.split(" ", 2) for seen in (editor / "seen").read_text().splitlines())
    assert (file[0], folder[0]) == ("600", "700")
    assert file[2].endswith("/motd")
    assert not Path(file[2]).exists() and not Path(folder[2]).exists()


async def test_a_file_that_was_not_changed_is_not_copied_up(root: Path, upper: Path, editor: Path):
    (editor / "does").write_text('touch "$1"\n')
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await pilot.press("e")
        await settled(pilot)
        assert messages(pilot) == ["/etc/motd is as it was"]
    assert marks(upper) == {}
    assert os.listdir(editor / "private") == []


async def test_an_editor_that_fails_writes_nothing(root: Path, upper: Path, editor: Path, monkeypatch: Any):
    (editor / "does").write_text('echo lost > "$1"\nexit 3\n')
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await pilot.press("e")
        await settled(pilot)
        assert messages(pilot)[-1].endswith("ended with 3: nothing was written")
        monkeypatch.setenv("EDITOR", "/no/such/editor")
        await pilot.press("e")
        await settled(pilot)
        assert messages(pilot)[-1] == "cannot start '/no/such/editor': No such file or directory; set EDITOR"
    assert marks(upper) == {}
    assert os.listdir(editor / "private") == []


async def test_what_changed_meanwhile_is_not_overwritten(root: Path, upper: Path, editor: Path):
    (upper / "etc").mkdir()
    (upper / "etc/note").write_text("before\n")
    (editor / "does").write_text(f'echo mine > "$1"\necho theirs > {upper}/etc/note\n')
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/note")
        await pilot.press("e")
        await settled(pilot)
        (told,) = messages(pilot)
        assert told.startswith("cannot write /etc/note: it has changed meanwhile; your text is kept in /")
        kept = Path(told.rpartition(" ")[2])
        assert kept.read_text() == "mine\n"
        kept.unlink()
        kept.parent.rmdir()
    assert (upper / "etc/note").read_text() == "theirs\n"


async def test_what_has_no_text_is_not_edited(root: Path, editor: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        for path, why in (("etc", "is a directory"), ("etc/mtab", "is a symlink: edit what it leads to, /proc/mounts")):
            await stand_on(pilot, path)
            await pilot.press("e")
            await settled(pilot)
            assert why in messages(pilot)[-1]
    assert not (editor / "seen").exists()


async def test_a_terminal_that_cannot_be_lent(root: Path, upper: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EDITOR", "true")
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await pilot.press("e")
        await settled(pilot)
        assert messages(pilot) == ["this terminal can't be lent to an editor"]
    assert marks(upper) == {}


# ---------------------------------------------------------------------- keys
async def test_the_footer_offers_what_the_part_with_the_focus_can_do(root: Path):
    async with app_on(root).run_test(size=(140, 50)) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        bar = pilot.app.screen.query_one(KeyBar)
        for word in ("c Commit", "a New", "e Edit", "x Delete", "R Rename", "o Mode", "p Copy in"):
            assert word in lines(bar)[0]
        await pilot.press("1")
        await settled(pilot)
        assert "a New" not in lines(bar)[0] and "c Commit" in lines(bar)[0]
        await pilot.press("end")
        await settled(pilot)
        assert "w New container" in lines(bar)[0] and "Commit" not in lines(bar)[0]


async def test_writing_is_in_the_palette(root: Path, upper: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await stand_on(pilot, "etc/motd")
        await pilot.press("ctrl+p", *"make a new file", "enter")
        await until(pilot, lambda: bool(pilot.app.screen.query("#name")), "a dialog")
        await fill(pilot, name="x")
        await accept(pilot)
    assert sorted(marks(upper)) == ["etc", "etc/x"]
