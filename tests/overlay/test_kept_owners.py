"""What a user can't set through the engine is kept beside the files, and read by it again."""

from __future__ import annotations

import json
import os
import shutil
import stat as modes
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerscope.overlay import Overlay

NOBODY = 65534
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes layers of root, and becomes an ordinary user"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """A layer of root's and one of the user's, which both can read."""
    top = Path(tempfile.mkdtemp(prefix="layerscope-kept-"))
    top.chmod(0o755)
    for name in ("lower", "upper", "work"):
        (top / name).mkdir(0o755)
    for name in ("f", "g", "d/inner"):
        (top / "lower" / name).parent.mkdir(exist_ok=True)
        (top / "lower" / name).write_text(name)
    (top / "lower/f").chmod(0o4755)
    (top / "lower/link").symlink_to("f")
    for path in (top, top / "upper", top / "work"):
        os.chown(path, NOBODY, NOBODY)
    yield top
    shutil.rmtree(top)


def as_nobody(act: Callable[[], object]) -> None:
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent only sees that it failed
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def overlay_of(home: Path) -> Overlay:
    return Overlay([home / "lower"], home / "upper", home / "work")


def owner(overlay: Overlay, path: str) -> tuple[int, int, int]:
    stat = overlay.lstat(path)
    return stat.st_uid, stat.st_gid, modes.S_IMODE(stat.st_mode)


def test_a_copy_up_keeps_a_foreign_owner(home: Path) -> None:
    def act() -> None:
        with overlay_of(home) as overlay:
            overlay.write_bytes("d/inner", b"changed")
            assert owner(overlay, "d/inner") == (0, 0, 0o644)
            assert owner(overlay, "d") == (0, 0, 0o755)
            assert {entry.name: entry.stat().st_uid for entry in overlay.scandir("/")}["d"] == 0
            assert overlay.listxattr("d/inner") == []

    as_nobody(act)
    assert os.getxattr(home / "upper/d/inner", "user.containers.override_stat") == b"0:0:0644"
    assert os.stat(home / "upper/d/inner").st_uid == NOBODY


def test_chown_and_chmod_are_kept_and_read_again(home: Path) -> None:
    def act() -> None:
        with overlay_of(home) as overlay:
            overlay.chown("f", 5, -1)
            overlay.chmod("g", 0o400)
            overlay.chown("g", 7, 8)
            overlay.chown("d", NOBODY, -1)
            overlay.lchown("link", 9, 10)
            overlay.mknod("null", modes.S_IFCHR | 0o666, os.makedev(1, 3))
            overlay.rename("link", "d/moved")
        with overlay_of(home) as overlay:
            assert owner(overlay, "f") == (5, 0, 0o755)
            assert owner(overlay, "d") == (NOBODY, 0, 0o755)
            assert owner(overlay, "g") == (7, 8, 0o400)
            assert owner(overlay, "d/moved")[:2] == (9, 10)
            null = overlay.lstat("null")
            assert (modes.S_ISCHR(null.st_mode), null.st_rdev) == (True, os.makedev(1, 3))
            with pytest.raises(OSError, match="No such device"):
                overlay.open("null", os.O_RDONLY)
            overlay.write_bytes("g", b"still the user's to change")
            overlay.unlink("d/moved")

    as_nobody(act)
    assert os.getxattr(home / "upper/f", "user.containers.override_stat") == b"5:0:0755"
    assert json.loads((home / "upper.override_stat.json").read_text()) == {}


def test_what_is_the_users_own_has_no_record(home: Path) -> None:
    def act() -> None:
        with overlay_of(home) as overlay:
            overlay.write_bytes("new", b"x")
            overlay.chmod("new", 0o640)
            assert owner(overlay, "new") == (NOBODY, NOBODY, 0o640)

    as_nobody(act)
    assert os.listxattr(home / "upper/new") == []
    assert not (home / "upper.override_stat.json").exists()


def test_records_of_layers_below_count_only_among_marks_of_users(home: Path) -> None:
    os.setxattr(home / "lower/g", "user.containers.override_stat", b"3:4:0600")
    with Overlay([home / "lower"], xattr="user") as overlay:
        assert owner(overlay, "g") == (3, 4, 0o600)
    with Overlay([home / "lower"], xattr="trusted") as overlay:
        assert owner(overlay, "g") == (0, 0, 0o644)


def test_what_can_carry_no_capability_has_none(home: Path) -> None:
    """The kernel, of a FIFO in a user namespace: ENODATA."""
    (home / "lower/link").unlink()
    os.mkfifo(home / "lower/pipe")

    def act() -> None:
        with overlay_of(home) as overlay, pytest.raises(OSError, match="No data available"):
            overlay.removexattr("pipe", "security.capability")

    as_nobody(act)
