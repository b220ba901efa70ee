"""Owners in a root that a docker without privilege wrote just now, as that docker gives them out."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rootless_user
import tree_facts
from engine import PROGRAMS, busybox, docker_client, minimal_tar
from rootless_user import COUNT, FIRST_GROUP, FIRST_USER, GROUP, USER, RootlessUser

from layerscope import open_root
from layerscope.model.verdict import Verdict
from layerscope.services import Session
from layerscope.services.verify.layers import verify

pytestmark = [pytest.mark.root, pytest.mark.docker]

WAIT_SECONDS = 60.0
START = """
exec rootlesskit --net=host --copy-up=/etc --copy-up=/run --state-dir="$HOME/kit" --propagation=rprivate sh -c '
rm -rf /run/docker /run/containerd /run/xtables.lock
exec dockerd --data-root "$HOME/.local/share/docker" --exec-root "$HOME/run/x" -p "$HOME/run/p" \
    -H "unix://$HOME/run/s" --iptables=false --ip6tables=false --bridge=none --storage-driver="$0"' "$0"
"""
EDIT = """
echo new > /data/new; chown 5:6 /data/new /data/root
rm /data/one; mkdir /data/made; chown 11:12 /data/made; ln -s /nowhere /data/link
rm -r /data/dir; mkdir /data/dir; chown 20:21 /data/dir
"""


class RootlessDocker:
    """One daemon; :meth:`remove` ends it."""

    def __init__(self, driver: str) -> None:
        self.user = RootlessUser("tester")
        self.root = self.user.home / ".local/share/docker"
        self.client = [str(docker_client()), "-H", f"unix://{self.user.home}/run/s"]
        self._log = self.user.top / "log"
        with self._log.open("wb") as log:
            words = self.user.command("sh", "-c", START, driver)
            self._kit = subprocess.Popen(
                words, stdout=log, stderr=log, env={"PATH": PROGRAMS}, cwd=self.user.home, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self.docker("version")
                return
            except RuntimeError:
                if self._kit.poll() is not None or time.monotonic() > end:
                    told = self._log.read_text(errors="replace")[-400:]
                    self.remove()
                    raise RuntimeError(f"no rootless daemon can be started here: {' '.join(told.split())}") from None
                time.sleep(0.1)

    def docker(self, *words: str, data: bytes | None = None) -> bytes:
        """What a command of docker's own client prints."""
        done = subprocess.run([*self.client, *words], input=data, capture_output=True, timeout=120)
        if done.returncode:
            raise RuntimeError(os.fsdecode(done.stderr)[-500:])
        return done.stdout

    def remove(self) -> None:
        """End what runs, and remove everything."""
        if self._kit.poll() is None:
            self._kit.terminate()
        try:
            self._kit.wait(30)
        except subprocess.TimeoutExpired:
            self._kit.kill()
            self._kit.wait()
        self.user.remove()


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[RootlessDocker]:
    """A container on an image whose files have owners from both ends of the ranges."""
    reason = rootless_user.missing("dockerd", "rootlesskit")
    if reason or docker_client() is None or busybox() is None:
        pytest.skip(reason or "docker's client or a static busybox is not installed")
    try:
        made = RootlessDocker(request.param)
    except (RuntimeError, OSError) as error:
        pytest.skip(str(error))
    try:
        tar = minimal_tar()
        tar.folder("data")
        tar.add("data/root", b"r")
        tar.add("data/one", b"1", uid=1, gid=2)
        tar.add("data/far", b"f", uid=COUNT - 1, gid=COUNT - 1)
        tar.folder("data/dir", uid=33, gid=44)
        tar.add("data/dir/inside", b"i", uid=33, gid=44)
        made.docker("import", "-", "rootless/base:1", data=tar.bytes())
        words = ("--network", "none", "--name", "editor", "rootless/base:1", "/bin/busybox", "sh", "-c")
        commands = "for one in chown rm mkdir ln; do busybox ln -s busybox /bin/$one; done; PATH=/bin"
        made.docker("run", *words, f"PATH=/bin; {commands}; {EDIT}")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def session(engine: RootlessDocker) -> Iterator[Session]:
    with open_root(engine.root) as opened:
        yield opened


def test_owners_are_those_of_the_export(engine: RootlessDocker, session: Session) -> None:
    exported = tree_facts.of_tar(engine.docker("export", "editor"))
    assert tree_facts.of_session(session, session.find("editor")) == tree_facts.by_first_name(exported)
    assert (exported["data/new"].uid, exported["data/new"].gid) == (5, 6)
    assert exported["data/far"].uid == COUNT - 1
    out = io.BytesIO()
    assert session.export(session.find("editor"), out) == []
    assert tree_facts.of_tar(out.getvalue()) == exported


def test_changes(engine: RootlessDocker, session: Session) -> None:
    theirs = sorted(os.fsdecode(engine.docker("diff", "editor")).splitlines())
    changes = session.changes(session.find("editor"))
    assert sorted(f"{change.kind} /{change.path}" for change in changes) == theirs


def test_the_layers_hold_what_their_tars_held(session: Session) -> None:
    found: list[Verdict] = list(verify(session, deep=True))
    assert [(one.ok, one.findings) for one in found] == [(True, ())]


def test_what_they_are_on_disk_is_told(engine: RootlessDocker, session: Session) -> None:
    (told,) = (one for one in session.info().features if "owners are shown" in one)
    assert f"{USER}:{GROUP} on disk is 0:0 and {FIRST_USER}:{FIRST_GROUP} is 1:1" in told
    assert f"{engine.user.top}/etc" in told
    images = json.loads(engine.docker("image", "inspect", "rootless/base:1"))
    assert {usage.image.id for usage in session.images()} == {image["Id"] for image in images}


def test_the_live_daemon_is_seen(engine: RootlessDocker, session: Session) -> None:
    assert session.daemon().held is True
    assert Path(session.path) == engine.root
