"""A lab of an ordinary user: what is committed there is what root would have committed."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import layerscope.lab.root.owned_overlay  # noqa: F401 - loaded while this process may read Python's own files
from layerscope.drivers import Driver
from layerscope.drivers.overlay2 import Overlay2
from layerscope.errors import CommitError, RootError
from layerscope.formats.whiteout import TRUSTED, USER
from layerscope.hostfs import Directory
from layerscope.lab.root.owned_driver import OwnedOverlay2
from layerscope.overlay.view import MergedView, ViewLevel
from layerscope.services.lab.lab import commit_options, new_lab, open_lab, save
from layerscope.services.opening.root import open_root

NOBODY = 65534
Call = Callable[..., Any]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="compares with a lab that root makes"),
]
SCRIPT = """
echo x > /etc/motd; rm -r /srv; mkdir /srv; echo new > /srv/new; ln /etc/motd /hard; chown 1:2 /opt /etc/passwd
chmod 4755 /etc/group; chmod 0 /etc/os-release; chown 7:8 /tmp; chmod 2711 /root; mkdir -p -m 700 /a/b
ln -s nowhere /link; chown -h 5:6 /link; mv /link /moved; chown -h 9:9 /usr/share/doc/motd; mknod /pipe p
chown 3:3 /pipe; truncate -s 5000 /sparse; rm /var/log/app.log
mkdir /team; chown 0:44 /team; chmod 2770 /team; echo x > /team/f; mkdir -m 500 /team/closed; echo y > /team/closed/g
mknod /team/null c 1 3; chown 4:5 /team/null; chmod 640 /team/null; ln -s f /team/l; mv /team/l /team/m
cp -a /usr/share/doc /doc; echo text > /home/ada/notes.txt; rm /srv/www; mv /home/ada /home/eve
touch -d @5 /team/f /team/closed/g /team/closed /team/null /team /doc /home/eve /home/eve/notes.txt
touch -h -d @5 /team/m /doc/motd
touch -d @5 /etc/motd /a /srv /srv/new /a/b /pipe /sparse /opt /etc /etc/passwd /etc/group /etc/os-release /tmp /root
touch -d @5 /var/log /usr/share/doc / /home /hard /usr /usr/share /var; touch -h -d @5 /moved /usr/share/doc/motd
"""


def as_user(user: int, act: Callable[[], str]) -> str:
    """What ``act`` says in a process of that user; all modules that it needs must be loaded already."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.umask(0o022)
            os.write(writer, act().encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent is told what it was
            os.write(writer, traceback.format_exc().encode())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    assert os.waitpid(child, 0)[1] == 0, said
    return said


def make(path: Path) -> str:
    """A lab at ``path`` with the script's changes committed; gives what was seen on the way."""
    new_lab(path)
    said = []
    with open_lab(path) as lab:
        lab.create("base:1.0", "web")
        with lab.overlay("web") as overlay:
            lab.shell(overlay, BytesIO(), said.append).run(SCRIPT)
            for name in ("/etc/passwd", "/opt", "/moved", "/pipe", "/etc/group", "/hard", "/a/b"):
                status = overlay.lstat(name)
                said.append(f"{name} {status.st_mode:o} {status.st_uid}:{status.st_gid}")
            said += [f"{entry.name} {entry.status.st_uid}" for entry in overlay.scandir("/")]
        for mark in (path / "overlay2").glob("*/diff/**/*"):
            if mark.is_char_device():  # the time of a deletion is in the tar
                os.utime(mark, (5, 5))
        made = lab.commit("web", "made:1", options=commit_options(created="2024-02-03T04:05:06Z"))
        assert made.diff_id is not None
    return "\n".join(sorted(said))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that an ordinary user can reach and change; pytest closes its own to others each time it starts."""
    top = Path(tempfile.mkdtemp(prefix="layerscope-home-"))
    top.chmod(0o755)
    inner = top / "home"
    inner.mkdir()
    os.chown(inner, NOBODY, NOBODY)
    yield inner
    shutil.rmtree(top)


def tar_of(path: Path) -> dict[str, tuple[object, ...]]:
    """The members of the top layer's tar of ``made:1``."""
    out = BytesIO()
    with open_root(path) as session:
        image = session.find("made:1").image
        assert image is not None
        save(session, ["made:1"], out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        layer = archive.extractfile(image.diff_ids[-1].removeprefix("sha256:") + ".tar")
        assert layer is not None
        with tarfile.open(fileobj=BytesIO(layer.read())) as tar:
            return {m.name: (m.type, oct(m.mode), m.uid, m.gid, m.size, m.linkname, m.mtime) for m in tar.getmembers()}


def test_images_are_those_that_root_would_make(place: Path, tmp_path: Path) -> None:
    ours, roots = place / "lab", tmp_path / "roots"
    expected = make(roots)
    make(tmp_path / "loads what is loaded late")
    assert as_user(NOBODY, lambda: make(ours)) == expected
    tars = [tar_of(ours), tar_of(roots)]
    for name in tars[0].keys() | tars[1].keys():
        assert tars[0].get(name) == tars[1].get(name), name
    with open_root(ours) as mine, open_root(roots) as theirs:
        found = [mine.find("made:1").image, theirs.find("made:1").image]
    assert found[0] is not None and found[1] is not None
    assert found[0].diff_ids == found[1].diff_ids
    for entry in (ours / "overlay2").rglob("*"):
        assert entry.lstat().st_uid == NOBODY


def seen(path: Path, driver: Driver) -> dict[str, tuple[object, ...]]:
    """Modes and owners of the merged view of ``web``, its layers read by a driver."""
    with open_root(path) as session:
        levels = session.levels(session.find("web"))
    view = MergedView(
        [ViewLevel(lv.number, driver.open_layer(lv.cache_id), dialect=driver.dialect) for lv in levels if lv.cache_id]
    )
    assert len(view.levels) == len(levels) == 3
    return {
        directory.path_of(name): (oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_rdev)
        for directory, listed in view.walk()
        for name, _part, _kind, stat in listed
    }


def test_owners_are_read_as_they_are_meant(place: Path, tmp_path: Path) -> None:
    ours, roots = place / "lab", tmp_path / "roots"
    make(roots)
    make(tmp_path / "loads what is loaded late")
    as_user(NOBODY, lambda: make(ours))
    mine, theirs = Directory.open_root(ours), Directory.open_root(roots)
    expected = seen(roots, Overlay2(theirs, TRUSTED))
    assert expected["etc/group"] == ("0o104755", 0, 0, 0)
    assert seen(ours, OwnedOverlay2(mine, USER)) == expected


def test_verbs_tell_owners_as_they_are_meant(place: Path, tmp_path: Path, call: Call) -> None:
    ours, roots = place / "lab", tmp_path / "roots"
    make(roots)
    make(tmp_path / "loads what is loaded late")
    as_user(NOBODY, lambda: make(ours))
    fields = ("path", "type", "mode", "uid", "gid", "size", "rdev", "xattrs", "level", "state", "target")

    def told(path: Path) -> tuple[object, ...]:
        entries = json.loads(call("ls", "-R", "--json", "container:web", root=path).out)
        with tarfile.open(fileobj=BytesIO(call("export", "web", "-o", "-", root=path).out)) as tar:
            members = {m.name: (m.type, oct(m.mode), m.uid, m.gid, m.size, m.linkname, m.devminor) for m in tar}
        return (
            {entry["path"]: {name: entry[name] for name in fields} for entry in entries},
            members,
            call("diff", "web", root=path).out,
            call("explain", "web:/etc/group", root=path).out,
        )

    found, expected = told(ours), told(roots)
    for mine, theirs in zip(found[:2], expected[:2], strict=True):
        assert isinstance(mine, dict) and isinstance(theirs, dict) and len(theirs) > 30
        for path in mine.keys() | theirs.keys():
            assert mine.get(path) == theirs.get(path), path
    assert found[2:] == expected[2:]
    assert expected[1]["team/null"][:4] == (tarfile.CHRTYPE, "0o640", 4, 5)


def lies(path: Path) -> dict[str, tuple[object, ...]]:
    """How everything lies on disk, ids left out of the paths; contents of small files."""
    found: dict[str, tuple[object, ...]] = {}
    with open_root(path) as session:
        web = session.find("web").container
        made = session.find("made:1").image
        assert web is not None and made is not None
        layers = [session.store.layers()[chain].cache_id for chain in made.chain_ids]
    named = {str(name): f"layer {number}" for number, name in enumerate([*layers, web.init_id, web.mount_id])}
    for folder, names, files in os.walk(path / "overlay2"):
        for name in [*names, *files]:
            entry = Path(folder, name)
            parts = entry.relative_to(path / "overlay2").parts
            if parts[0] not in named or (len(parts) > 1 and parts[1] in ("link", "lower", "work")):
                continue
            status = entry.lstat()
            attributes = {
                key: os.getxattr(entry, key, follow_symlinks=False)
                for key in os.listxattr(entry, follow_symlinks=False)
            }
            key = "/".join([named[parts[0]], *parts[1:]])
            found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, attributes)
    return found


def test_a_lab_given_to_root_lies_as_root_would_have_made_it(place: Path, tmp_path: Path, call: Call) -> None:
    ours, roots = place / "lab", tmp_path / "roots"
    make(roots)
    make(tmp_path / "loads what is loaded late")
    as_user(NOBODY, lambda: make(ours))
    tars = tar_of(ours)
    for _ in range(2):
        assert call("lab", "chown", root=ours).code == 0
        assert lies(ours) == lies(roots)
    assert tar_of(ours) == tars
    for entry in ours.rglob("*"):
        if "diff" not in entry.parts:
            assert entry.lstat().st_uid == 0, entry
    with open_lab(ours) as lab:
        lab.create("made:1", "again")


def test_a_lab_of_root_is_not_written_to_by_others(place: Path) -> None:
    path = place / "lab"
    new_lab(path)
    for folder in (path, path / "image", path / "image/overlay2"):
        folder.chmod(0o755)

    def act() -> str:
        with pytest.raises((CommitError, RootError)) as refused, open_lab(path):
            pass
        return str(refused.value)

    assert "root made this lab" in as_user(NOBODY, act) or "permission denied" in as_user(NOBODY, act)
    with open_lab(path) as lab:
        lab.create("base:1.0", "web")
