"""The demo's ready root: unpacked by anybody, whole, once, and never where it could do harm.

Expected values are the archive's own list of members, read by tarfile, and what a real engine said of it
(`tests/data/demo/truth.json`, written by `tests/demo/make_demo_root.py`).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import lzma
import os
import stat as modes
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerscope import open_root
from layerscope.errors import CorruptError, RootError
from layerscope.hostfs.privilege import privilege
from layerscope.lab.marker import MARKER
from layerscope.services.demo import demo_root
from layerscope.services.demo_archive import unpack

PROJECT = Path(__file__).parents[2]
ARCHIVE = PROJECT / "layerscope" / "demo" / "root.tar.xz"
TRUTH = json.loads((PROJECT / "tests" / "data" / "demo" / "truth.json").read_text())
OPAQUE = "SCHILY.xattr.trusted.overlay.opaque"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to somebody else needs root")
needs_mount = pytest.mark.skipif(not privilege().trusted_xattrs, reason="mounting needs CAP_SYS_ADMIN")


# ------------------------------------------------------------------ what the archive lists
@pytest.fixture(scope="module")
def members() -> list[tarfile.TarInfo]:
    with tarfile.open(ARCHIVE) as tar:
        return tar.getmembers()


def whiteouts(members: list[tarfile.TarInfo]) -> set[str]:
    return {member.name for member in members if member.ischr()}


def opaque_directories(members: list[tarfile.TarInfo]) -> set[str]:
    return {member.name for member in members if member.pax_headers.get(OPAQUE) == "y"}


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


def prefix_of(root: Path) -> str:
    return str(json.loads((root / MARKER).read_text())["xattr_prefix"])


def diff_lines(root: Path, name: str) -> list[str]:
    with open_root(root) as session:
        return [f"{change.kind} /{change.path}" for change in session.changes(session.find(f"container:{name}"))]


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory and a directory for temporary files of this test alone."""
    cache = tmp_path / "cache"
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return cache


# ------------------------------------------------------------------ the archive
def test_truth_is_that_of_this_archive() -> None:
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == TRUTH["archive"]


def test_archive_is_small_sorted_and_harmless(members: list[tarfile.TarInfo]) -> None:
    assert ARCHIVE.stat().st_size < 300_000
    names = [member.name for member in members]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert not [member.name for member in members if member.mode & 0o6000]
    assert {member.type for member in members} <= {
        tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
    }  # fmt: skip
    assert not [name for name in names if name.startswith(("containerd", "network")) or "backingFsBlockDev" in name]


def test_archive_holds_words_and_no_program() -> None:
    with tarfile.open(ARCHIVE) as tar:
        for member in tar:
            if member.isreg() and ("/diff/" in member.name or "/_data/" in member.name):
                file = tar.extractfile(member)
                assert file is not None
                text = file.read().decode("utf-8")
                assert "\0" not in text and (
                    not text.startswith("#!") or text.startswith(("#!/bin/false\n", "#!/bin/sh"))
                )


def test_archive_has_every_kind_of_mark(members: list[tarfile.TarInfo]) -> None:
    assert len(whiteouts(members)) >= 9
    assert len(opaque_directories(members)) >= 5


# ------------------------------------------------------------------ unpacking
def test_root_is_the_archive(members: list[tarfile.TarInfo], cache_home: Path) -> None:
    root = demo_root()
    assert root == cache_home / "layerscope" / f"demo-{TRUTH['archive'][:12]}" / "root"
    found = tree(root)
    assert sorted(found) == sorted(member.name for member in members)
    by_name = {member.name: member for member in members}
    with tarfile.open(ARCHIVE) as tar:
        for name, status in found.items():
            member = by_name[name]
            assert modes.S_IMODE(status.st_mode) == member.mode or member.ischr() or member.issym(), name
            assert int(status.st_mtime) == int(member.mtime), name
            assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), name
            if member.issym():
                assert os.readlink(root / name) == member.linkname
            elif member.islnk():
                assert os.path.samestat(status, found[member.linkname])
            elif member.isreg():
                file = tar.extractfile(member)
                assert file is not None and file.read() == (root / name).read_bytes()
            else:
                assert member.isdir() == modes.S_ISDIR(status.st_mode), name
    assert {name for name, status in found.items() if modes.S_ISCHR(status.st_mode)} == whiteouts(members)
    marks = marked(root, f"{prefix_of(root)}.overlay.opaque")
    assert marks == dict.fromkeys(opaque_directories(members), b"y")


def test_twice_gives_the_same_path_and_touches_nothing(cache_home: Path) -> None:
    first = demo_root()
    before = os.stat(first.parent).st_ctime_ns, os.stat(first / MARKER).st_ino
    (first / "overlay2" / "changed-by-hand").mkdir()
    assert demo_root() == first
    assert (os.stat(first.parent).st_ctime_ns, os.stat(first / MARKER).st_ino) == before
    assert (first / "overlay2" / "changed-by-hand").is_dir()
    assert sorted(os.listdir(cache_home / "layerscope")) == [f".{first.parent.name}.lock", first.parent.name]


@pytest.mark.parametrize("container", sorted(TRUTH["diff"]))
def test_changes_are_those_of_docker_diff(container: str) -> None:
    assert diff_lines(demo_root(), container) == TRUTH["diff"][container]


def test_images_and_containers_are_those_of_the_engine() -> None:
    with open_root(demo_root()) as session:
        images = [(u.image.id, sorted(u.image.repo_tags), u.image.size) for u in session.images()]
        containers = [(u.container.id, u.container.name, u.size_rw, u.size_root_fs) for u in session.containers()]
    assert sorted(images) == sorted((i["Id"], sorted(i["RepoTags"]), i["Size"]) for i in TRUTH["images"])
    told = [(c["Id"], c["Name"].removeprefix("/"), c["SizeRw"], c["SizeRootFs"]) for c in TRUTH["containers"]]
    assert sorted(containers) == sorted(told)


def exported(root: Path, name: str) -> list[list[Any]]:
    """What layerscope exports, as the truth lists it."""
    out = io.BytesIO()
    with open_root(root) as session:
        assert session.export(session.find(f"container:{name}"), out) == []
    entries = []
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            mode = member.mode & 0o7777
            entries.append([member.name, member.type.decode(), mode, int(member.mtime), member.linkname, digest])
    return entries


def by_path(entries: list[list[Any]]) -> dict[str, tuple[Any, ...]]:
    """Type, mode, time, link target or SHA-256, and all names of the file; a tar may have any of them first."""
    names: dict[str, set[str]] = {}
    for path, type_, _mode, _mtime, target, _digest in entries:
        names.setdefault(target if type_ == tarfile.LNKTYPE.decode() else path, set()).add(path)
    found = {entry[0]: entry for entry in entries}
    facts = {}
    for first, group in names.items():
        _path, type_, mode, mtime, target, digest = found[first]
        facts.update({path: (type_, mode, mtime, target, digest, sorted(group)) for path in group})
    return facts


def test_merged_view_is_what_the_engine_exports() -> None:
    assert by_path(exported(demo_root(), "web-1")) == by_path(TRUTH["export"]["web-1"])


def test_nothing_is_wrong_with_it() -> None:
    """Only notes: of the image that was removed by force, and of the layer whose unpacking was cut off."""
    with open_root(demo_root()) as session:
        session.images(), session.containers()
        summary = session.info()
    assert {str(problem.severity) for problem in summary.problems} <= {"note"}
    assert "lab root" in summary.features


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


def test_whole_without_privilege(members: list[tarfile.TarInfo], open_folder: Path) -> None:
    def task() -> Any:
        root = demo_root()
        marks = marked(root, "user.overlay.opaque")
        with open_root(root) as session:
            session.images(), session.containers(), session.stack(session.find("container:web-1"))
            problems = sorted({str(problem.severity) for problem in session.info().problems})
        return {
            "uid": os.geteuid(),
            "path": str(root),
            "prefix": prefix_of(root),
            "opaque": {name: value.decode() for name, value in marks.items()},
            "whiteouts": [name for name, status in tree(root).items() if modes.S_ISCHR(status.st_mode)],
            "owners": sorted({status.st_uid for status in tree(root).values()}),
            "diff": {name: diff_lines(root, name) for name in TRUTH["diff"]},
            "problems": problems,
        }

    told = as_nobody(open_folder, task)
    if os.geteuid() == 0:
        assert told["uid"] == NOBODY and told["path"].startswith(str(open_folder))
    assert told["prefix"] == "user"
    assert told["opaque"] == dict.fromkeys(opaque_directories(members), "y")
    assert set(told["whiteouts"]) == whiteouts(members)
    assert told["owners"] == [told["uid"]]
    assert told["diff"] == TRUTH["diff"]
    assert told["problems"] == ["note"]


@pytest.fixture
def without_mknod(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems and kernels that refuse device nodes, to a user that can't write trusted.* either."""
    set_xattr = os.setxattr

    def refuse(*_arguments: object, **_more: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def only_user(path: Any, key: str, value: bytes, **more: Any) -> None:
        if not key.startswith("user."):
            refuse()
        set_xattr(path, key, value, **more)

    monkeypatch.setattr(os, "mknod", refuse)
    monkeypatch.setattr(os, "setxattr", only_user)


@pytest.mark.usefixtures("without_mknod")
def test_xattr_whiteouts_where_devices_are_refused(members: list[tarfile.TarInfo]) -> None:
    root = demo_root()
    assert prefix_of(root) == "user"
    found = marked(root, "user.overlay.whiteout")
    assert set(found) == whiteouts(members)
    assert all((root / name).stat().st_size == 0 for name in found)
    directories = marked(root, "user.overlay.opaque")
    assert {name for name, value in directories.items() if value == b"y"} == opaque_directories(members)
    assert {name for name, value in directories.items() if value == b"x"} == {os.path.dirname(n) for n in found}
    for container, lines in TRUTH["diff"].items():
        assert diff_lines(root, container) == lines


@needs_mount
@pytest.mark.root
@pytest.mark.overlayfs
@pytest.mark.usefixtures("without_mknod")
def test_kernel_reads_the_xattr_whiteouts_the_same(tmp_path: Path) -> None:
    """The marks that we write without devices, merged by the kernel, give what the engine exported."""
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 8):
        pytest.skip("xattr whiteouts need Linux 6.8")
    root = demo_root()
    container = next(c["Id"] for c in TRUTH["containers"] if c["Name"] == "/web-1")
    mount_id = (root / "image/overlay2/layerdb/mounts" / container / "mount-id").read_text()
    lower = (root / "overlay2" / mount_id / "lower").read_text().split(":")
    stack = [root / "overlay2" / mount_id / "diff", *(root / "overlay2" / item for item in lower)]
    point = tmp_path / "merged"
    point.mkdir()
    options = "ro,userxattr,lowerdir=" + ":".join(str(path) for path in stack)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
    try:
        found = sorted(tree(point))
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert found == sorted(entry[0].rstrip("/") for entry in TRUTH["export"]["web-1"])


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
    name = f"demo-{TRUTH['archive'][:12]}"
    killed = cache_home / "layerscope" / f".{name}-abc123" / "root" / "overlay2"
    killed.mkdir(parents=True)
    damaged = cache_home / "layerscope" / name / "root"
    damaged.mkdir(parents=True)
    (damaged / MARKER).write_text('{"version": 1, "xattr_prefix": "user"}')  # and no records beside it
    root = demo_root()
    assert root == damaged
    assert len(tree(root)) > 900
    assert not killed.exists()


def fallback(tmp_path: Path) -> Path:
    return tmp_path / "temporary" / f"layerscope-{os.geteuid()}" / f"demo-{TRUTH['archive'][:12]}" / "root"


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
    assert text.startswith("cannot unpack the demo's root: ") and "\n" not in text
    assert str(cache_home) in text and "set XDG_CACHE_HOME" in text


# ------------------------------------------------------------------ an archive that isn't ours
def made(*entries: tuple[str, bytes, dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, type_, facts in entries:
            member = tarfile.TarInfo(name)
            member.type = type_
            content = facts.pop("content", b"")
            member.size = len(content)
            for key, value in facts.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return lzma.compress(out.getvalue())


@pytest.mark.parametrize(
    "entries",
    [
        [("../escaped", tarfile.REGTYPE, {})],
        [("/escaped", tarfile.REGTYPE, {})],
        [("a//b", tarfile.REGTYPE, {})],
        [("a", tarfile.SYMTYPE, {"linkname": ".."}), ("a/escaped", tarfile.REGTYPE, {})],
        [("a/b", tarfile.REGTYPE, {}), ("a", tarfile.DIRTYPE, {})],
        [("a", tarfile.BLKTYPE, {"devmajor": 8})],
        [("a", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3})],
        [("a", tarfile.FIFOTYPE, {})],
        [("a", tarfile.LNKTYPE, {"linkname": "../outside"})],
    ],
    ids=["parent", "absolute", "empty-part", "through-link", "out-of-order", "block", "char", "fifo", "link-out"],
)
def test_refused_members(tmp_path: Path, entries: list[tuple[str, bytes, dict[str, Any]]]) -> None:
    (tmp_path / "outside").write_text("mine")
    target = tmp_path / "target"
    target.mkdir()
    fd = os.open(target, os.O_RDONLY)
    try:
        with pytest.raises(CorruptError, match="in it"):
            unpack(made(*entries), fd, "user")
    finally:
        os.close(fd)
    assert not (tmp_path / "escaped").exists() and os.stat(tmp_path / "outside").st_nlink == 1


def test_hard_link_through_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("mine")
    target = tmp_path / "target"
    target.mkdir()
    fd = os.open(target, os.O_RDONLY)
    archive = made(("a", tarfile.SYMTYPE, {"linkname": "../outside"}), ("b", tarfile.LNKTYPE, {"linkname": "a/secret"}))
    try:
        with pytest.raises(OSError) as caught:
            unpack(archive, fd, "user")
    finally:
        os.close(fd)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert os.stat(tmp_path / "outside" / "secret").st_nlink == 1


def test_setuid_is_dropped(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        unpack(made(("tool", tarfile.REGTYPE, {"mode": 0o6755, "content": b"x"})), fd, "user")
    finally:
        os.close(fd)
    assert modes.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o755


@pytest.mark.parametrize("cut", [0, 100, 100_000])
def test_cut_archive_is_told(tmp_path: Path, cut: int) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CorruptError, match="can't be read"):
            unpack(ARCHIVE.read_bytes()[:cut], fd, "user")
    finally:
        os.close(fd)


# ------------------------------------------------------------------ the wheel
def test_wheel_holds_the_archive(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert files.read("layerscope/demo/root.tar.xz") == ARCHIVE.read_bytes()
        assert "layerscope/services/demo.py" in files.namelist()
