"""The demo's ready root: whole, the same each time, and all that a package has to bring for it.

Expected values are what a real engine says of it, started on a copy that root made (`tests/data/demo/truth.json`,
written by `tests/demo_answers.py`), and the texts of the package.
"""

from __future__ import annotations

import os
import stat as modes
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from demo_facts import PROJECT, TRUTH, all_facts, by_path, diff_lines, exported, marked, prefix_of, tree, upper_of

from layerscope import open_root

TEXTS = PROJECT / "layerscope" / "demo" / "texts"
FIRST_DAY = datetime(2026, 2, 17, 8, 0, 0, tzinfo=UTC).timestamp()
POWER_LOST = datetime(2026, 3, 12, 10, 22, 41, tzinfo=UTC).timestamp()
pytestmark = pytest.mark.usefixtures("cache_home")


# ------------------------------------------------------------------ the texts
def test_package_holds_texts_and_nothing_else() -> None:
    files = [path for path in TEXTS.rglob("*") if path.is_file()]
    assert len(files) > 40 and sum(path.stat().st_size for path in files) < 50_000
    assert not [path for path in files if "\0" in path.read_text("utf-8")]
    assert {path.suffix for path in TEXTS.parent.iterdir() if path.is_file()} == {".py"}


def test_root_holds_words_and_no_program(ready: Path) -> None:
    looked_at = 0
    for path, status in tree(ready).items():
        if modes.S_ISREG(status.st_mode) and ("/diff/" in path or "/_data/" in path):
            text = (ready / path).read_bytes().decode("utf-8")
            assert "\0" not in text and (not text.startswith("#!") or text.startswith(("#!/bin/false\n", "#!/bin/sh")))
            looked_at += 1
    assert looked_at > 300


# ------------------------------------------------------------------ what a real engine says
def test_images_are_those_of_the_engine(ready: Path) -> None:
    with open_root(ready) as session:
        images = {u.image.id: u.image for u in session.images()}
    assert sorted(images) == [told["Id"] for told in TRUTH["images"]]
    for told in TRUTH["images"]:
        image = images[told["Id"]]
        found = (sorted(image.repo_tags), image.size, list(image.config["rootfs"]["diff_ids"]), image.config["config"])
        assert found == (told["RepoTags"], told["Size"], told["Layers"], told["Config"])


def test_several_images_share_layers() -> None:
    stacks = [told["Layers"] for told in TRUTH["images"]]
    assert len({stack[0] for stack in stacks}) == 1
    shared = {layer for stack in stacks for layer in stack if sum(layer in other for other in stacks) > 1}
    assert len(shared) == 4
    assert [told["RepoTags"] for told in TRUTH["images"]].count([]) == 1  # a dangling one


@pytest.mark.parametrize("image", sorted(TRUTH["history"]))
def test_history_is_that_of_the_engine(ready: Path, image: str) -> None:
    with open_root(ready) as session:
        rows = session.history(session.find(image))
    assert [(row.created_by, row.size, row.comment) for row in rows] == [
        (created_by, size, comment) for _created, created_by, size, comment, _tags in TRUTH["history"][image]
    ]


def test_containers_are_those_of_the_engine(ready: Path) -> None:
    with open_root(ready) as session:
        found = {u.container.name: u for u in session.containers()}
    assert sorted(found) == [told["Name"].removeprefix("/") for told in TRUTH["containers"]]
    for told in TRUTH["containers"]:
        usage = found[told["Name"].removeprefix("/")]
        record = usage.container.config
        assert (usage.container.id, usage.container.image_id) == (told["Id"], told["Image"])
        assert (usage.size_rw, usage.size_root_fs) == (told["SizeRw"], told["SizeRootFs"])
        assert (record["Created"], record["Path"], record["Args"]) == (told["Created"], told["Path"], told["Args"])
        assert (record["Config"]["Hostname"], record["Config"]["Labels"]) == (told["Hostname"], told["Labels"])
        assert (record["State"]["StartedAt"], record["State"]["ExitCode"]) == (
            told["State"]["StartedAt"],
            told["State"]["ExitCode"],
        )
        mounts = [(mount["Name"], mount["Destination"]) for mount in record["MountPoints"].values()]
        assert mounts == [(mount["Name"], mount["Destination"]) for mount in told["Mounts"]]


@pytest.mark.parametrize("container", sorted(TRUTH["diff"]))
def test_changes_are_those_of_docker_diff(ready: Path, container: str) -> None:
    assert diff_lines(ready, container) == TRUTH["diff"][container]


def test_merged_view_is_what_the_engine_exports(ready: Path) -> None:
    assert by_path(exported(ready, "web-1")) == by_path(TRUTH["export"]["web-1"])


def test_volume_has_its_record_and_its_files(ready: Path) -> None:
    with open_root(ready) as session:
        (volume,) = session.store.volumes()
    (told,) = TRUTH["volumes"]
    assert (volume.name, volume.driver, dict(volume.labels)) == (told["Name"], told["Driver"], told["Labels"])
    assert len(list((ready / "volumes/db-data/_data").rglob("*"))) == 6


def test_every_kind_of_change_is_in_the_writable_layer(ready: Path) -> None:
    """Each as the kernel's overlay leaves it: seen by ``lstat``, and by the attributes."""
    upper = upper_of(ready)
    html = upper / "usr/share/nginx/html"
    whiteouts = [path for path in tree(upper).values() if modes.S_ISCHR(path.st_mode) and not path.st_rdev]
    assert len(whiteouts) == 3 and not os.path.lexists(upper / "tmp/server.pem")
    opaque = marked(upper, f"{prefix_of(ready)}.overlay.opaque")
    assert sorted(opaque) == ["etc/nginx/snippets", "usr/share/nginx/html/robots.txt", "usr/share/nginx/html/status"]
    assert (html / "harbour.svg").samefile(html / "assets/hero.svg")  # copied up for its second name
    assert (upper / "usr/bin/gunzip").stat().st_nlink == 1  # its other name stays as it was
    assert os.readlink(html / "current") == "releases/2.4-sale"
    assert modes.S_ISDIR((html / "robots.txt").stat().st_mode)
    assert modes.S_ISFIFO((upper / "run/reload").stat().st_mode)
    if prefix_of(ready) == "trusted":
        assert (upper / "etc/nginx/conf.d/default.conf").stat().st_gid == 101
        assert (upper / "etc/nginx/ssl/random").stat().st_rdev == os.makedev(1, 9)


def test_nothing_is_wrong_with_it(ready: Path) -> None:
    """Only notes: of the image that was removed by force, and of the layer whose unpacking was cut off."""
    with open_root(ready) as session:
        session.images(), session.containers()
        summary = session.info()
    assert {str(problem.severity) for problem in summary.problems} <= {"note"}
    assert "lab root" in summary.features


# ------------------------------------------------------------------ the same each time
_MAKE = "import os; os.umask(0o077); from layerscope.services.demo import demo_root; print(demo_root())"


def make_elsewhere(cache: Path, **environment: str) -> Path:
    """What another process makes, told by ``environment`` that it is somewhere else."""
    paths = os.pathsep.join([str(PROJECT), *sys.path])
    command = [sys.executable, "-c", _MAKE]
    told = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(cache), **environment}
    done = subprocess.run(command, env=told, cwd="/", capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_two_are_the_same_to_the_byte(ready: Path, tmp_path: Path) -> None:
    other = make_elsewhere(tmp_path / "other", TZ="Pacific/Auckland", PYTHONHASHSEED="4711", LC_ALL="C")
    assert other.parent.name == ready.parent.name
    assert all_facts(other) == all_facts(ready)


def test_all_times_are_those_of_the_story(ready: Path) -> None:
    times = {path: status.st_mtime for path, status in tree(ready).items()}
    assert {path: time for path, time in times.items() if not FIRST_DAY <= time <= POWER_LOST} == {}


# ------------------------------------------------------------------ the wheel
def test_wheel_holds_the_texts_and_makes_the_root(ready: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        packed = {name for name in files.namelist() if name.startswith("layerscope/demo/")}
        files.extractall(tmp_path / "installed")
    texts = {str(path.relative_to(PROJECT)) for path in TEXTS.rglob("*") if path.is_file()}
    assert {name for name in packed if not name.endswith(".py")} == texts
    made = make_elsewhere(tmp_path / "cache", PYTHONPATH=os.pathsep.join([str(tmp_path / "installed"), *sys.path]))
    assert made.parent.name == ready.parent.name
    assert sorted(tree(made)) == sorted(tree(ready))
