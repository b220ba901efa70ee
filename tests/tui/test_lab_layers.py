"""Making containers and committing them on the screen, and the roots where nothing can be changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISCHR
from typing import Any

import pytest
from lab_roots import SIZE, accept, app_on, ask, choose, fill, line, make_lab, marks, messages, refused, stand_on, until
from lab_roots import upper_of as upper_directory_of
from one_screen import lines, press, settled, shown
from textual.pilot import Pilot
from textual.widgets import TextArea

from layerscope import open_root
from layerscope.services.lab import changes as lab_changes
from layerscope.services.lab.lab import new_lab, open_lab
from layerscope.tui.glyphs import Mark
from layerscope.tui.screens.dialogs.commit import CommitDialog
from layerscope.tui.screens.dialogs.dialog import Dialog
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.widgets.details.change_list import ChangeList
from layerscope.tui.widgets.entities.list import EntityList
from layerscope.tui.widgets.frame.header import HeaderBar
from layerscope.tui.widgets.frame.key_bar import KeyBar
from layerscope.tui.widgets.stack.layer_sums import LayerSums
from layerscope.tui.widgets.stack.preview import StackPreview

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
KEYS = ["w", "c", "a", "e", "x", "R", "o", "p"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lab with the container ``web``, which has added, changed and removed a file."""
    path = make_lab(tmp_path / "lab")
    with open_lab(path) as lab, lab.overlay("web") as overlay:
        overlay.write_bytes("/srv/page", b"x" * 3000)
        overlay.write_bytes("/etc/motd", b"hello\n")
        overlay.unlink("/etc/passwd")
    return path


def said(root: Path, *words: str) -> list[str]:
    """What the command line tells of the root, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "layerscope", *words, "--root", str(root)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    """All paths of a root with mode, size and time of change."""
    return {path: (s.st_mode, s.st_size, s.st_mtime_ns) for path, s in marks(root).items()}


def names(pilot: Pilot[Any]) -> list[str]:
    """What pane 1 lists."""
    return [row.name for row in pilot.app.screen.query_one(EntityList).rows if row.subject is not None]


async def ask_commit(pilot: Pilot[Any]) -> CommitDialog:
    """Open the commit's dialog and wait until it knows the layer."""
    dialog = await ask(pilot, "c")
    assert isinstance(dialog, CommitDialog)
    await until(pilot, lambda: dialog.made is not None, "the layer")
    await pilot.pause()
    return dialog


# ---------------------------------------------------------------------- containers
async def test_a_container_of_an_image(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "base:1.0")
        dialog = await ask(pilot, "w")
        assert dialog.query_one("#frame").border_title == "New container of base:1.0"
        await fill(pilot, name="api")
        await accept(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ExploreScreen) and screen.stack is not None
        assert sorted(names(pilot)) == ["api", "base:1.0", "web"]
        assert screen.stack.subject.name == "api"
        assert [block.badge for block in screen.query_one("#stack").blocks] == ["rw", "init", "base"]
    with open_root(root) as session:
        assert session.find("container:api").container.image == "base:1.0"
    assert marks(upper_directory_of(root, "api")) == {}


@pytest.mark.parametrize(
    ("name", "error"),
    [("web", "has this name"), ("a b", "is no container name: expected [a-zA-Z0-9][a-zA-Z0-9_.-]+")],
)
async def test_a_name_that_a_container_cannot_have(root: Path, name: str, error: str):
    before = everything(root)
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "base:1.0")
        await ask(pilot, "w")
        await fill(pilot, name=name)
        assert error in await refused(pilot)
        await accept(pilot, "escape")
        assert isinstance(pilot.app.screen, ExploreScreen)
    assert everything(root).keys() == before.keys()


async def test_w_on_a_container_goes_to_its_writable_layer(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        await press(pilot, "left_square_bracket", "w")
        screen = pilot.app.screen
        assert screen.query_one("#stack").number == 3
        assert pilot.app.focused is screen.query_one("#files")


# ---------------------------------------------------------------------- the commit's dialog
async def test_the_dialog_shows_the_layer_to_be_made(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        listed = dialog.query_one(ChangeList).rows
        assert [f"{row.kind.value} /{row.path}" for row in listed] == said(root, "diff", "web")
        assert {row.level for row in listed} == {2} and {row.level_below for row in listed} <= {None, 1}
        blocks = dialog.query_one(StackPreview).blocks
        assert [(block.number, block.badge) for block in blocks] == [(2, "new"), (1, "base")]
        assert blocks[0].marks == [(Mark.ADDED, 1), (Mark.MODIFIED, 1), (Mark.WHITEOUT, 1)]
        assert blocks[0].size == 3000 + 6
        told = shown(dialog.query_one(LayerSums))
        assert "5 changes   A 1  C 3  D 1" in told
        assert "layer 3.0 kB" in told
        await fill(pilot, message="a page")
        assert dialog.query_one(StackPreview).blocks[0].title == "a page"
        await accept(pilot, "escape")


async def test_the_dialog_counts_what_the_layer_will_hold(tmp_path: Path):
    """Not the lines of docker's diff, which lists each entry that one mark of the layer hides."""
    root = make_lab(tmp_path / "lab")
    with open_lab(root) as lab, lab.overlay("web") as overlay:
        for name in overlay.listdir("/etc/app"):
            overlay.unlink(f"/etc/app/{name}")
        overlay.rmdir("/etc/app")
        overlay.mkdir("/etc/app")  # opaque: hides what the image has there
        overlay.write_bytes("/etc/app/new", b"new")
        for name in overlay.listdir("/usr/share/doc"):
            overlay.unlink(f"/usr/share/doc/{name}")
        overlay.rmdir("/usr/share/doc")
        overlay.write_bytes("/etc/hostname", b"web")  # an empty one is in the init layer
    upper = marks(upper_directory_of(root, "web"))
    whiteouts = [path for path, stat in upper.items() if S_ISCHR(stat.st_mode)]
    assert whiteouts == ["usr/share/doc"]
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        promised = dialog.query_one(StackPreview).blocks[0].marks
        told = shown(dialog.query_one(LayerSums))
        assert dict(promised)[Mark.WHITEOUT] == len(whiteouts)
        assert "✗1" in told and "as docker diff lists them" in told
        assert told.splitlines()[0].split()[0] == str(len(said(root, "diff", "web")))
        await fill(pilot, name="web:2")
        await accept(pilot)
        await choose(pilot, "web:2")
        await settled(pilot)
        assert pilot.app.screen.query_one("#stack").blocks[0].marks == promised


async def test_a_commit_makes_what_was_shown(root: Path, tmp_path: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        promised = dialog.made
        assert promised is not None
        await fill(pilot, name="shop/web:1.1", author="Ada", message="a page")
        dialog.query_one(TextArea).text = 'ENV A=1\nCMD ["serve"]'
        await pilot.pause()
        await accept(pilot)
        assert "shop/web:1.1" in names(pilot)
        assert pilot.app.screen.stack.subject.name == "web"
    archive = tmp_path / "saved.tar"
    said(root, "save", "shop/web:1.1", "-o", str(archive))
    with tarfile.open(archive) as tar:
        (entry,) = json.load(tar.extractfile("manifest.json"))
        layer = tar.extractfile(entry["Layers"][-1]).read()
        config = json.load(tar.extractfile(entry["Config"]))
    assert promised.diff_id == f"sha256:{hashlib.sha256(layer).hexdigest()}" == config["rootfs"]["diff_ids"][-1]
    assert promised.tar_bytes == len(layer)
    records = root / "image/overlay2/layerdb/sha256"
    sizes = {(folder / "diff").read_text(): int((folder / "size").read_text()) for folder in records.iterdir()}
    assert sizes[promised.diff_id] == promised.size
    assert (config["author"], config["history"][-1]["comment"]) == ("Ada", "a page")
    assert "A=1" in config["config"]["Env"] and config["config"]["Cmd"] == ["serve"]
    assert said(root, "cat", "shop/web:1.1:/etc/motd") == ["hello"]
    assert "D /etc/passwd" in said(root, "diff", "base:1.0", "shop/web:1.1")


async def test_ctrl_s_commits_from_the_lines_too(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        dialog.query_one(TextArea).focus()
        await pilot.press(*"USER ada", "enter", *"VOLUME /srv")
        await accept(pilot, "ctrl+s")
        (made,) = [name for name in names(pilot) if name not in ("web", "base:1.0")]
    with open_root(root) as session:
        config = session.find(made).image.config["config"]
    assert (config["User"], list(config["Volumes"])) == ("ada", ["/srv"])


@pytest.mark.parametrize(
    ("name", "lines_of_config", "error"),
    [
        ("Shop/Web", "", "repository names are lowercase"),
        ("a:b:c", "", "is no valid image name"),
        ("web@sha256:" + "0" * 64, "", "a name with a digest can't be given"),
        ("web", "RUN make", "'RUN' is not a valid change command"),
        ("web", "EXPOSE x", "'x'"),
    ],
)
async def test_what_is_wrong_is_told_as_it_is_typed(root: Path, name: str, lines_of_config: str, error: str):
    before = everything(root)
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        await fill(pilot, name=name)
        dialog.query_one(TextArea).text = lines_of_config
        await until(pilot, lambda: dialog.query_one("#said").has_class("-wrong"), "a word about it")
        assert error in line(dialog)
        assert dialog.query_one("#accept").disabled
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert pilot.app.screen is dialog and not dialog.worked
        await accept(pilot, "escape")
    assert everything(root) == before


async def test_a_name_that_moves_is_told_before(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        await fill(pilot, name="base:1.0")
        await until(pilot, lambda: "base:1.0 moves here from the image" in line(dialog), "a word about it")
        await fill(pilot, name="web")
        await until(pilot, lambda: line(dialog) == "it will be called web:latest", "a word about it")
        await accept(pilot, "escape")


async def test_nothing_changed_makes_no_layer(tmp_path: Path):
    root = make_lab(tmp_path / "lab")
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        assert "nothing has changed: no new layer, only the config" in shown(dialog.query_one(LayerSums))
        assert [block.badge for block in dialog.query_one(StackPreview).blocks] == ["base"]
        await fill(pilot, name="same:1")
        await accept(pilot)
        assert "nothing had changed, so it has no new layer" in messages(pilot)[-1]
    with open_root(root) as session:
        assert session.find("same:1").image.chain_ids == session.find("base:1.0").image.chain_ids


# ---------------------------------------------------------------------- trouble
async def test_a_root_that_another_process_writes_to(root: Path):
    script = "import sys, pathlib; from layerscope.services.lab.lab import open_lab\n"
    script += "with open_lab(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert other.stdout is not None and other.stdout.readline()
            await fill(pilot, name="late:1")
            error = await refused(pilot)
            assert f"process {other.pid}" in error and "is writing to it" in error
        finally:
            other.communicate(b"", timeout=20)
        # It goes on with what was typed.
        await accept(pilot, "ctrl+s")
        assert "late:1" in names(pilot)
        assert not dialog.is_attached


@as_root
async def test_a_full_disk_is_a_line_and_nothing_is_left(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(disk)], check=True)
    try:
        root = make_lab(disk / "lab")
        with open_lab(root) as lab, lab.overlay("web") as overlay:
            overlay.write_bytes("/srv/page", os.urandom(1_800_000))
        (tmp_path / "large").write_bytes(os.urandom(2_000_000))
        before = everything(root)
        async with app_on(root).run_test(size=SIZE) as pilot:
            await settled(pilot)
            await choose(pilot, "web")
            await ask_commit(pilot)
            assert "are free on the disk" in await refused(pilot)
            await accept(pilot, "escape")
            assert {path: all_of for path, all_of in everything(root).items() if path not in before} == {}
            await stand_on(pilot, "srv/page")
            await ask(pilot, "p")
            await fill(pilot, source=str(tmp_path / "large"))
            error = await refused(pilot)
            assert "No space left on device" in error or "the disk is full (ENOSPC)" in error
            await accept(pilot, "escape")
            await ask(pilot, "x")
            await accept(pilot)
        with open_root(root) as session:
            assert [usage.image.repo_tags for usage in session.images()] == [("base:1.0",)]
            assert session.problems() == ()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def test_escape_stops_what_is_being_done(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The commit is held up until Escape is pressed; then it takes everything back."""
    before = everything(root)
    real = lab_changes.changing_lab
    ticked: list[bool] = []

    @contextmanager
    def slow(path: Path) -> Iterator[Any]:
        with real(path) as lab:
            commit = lab.commit

            def held_up(*words: Any, tick: Callable[[], None], **options: Any) -> Any:
                def until_stopped() -> None:
                    ticked.append(True)
                    while True:
                        tick()

                return commit(*words, tick=until_stopped, **options)

            lab.commit = held_up
            yield lab

    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        dialog = await ask_commit(pilot)
        monkeypatch.setattr("layerscope.services.lab.preview.changing_lab", slow)
        await fill(pilot, name="never:1")
        await pilot.press("enter")
        await until(pilot, lambda: bool(ticked), "the commit")
        assert pilot.app.screen is dialog and dialog.has_class("-busy")
        await accept(pilot, "escape")
        assert "never:1" not in names(pilot)
    assert everything(root).keys() == before.keys()
    assert said(root, "lab", "sweep") == []


# ---------------------------------------------------------------------- off
@pytest.mark.parametrize("key", KEYS)
async def test_keys_that_write_are_off_where_there_is_no_lab(overlay2_root: Path, key: str):
    async with app_on(overlay2_root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3", key)
        assert messages(pilot) == ["off: it is no lab root, so it is only read (layerscope lab new makes one)"]
        assert not isinstance(pilot.app.screen, Dialog)
        assert "read-only" in lines(pilot.app.screen.query_one(HeaderBar))[0]


@pytest.mark.parametrize("key", KEYS)
async def test_keys_that_write_are_off_when_nothing_is_to_be_changed(root: Path, key: str):
    before = everything(root)
    async with app_on(root, read_only=True).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await press(pilot, "3", key)
        assert messages(pilot) == ["off: this root is opened read-only"]
        assert "read-only" in lines(pilot.app.screen.query_one(HeaderBar))[0]
        assert "Commit" not in lines(pilot.app.screen.query_one(KeyBar))[0]
    assert everything(root) == before


@pytest.mark.parametrize("key", [key for key in KEYS if key != "w"])
async def test_images_never_change(root: Path, key: str):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "base:1.0")
        await press(pilot, "3", key)
        assert messages(pilot) == ["off: base:1.0 is an image, and those never change; w makes a container of it"]


@pytest.mark.parametrize("key", ["a", "e", "x", "R", "o", "p"])
async def test_lower_cuts_never_change(root: Path, key: str):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        await choose(pilot, "web")
        await press(pilot, "left_square_bracket", "3", key)
        assert messages(pilot) == ["off: this is layer 2, changes go to layer 3 on top: press ]"]


async def test_a_lab_says_so(root: Path):
    async with app_on(root).run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert "lab, writable" in lines(pilot.app.screen.query_one(HeaderBar))[0]


async def test_an_empty_lab(tmp_path: Path):
    new_lab(tmp_path / "lab", empty=True)
    async with app_on(tmp_path / "lab").run_test(size=SIZE) as pilot:
        await settled(pilot)
        told = " ".join(shown(pilot.app.screen.query_one("#entities")).split())
        assert "layerscope load, import and build make images" in " ".join(told.replace("│", " ").split())
        for key in KEYS:
            await press(pilot, key)
        assert isinstance(pilot.app.screen, ExploreScreen)
