"""Corners that a user of the command line may count on: where the root comes from, slashes, missing files, ASCII."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerscope.services.lab.lab import new_lab

CLASSES = """image-layer unused-layer build-cache container-rw container-init container-record log volume content-blob
engine plugin swarm network record temporary foreign-mount orphan unreadable unknown"""


# ---------------------------------------------------------------------- where the root comes from
def test_a_path_to_open_goes_before_the_environment(as_program: Any, overlay2_root: Path, tmp_path: Path) -> None:
    said = as_program(str(overlay2_root), env={"LAYERSCOPE_ROOT": str(tmp_path)})
    assert (said.returncode, said.stdout) == (2, b"")
    assert b"needs a terminal" in said.stderr


def test_two_roots_on_one_command_line_are_refused(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    for words in (("--root", str(tmp_path), str(overlay2_root)), (str(overlay2_root), "--root", str(tmp_path))):
        said = ask(*words)
        assert said.code == 2
        assert "give the root once" in said.err


def test_an_overlay_without_options_is_wrong_usage(ask: Any) -> None:
    said = ask("info", "--root", "overlay:")
    assert (said.code, said.out) == (2, b"")
    assert "lowerdir=" in said.err


# ---------------------------------------------------------------------- paths in a view
PATHS = """file file/ file/. file/.. file/../file file/x dir dir/ dir/. dir/.. dir/inner dir/inner/ dir/../file
to-file to-file/ to-file/. to-dir to-dir/ to-dir/. to-dir/inner to-dir/inner/ loop loop/ dangling dangling/ nothing
nothing/ nothing/.. to-dir/../file .. ../file ./file //file dir//inner"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "file").write_text("file")
    (tree / "dir/inner").write_text("inner")
    for name, target in (("to-file", "file"), ("to-dir", "dir"), ("loop", "loop"), ("dangling", "nothing")):
        os.symlink(target, tree / name)
    return tree


@pytest.mark.parametrize("path", PATHS.split())
def test_a_path_leads_where_the_kernel_says(ask: Any, tree: Path, path: str) -> None:
    root = f"overlay:lowerdir={tree}"
    expected: bytes | None
    code = f"import os, sys; os.chroot({str(tree)!r}); os.chdir('/'); sys.stdout.write(open({'/' + path!r}).read())"
    if os.geteuid() == 0:
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        expected = None if seen.returncode else seen.stdout
    elif ".." in path.split("/"):
        pytest.skip("only root can make the tree a root of its own")
    else:
        try:
            expected = Path(f"{tree}//{path}").read_bytes() if not path.endswith(("/", "/.")) else None
        except OSError:
            expected = None
    said = ask("cat", f"overlay:/{path}", "--root", root)
    assert (said.code, said.out) == ((2, b"") if expected is None else (0, expected)), said.err


@pytest.mark.parametrize("path", ["to-dir", "to-dir/", "dir", "dir/", "dir/."])
def test_a_link_to_a_directory_is_listed(ask: Any, tree: Path, path: str) -> None:
    listed = ask("ls", f"overlay:/{path}", "--root", f"overlay:lowerdir={tree}", "--json").json
    assert [entry["path"] for entry in listed] == ["/dir/inner"]


# ---------------------------------------------------------------------- files of the user's own
@pytest.mark.parametrize(
    "words",
    [
        ("cp", "./absent", "box:/x"),
        ("load", "absent"),
        ("import", "absent", "name:1"),
        ("build", "-f", "absent", ".", "-t", "name:1"),
        ("build", "absent", "-t", "name:1"),
        ("layer", "pack", "absent"),
        ("layer", "unpack", "absent", "new"),
        ("diff-scan", "absent", "absent"),
    ],
    ids=" ".join,
)
def test_a_missing_file_of_the_user_is_wrong_usage(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    new_lab(tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    said = ask(*words, root=None if words[0] in ("layer", "diff-scan") else tmp_path / "lab")
    assert (said.code, said.out) == (2, b""), said.err
    assert said.err.count("\n") == 1
    assert "absent" in said.err


# ---------------------------------------------------------------------- answers
def test_the_ledger_tells_of_every_class(ask: Any, overlay2_root: Path) -> None:
    found = ask("df", "--json", root=overlay2_root).json
    disk = {one["class"]: one["disk"] for one in found["classes"]}
    assert set(CLASSES.split()) <= set(disk)
    assert len(disk) == len(found["classes"])
    assert disk["unknown"] == found["unaccounted_disk"] == 0
    assert [-one["disk"] for one in found["classes"]] == sorted(-one["disk"] for one in found["classes"])
    gauges = ask("df", "--prometheus", root=overlay2_root).lines
    assert any(line.endswith(',class="unknown"} 0') for line in gauges)


@pytest.mark.parametrize("words", ["ps", "images --tree", "history layerscope/app:1.0", "stack editor", "waste editor"])
def test_ascii_is_ascii(ask: Any, overlay2_root: Path, words: str) -> None:
    usual, plain = ask(*words.split(), root=overlay2_root), ask(*words.split(), "--ascii", root=overlay2_root)
    assert plain.code == usual.code == 0
    assert plain.out.isascii()
    assert list(map(len, plain.lines)) == list(map(len, usual.lines))


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_no_room_for_an_answer_is_4(word: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "layerscope", word], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 4
    assert done.stderr == b"layerscope: cannot write: No space left on device\n"


def test_one_byte_is_not_many(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    said = ask("explain", "overlay:/x", "--root", f"overlay:lowerdir={tmp_path}", "--json")
    assert "of 1 byte," in json.loads(said.out)["text"]


# ---------------------------------------------------------------------- files out of the root
def test_a_fifo_alone_is_refused_and_among_others_told(ask: Any, tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "dir/fifo")
    root = f"overlay:lowerdir={tree}"
    alone = ask("extract", "overlay:/dir/fifo", str(tmp_path / "alone"), "--root", root)
    assert (alone.code, alone.out) == (2, b"")
    assert "FIFO" in alone.err
    assert not os.path.lexists(tmp_path / "alone")
    among = ask("extract", "overlay:/dir", str(tmp_path / "among"), "--root", root)
    assert (among.code, among.out, os.listdir(tmp_path / "among")) == (0, b"", ["inner"])
    assert "dir/fifo" in among.err
    assert among.err.count("\n") == 1


def test_extract_has_no_standard_output(ask: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    said = ask("extract", "overlay:/file", "-", "--root", f"overlay:lowerdir={tree}")
    assert (said.code, said.out) == (2, b"")
    assert os.listdir(tree.parent) == ["tree"]
