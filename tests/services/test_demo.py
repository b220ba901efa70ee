"""The demo's ready root: made by anybody, the same each time, whole, once, and never where it could do harm.

Expected values are what a real engine says of it, started on a copy that root made (`tests/data/demo/truth.json`,
written by `tests/demo_answers.py`), what the kernel shows, and the texts of the package.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import stat as modes
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from demo_answers import TRUTH as TRUTH_FILE
from demo_answers import entries_of

from layerscope import open_root
from layerscope.demo.edition import edition
from layerscope.errors import RootError
from layerscope.hostfs.privilege import privilege
from layerscope.lab.marker import MARKER
from layerscope.overlay import namespace
from layerscope.services import demo
from layerscope.services.demo import demo_root

PROJECT = Path(__file__).parents[2]
TEXTS = PROJECT / "layerscope" / "demo" / "texts"
TRUTH = json.loads(TRUTH_FILE.read_text())
WEB = next(container for container in TRUTH["containers"] if container["Name"] == "/web-1")
FIRST_DAY = datetime(2026, 2, 17, 8, 0, 0, tzinfo=UTC).timestamp()
POWER_LOST = datetime(2026, 3, 12, 10, 22, 41, tzinfo=UTC).timestamp()
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to somebody else needs root")
needs_mount = pytest.mark.skipif(not privilege().trusted_xattrs, reason="mounting needs CAP_SYS_ADMIN")


# ------------------------------------------------------------------ what is on disk
def tree(root: Path) -> dict[str, os.stat_result]:
    """``lstat`` of everything below ``root`` but the marker, by path."""
    found = {}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.relpath(os.path.join(folder, name), root)
            if path != MARKER:
                found[path] = os.lstat(root / path)
    return found


def marked(root: Path, key: str) -> dict[str, bytes]:
    """The paths of directories and files that carry an attribute, with its value."""
    found = {}
    for path, status in tree(root).items():
        if modes.S_ISREG(status.st_mode) or modes.S_ISDIR(status.st_mode):
            try:
                found[path] = os.getxattr(root / path, key)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
    return found


def all_facts(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that is kept of each entry, but for inodes and what the kernel counts."""
    facts = {}
    for path, status in tree(root).items():
        whole = root / path
        content: Any = status.st_rdev
        attributes = {}
        if modes.S_ISLNK(status.st_mode):
            content = os.readlink(whole)
        else:
            attributes = {key: os.getxattr(whole, key) for key in os.listxattr(whole)}
            if modes.S_ISREG(status.st_mode):
                content = (status.st_nlink, hashlib.sha256(whole.read_bytes()).hexdigest())
        facts[path] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes)
    return facts


def prefix_of(root: Path) -> str:
    return str(json.loads((root / MARKER).read_text())["xattr_prefix"])


def diff_lines(root: Path, name: str) -> list[str]:
    with open_root(root) as session:
        return [f"{change.kind} /{change.path}" for change in session.changes(session.find(f"container:{name}"))]


def upper_of(root: Path, container: str = WEB["Id"]) -> Path:
    mount_id = (root / "image/overlay2/layerdb/mounts" / container / "mount-id").read_text()
    return root / "overlay2" / mount_id / "diff"


def exported(root: Path, name: str) -> list[list[Any]]:
    """What layerscope exports, as the truth lists it."""
    out = io.BytesIO()
    with open_root(root) as session:
        assert session.export(session.find(f"container:{name}"), out) == []
    return entries_of(out.getvalue())


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory and a directory for temporary files of this test alone."""
    cache = tmp_path / "cache"
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return cache


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("ready")))
        return demo_root()


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


def by_path(entries: list[list[Any]]) -> dict[str, tuple[Any, ...]]:
    """Type, mode, time, link target or SHA-256, and all names of the file; a tar may have any of them first."""
    names: dict[str, set[str]] = {}
    for path, type_, _mode, _owner, _mtime, target, _digest in entries:
        names.setdefault(target if type_ == tarfile.LNKTYPE.decode() else path, set()).add(path)
    found = {entry[0]: entry for entry in entries}
    facts = {}
    for first, group in names.items():
        _path, type_, mode, owner, mtime, target, digest = found[first]
        facts.update({path: (type_, mode, owner, mtime, target, digest, sorted(group)) for path in group})
    return facts


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


# ------------------------------------------------------------------ without privilege
def as_nobody(folder: Path, task: Callable[[], Any]) -> Any:
    """The answer of ``task``, carried out by a user without any right who owns ``folder`` (as root: by uid 65534)."""
    if os.geteuid() != 0:
        return task()
    task()  # whatever this imports is imported now: the user may not be able to read our Python
    os.chown(folder, NOBODY, NOBODY)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork() beside threads; the child only computes
        child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.chdir("/")
            os.environ["XDG_CACHE_HOME"] = str(folder)
            with os.fdopen(writing, "w") as out:
                json.dump(task(), out)
            os._exit(0)
        except Exception as error:  # noqa: BLE001 - the parent hears of it
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(text)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach."""
    with tempfile.TemporaryDirectory(prefix="layerscope-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "cache").mkdir()
        yield Path(folder) / "cache"


def test_whole_without_privilege(ready: Path, open_folder: Path) -> None:
    """It shows the same as root's, owners included, which the disk can't carry."""

    def task() -> Any:
        root = demo_root()
        with open_root(root) as session:
            session.images(), session.containers(), session.stack(session.find("container:web-1"))
            problems = sorted({str(problem.severity) for problem in session.info().problems})
        return {
            "uid": os.geteuid(),
            "path": str(root),
            "prefix": prefix_of(root),
            "owners": sorted({status.st_uid for status in tree(root).values()}),
            "diff": {name: diff_lines(root, name) for name in TRUTH["diff"]},
            "export": exported(root, "web-1"),
            "problems": problems,
        }

    told = as_nobody(open_folder, task)
    if os.geteuid() == 0:
        assert told["uid"] == NOBODY and told["path"].startswith(str(open_folder))
    assert told["prefix"] == "user"
    assert told["owners"] == [told["uid"]]
    assert told["diff"] == TRUTH["diff"]
    assert by_path(told["export"]) == by_path(TRUTH["export"]["web-1"])
    assert told["problems"] == ["note"]


@pytest.fixture
def without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems and kernels that refuse device nodes, to a user that can't write trusted.* either."""
    set_xattr, make_node, rename = os.setxattr, os.mknod, namespace.renameat2

    def only_files(path: Any, mode: int = 0o600, *arguments: Any, **more: Any) -> None:
        if modes.S_ISCHR(mode) or modes.S_ISBLK(mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        make_node(path, mode, *arguments, **more)

    def only_user(path: Any, key: str, value: bytes, *arguments: Any, **more: Any) -> None:
        if not key.startswith("user."):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        set_xattr(path, key, value, *arguments, **more)

    def no_whiteouts(source: int, old: str, target: int, new: str, flags: int = 0) -> None:
        if flags & 4:  # RENAME_WHITEOUT makes a device, too
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        rename(source, old, target, new, flags)

    monkeypatch.setattr(os, "mknod", only_files)
    monkeypatch.setattr(os, "setxattr", only_user)
    monkeypatch.setattr(namespace, "renameat2", no_whiteouts)


@pytest.mark.usefixtures("without_devices")
def test_xattr_whiteouts_where_devices_are_refused() -> None:
    root = demo_root()
    assert prefix_of(root) == "user"
    assert not [path for path, status in tree(root).items() if modes.S_ISCHR(status.st_mode)]
    found = marked(root, "user.overlay.whiteout")
    assert len(found) >= 9 and all((root / name).stat().st_size == 0 for name in found)
    directories = marked(root, "user.overlay.opaque")
    assert {name for name, value in directories.items() if value == b"x"} >= {os.path.dirname(n) for n in found}
    for container, lines in TRUTH["diff"].items():
        assert diff_lines(root, container) == lines


@needs_mount
@pytest.mark.root
@pytest.mark.overlayfs
@pytest.mark.usefixtures("without_devices")
def test_kernel_reads_the_xattr_whiteouts_the_same(tmp_path: Path) -> None:
    """The marks that we write without devices, merged by the kernel, give what the engine exported."""
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 8):
        pytest.skip("xattr whiteouts need Linux 6.8")
    root = demo_root()
    upper = upper_of(root)
    lower = (upper.parent / "lower").read_text().split(":")
    stack = [upper, *(root / "overlay2" / item for item in lower)]
    point = tmp_path / "merged"
    point.mkdir()
    options = "ro,userxattr,lowerdir=" + ":".join(str(path) for path in stack)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
    try:
        found = sorted(tree(point))
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert found == sorted(entry[0].rstrip("/") for entry in TRUTH["export"]["web-1"])


def test_place_without_attributes_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(RootError, match="keeps no extended attributes, so no opaque directories"):
        demo_root()
    assert [path.name for path in tmp_path.rglob("demo-*")] == []


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
        while not list(folder.glob(f".demo-*/root/{wanted}")):
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
