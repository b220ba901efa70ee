"""Where the demo's root is made: once, by one process of many, and never where it could do harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
from demo_facts import NOBODY, PROJECT, TRUTH, diff_lines, needs_mount, tree

from layerscope.demo.edition import edition
from layerscope.errors import RootError
from layerscope.lab.root.marker import MARKER
from layerscope.services import demo
from layerscope.services.demo import demo_root

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to somebody else needs root")
pytestmark = pytest.mark.usefixtures("cache_home")


# ------------------------------------------------------------------ once
def test_twice_gives_the_same_path_and_touches_nothing(cache_home: Path) -> None:
    first = demo_root()
    before = os.stat(first.parent).st_ctime_ns, os.stat(first / MARKER).st_ino
    (first / "overlay2" / "changed-by-hand").mkdir()
    assert demo_root() == first
    assert (os.stat(first.parent).st_ctime_ns, os.stat(first / MARKER).st_ino) == before
    assert (first / "overlay2" / "changed-by-hand").is_dir()
    assert first.parent.parent == cache_home / "layerscope"
    assert sorted(os.listdir(cache_home / "layerscope")) == [f".{first.parent.name}.lock", first.parent.name]


def test_another_story_is_another_root(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo_root()
    monkeypatch.setattr(demo, "edition", lambda: "0123456789abcdef" * 4)
    assert demo_root() == cache_home / "layerscope" / "demo-0123456789ab" / "root"
    assert first.is_dir()


# ------------------------------------------------------------------ at once, killed, refused
def test_processes_at_once_share_one_root(cache_home: Path) -> None:
    code = (
        "import os, sys, time; from layerscope.services.demo import demo_root; open(sys.argv[1], 'x').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.001)\n"
        "print(demo_root())"
    )
    start = cache_home.parent / "start"
    ready = [cache_home.parent / f"ready-{number}" for number in range(3)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(flag), str(start)], stdout=subprocess.PIPE, env=environment)
        for flag in ready
    ]
    while not all(flag.exists() for flag in ready):
        assert all(process.poll() is None for process in processes)
    start.touch()
    answers = {process.communicate(timeout=60)[0].decode().strip() for process in processes}
    root = demo_root()
    assert answers == {str(root)}
    assert sorted(os.listdir(cache_home / "layerscope")) == [f".{root.parent.name}.lock", root.parent.name]


def test_half_made_one_is_swept_and_not_taken(cache_home: Path) -> None:
    name = f"demo-{edition()[:12]}"
    killed = cache_home / "layerscope" / f".{name}-abc123" / "root" / "overlay2"
    killed.mkdir(parents=True)
    damaged = cache_home / "layerscope" / name / "root"
    damaged.mkdir(parents=True)
    (damaged / MARKER).write_text('{"version": 1, "xattr_prefix": "user"}')  # and no records beside it
    root = demo_root()
    assert root == damaged
    assert len(tree(root)) > 900
    assert not killed.exists()


def test_killed_while_it_is_made(cache_home: Path) -> None:
    """At any moment: what is left is swept by the next one, which is whole."""
    paths = os.pathsep.join([str(PROJECT), *sys.path])
    command = [sys.executable, "-c", "from layerscope.services.demo import demo_root; demo_root()"]
    folder = cache_home / "layerscope"
    for wanted in ("overlay2/*", "containers/*"):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
        while not glob(f"{folder}/.demo-*/root/{wanted}"):
            assert process.poll() is None, "it was made before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list(folder.glob("demo-*")) and list(folder.glob(".demo-*"))
    root = demo_root()
    assert sorted(os.listdir(folder)) == [f".{root.parent.name}.lock", root.parent.name]
    assert diff_lines(root, "web-1") == TRUTH["diff"]["web-1"]


def fallback(tmp_path: Path) -> Path:
    return tmp_path / "temporary" / f"layerscope-{os.geteuid()}" / f"demo-{edition()[:12]}" / "root"


def test_cache_that_is_no_directory_is_passed_over(cache_home: Path, tmp_path: Path) -> None:
    cache_home.write_text("a file where the cache should be")
    assert demo_root() == fallback(tmp_path)
    assert demo_root() == fallback(tmp_path)


def test_folder_that_others_can_change_is_passed_over(cache_home: Path, tmp_path: Path) -> None:
    (cache_home / "layerscope").mkdir(parents=True)
    (cache_home / "layerscope").chmod(0o777)
    assert demo_root() == fallback(tmp_path)
    assert os.listdir(cache_home / "layerscope") == []


def test_folder_that_is_a_link_is_passed_over(cache_home: Path, tmp_path: Path) -> None:
    cache_home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (cache_home / "layerscope").symlink_to(tmp_path / "elsewhere")
    assert demo_root() == fallback(tmp_path)
    assert os.listdir(tmp_path / "elsewhere") == []


@needs_root
@pytest.mark.root
def test_root_of_somebody_else_is_not_trusted(cache_home: Path, tmp_path: Path) -> None:
    planted = demo_root()
    os.chown(planted.parent, NOBODY, NOBODY)
    assert demo_root() == fallback(tmp_path)
    os.chown(cache_home / "layerscope", NOBODY, NOBODY)
    assert demo_root() == fallback(tmp_path)


@needs_mount
@pytest.mark.root
@pytest.mark.parametrize(
    ("options", "reason"), [("size=2m", "No space left on device"), ("ro", "Read-only file system")]
)
def test_full_or_read_only_disk(cache_home: Path, tmp_path: Path, options: str, reason: str) -> None:
    cache_home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(cache_home)], check=True)
    try:
        assert demo_root() == fallback(tmp_path)
        left = os.listdir(cache_home / "layerscope") if (cache_home / "layerscope").exists() else []
        assert [name for name in left if not name.endswith(".lock")] == []
        (tmp_path / "temporary").rename(tmp_path / "moved")
        (tmp_path / "temporary").write_text("")
        with pytest.raises(RootError) as caught:
            demo_root()
        assert reason in str(caught.value) and "set XDG_CACHE_HOME" in str(caught.value)
    finally:
        subprocess.run(["umount", str(cache_home)], check=True)


def test_no_place_at_all_is_told_in_one_line(cache_home: Path, tmp_path: Path) -> None:
    cache_home.write_text("")
    (tmp_path / "temporary").rmdir()
    (tmp_path / "temporary").write_text("")
    with pytest.raises(RootError) as caught:
        demo_root()
    text = str(caught.value)
    assert text.startswith("cannot make the demo's root: ") and "\n" not in text
    assert str(cache_home) in text and "set XDG_CACHE_HOME" in text
