"""What ``export`` and ``cp`` write, byte by byte beside what docker's daemon sends of the same container.

Docker before 24 has type bits in the mode field of each header, and before 23 the names of owners: these are taken out
of its headers before they are compared.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator

import pytest
from engine import Engine, minimal_tar, started
from world import CAPABILITY

from layerscope import open_root

pytestmark = [pytest.mark.docker, pytest.mark.root]
BLOCK = 512
MADE = """
mkdir -p made/folder && cd made
echo short > folder/short; chmod 4755 folder/short
ln folder/short second-name
ln -s folder/short symlink
ln -s /$(printf %0200d 7) long-target
dd if=/dev/zero of=large bs=1000 count=500 2>/dev/null
: > empty
mkfifo pipe
mknod device c 10 200
echo x > $(printf %0120d 5)
mkdir -p $(printf %090d 1)/$(printf %090d 2) && echo y > $(printf %090d 1)/$(printf %090d 2)/deep
echo z > folder/$(printf 'caf\\303\\251')
touch -d '1969-12-31 12:00:00' old
chown 3000000:3000001 old
rm -r /removed
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A daemon with one container that ended, ``made``."""
    with started() as engine:
        tar = minimal_tar()
        tar.folder("removed")
        tar.add("removed/file", b"gone")
        tar.add("bin/capable", b"#!", xattrs={"security.capability": CAPABILITY.decode("latin-1")})
        engine.import_image(tar.bytes(), "export/base:1")
        engine.shell("export/base:1", MADE, name="made")
        yield engine


def as_newer_docker(tar: bytes) -> bytes:
    """The tar of an older docker as one from 24 on writes it."""
    out = bytearray()
    at = 0
    while at < len(tar):
        block = bytearray(tar[at : at + BLOCK])
        at += BLOCK
        size = 0
        if block[257:262] == b"ustar":
            block[100:108] = b"%07o\0" % (int(block[100:107], 8) & 0o7777)
            block[265:329] = bytes(64)
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
            size = int(block[124:135], 8)
        out += block + tar[at : at + -(-size // BLOCK) * BLOCK]
        at += -(-size // BLOCK) * BLOCK
    return bytes(out)


def test_an_export_has_the_bytes_of_dockers(engine: Engine) -> None:
    out = io.BytesIO()
    with open_root(engine.root) as session:
        assert session.export(session.find("made"), out) == []
    assert len(out.getvalue()) > 1_000_000
    assert out.getvalue() == as_newer_docker(engine.export("made"))


@pytest.mark.parametrize("path", ["/made", "/made/second-name", "/made/folder", "/bin/capable", "/made/symlink"])
def test_what_is_copied_out_has_the_bytes_of_dockers(engine: Engine, path: str) -> None:
    command = [sys.executable, "-m", "layerscope", "--root", str(engine.root), "cp", f"made:{path}", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == as_newer_docker(engine.call("GET", f"/containers/made/archive?path={path}"))
