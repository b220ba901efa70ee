"""The demo's root as made by a user without any right: it shows the same, and the kernel reads it the same.

Expected values are what a real engine says of a copy that root made, and what the kernel shows.
"""

from __future__ import annotations

import errno
import json
import os
import stat as modes
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_facts import NOBODY, TRUTH, by_path, diff_lines, exported, marked, needs_mount, prefix_of, tree, upper_of

from layerscope import open_root
from layerscope.errors import RootError
from layerscope.overlay import rename as overlay_rename
from layerscope.services.demo import demo_root

pytestmark = pytest.mark.usefixtures("cache_home")


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
    set_xattr, make_node, rename = os.setxattr, os.mknod, overlay_rename.renameat2

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
    monkeypatch.setattr(overlay_rename, "renameat2", no_whiteouts)


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
