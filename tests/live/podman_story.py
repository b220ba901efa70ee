"""A small system for podman's containers, and a script that changes it in every way there is."""

from __future__ import annotations

from engine import Tar, minimal_tar

CHANGES = """
echo changed > /data/file && rm /data/gone && mkdir -p /deep/er/st && echo new > /deep/er/st/file
rm -r /data/dir && mkdir /data/dir && echo n > /data/dir/new
mv /data/move /data/moved && chmod 0600 /data/mode && ln /data/mode /data/linked && ln -s /nowhere /dangling
mkfifo /fifo && touch /data/touched && rm -r /many && echo file > /many && rm /link && mkdir /link && echo x > /link/x
rm /upper/lower/a && touch /sticky && chmod 4755 /sticky && echo 1 > '/name with blank' && exit 3
"""
COMMANDS = ("sh", "rm", "mkdir", "mv", "chmod", "ln", "mkfifo", "touch", "sleep", "true")


def base_tar() -> bytes:
    """A small system with something for every kind of change."""
    tar: Tar = minimal_tar()
    for command in COMMANDS:
        tar.link(f"bin/{command}", "busybox")
    for folder in ("data", "data/dir", "etc", "many", "upper", "upper/lower"):
        tar.folder(folder)
    for name in ("file", "gone", "move", "mode", "touched", "dir/a", "dir/b"):
        tar.add(f"data/{name}", f"{name}\n".encode())
    for name in ("many/1", "many/2", "upper/lower/a", "upper/lower/b"):
        tar.add(name, b"x" * 1000)
    tar.link("link", "data")
    return tar.bytes()
