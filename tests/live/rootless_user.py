"""A machine with a user without privilege, who may use IDs of his own, for engines that he runs.

The user is known in a mount namespace only: the machine's own files stay as they are. His home lies in a folder that
looks like a machine's root directory, with an ``etc`` of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from engine import PROGRAMS

USER, GROUP = 4711, 4712
FIRST_USER, FIRST_GROUP = 200_000, 300_000
MORE_USERS = 150_000
"""A second range."""
COUNT = 65_536
PROGRAMS_NEEDED = ("newuidmap", "setpriv", "unshare")
_INSIDE = """
for file in passwd group subuid subgid; do mount --bind "$1/etc/$file" /etc/$file || exit 1; done
[ -e "$1/fuse" ] && mount --bind "$1/fuse" /dev/fuse
home=$1/home/tester; shift
exec setpriv --reuid 4711 --regid 4712 --clear-groups \
    env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$home/run" USER=tester "$@"
"""


class RootlessUser:
    """One machine; ``top`` stands for its root directory. It stays until :meth:`remove`."""

    def __init__(self, more: str, fuse: bool = False) -> None:
        """``more``: by which name the second range of users is the user's."""
        self.top = Path(tempfile.mkdtemp(prefix="lsr-", dir="/var/tmp"))
        self.top.chmod(0o755)
        self.home = self.top / "home/tester"
        etc = self.top / "etc"
        etc.mkdir()
        line = f"tester:x:{USER}:{GROUP}::{self.home}:/bin/sh\n"
        (etc / "passwd").write_text(Path("/etc/passwd").read_text() + line)
        (etc / "group").write_text(f"{Path('/etc/group').read_text()}tester:x:{GROUP}:\n")
        (etc / "subuid").write_text(f"tester:{FIRST_USER}:{COUNT}\nother:1:5\n{more}:{MORE_USERS}:10\n")
        (etc / "subgid").write_text(f"tester:{FIRST_GROUP}:{COUNT}\n")
        for file in ("subuid", "subgid"):
            Path("/etc", file).touch()
        run = self.home / "run"
        run.mkdir(parents=True, mode=0o700)
        for place in (run, run.parent):
            os.chown(place, USER, GROUP)
        if fuse:
            os.mknod(self.top / "fuse", 0o020666, os.makedev(10, 229))
            (self.top / "fuse").chmod(0o666)
        (self.top / "inside").write_text(_INSIDE)

    def command(self, *words: str) -> list[str]:
        """What runs ``words`` as the user."""
        return ["unshare", "-m", "--propagation", "private", "sh", f"{self.top}/inside", f"{self.top}", *words]

    def run(self, *words: str, data: bytes | None = None) -> bytes:
        """What a command of the user's prints.

        Raises:
            RuntimeError: it fails.
        """
        done = subprocess.run(
            self.command(*words), input=data, capture_output=True, env={"PATH": PROGRAMS}, timeout=300, cwd=self.home
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}: {os.fsdecode(done.stderr)[-1000:]}")
        return done.stdout

    def remove(self) -> None:
        """End every process of the user's here, and remove everything."""
        mark = os.fsencode(f"HOME={self.home}")
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(self.top, ignore_errors=True)


def missing(*programs: str) -> str | None:
    """Why nobody can be such a user here, or which of ``programs`` isn't there; None if nothing is missing."""
    if os.geteuid() != 0:
        return "becoming another user needs root"
    for program in (*PROGRAMS_NEEDED, *programs):
        if shutil.which(program, path=PROGRAMS) is None:
            return f"{program} is not installed in {PROGRAMS}"
    return None
