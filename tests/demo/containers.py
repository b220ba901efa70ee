"""The containers of the story: how they are made, and what happened in them.

What happened is done through the kernel's own overlay, mounted as the engine would mount it, so the marks in the
writable layers are the kernel's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from generated import access_log, tide_table
from texts import text

_HTML = "usr/share/nginx/html"


def _time(text_: str) -> datetime:
    return datetime.fromisoformat(text_).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Container:
    """A container: the words of its `docker create`, its times and end, its log, and what happened in it.

    ``exit_code`` None with a start time: it was running when the host lost power. No start time: never started.
    """

    name: str
    create: tuple[str, ...]
    created: str
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    log: tuple[tuple[str, str, str], ...] = ()
    deeds: Callable[[Inside], None] | None = None

    def log_lines(self) -> list[tuple[datetime, str, str]]:
        return [(_time(when), stream, line) for when, stream, line in self.log]


class Inside:
    """The merged view of a container, mounted read-write at ``top``. Paths are as in the container.

    What is changed gets the time of the story: that of the last :meth:`at`.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        self._now = 0.0

    def at(self, clock: str) -> None:
        """It is now ``clock`` on the day of the story."""
        self._now = _time(f"2026-03-12T{clock}").timestamp()

    def _path(self, path: str) -> Path:
        return self._top / path

    def _stamp(self, *paths: str) -> None:
        """Give the time to what was changed."""
        for path in paths:
            os.utime(self._path(path), (self._now, self._now), follow_symlinks=False)

    def write(self, path: str, content: str, mode: int | None = None) -> None:
        """New content in place of the old; a new file is 0644 unless told otherwise."""
        there = os.path.lexists(self._path(path))
        self._path(path).write_text(content)
        if mode is not None or not there:
            self._path(path).chmod(mode or 0o644)
        self._stamp(path)
        if not there:
            self._stamp(os.path.dirname(path))

    def append(self, path: str, content: str) -> None:
        with self._path(path).open("a") as file:
            file.write(content)
        self._stamp(path)

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._path(path).mkdir()
        self._path(path).chmod(mode)
        self._stamp(path, os.path.dirname(path))

    def chmod(self, path: str, mode: int) -> None:
        self._path(path).chmod(mode)

    def touch(self, path: str) -> None:
        self._stamp(path)

    def remove(self, path: str) -> None:
        if self._path(path).is_dir() and not self._path(path).is_symlink():
            shutil.rmtree(self._path(path))
        else:
            self._path(path).unlink()
        self._stamp(os.path.dirname(path))

    def rename(self, old: str, new: str) -> None:
        self._path(old).rename(self._path(new))
        self._stamp(os.path.dirname(old), os.path.dirname(new))

    def link(self, first: str, second: str) -> None:
        os.link(self._path(first), self._path(second))
        self._stamp(os.path.dirname(second))

    def symlink(self, path: str, target: str) -> None:
        """A symlink, in place of the one that was there."""
        if self._path(path).is_symlink():
            self._path(path).unlink()
        self._path(path).symlink_to(target)
        self._stamp(path, os.path.dirname(path))

    def size(self, path: str) -> int:
        return self._path(path).stat().st_size

    def open_for_writing(self, path: str) -> None:
        """Open and close: enough for a copy in the writable layer."""
        self._path(path).open("r+b").close()


@contextmanager
def mounted(driver: Path, mount_id: str, point: Path) -> Iterator[None]:
    """A container's layers, merged by the kernel with the engine's options; ``driver`` is the root's overlay2/."""
    lower = ":".join(str(driver / item) for item in (driver / mount_id / "lower").read_text().split(":"))
    options = f"index=off,lowerdir={lower},upperdir={driver / mount_id / 'diff'},workdir={driver / mount_id / 'work'}"
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


def settle_times(top: Path, since: float, moment: datetime) -> None:
    """Give everything below ``top`` that is newer than ``since`` the story's time instead (links are not followed)."""
    for folder, directories, files in os.walk(top, topdown=False):
        for path in (*(os.path.join(folder, name) for name in (*files, *directories)), folder):
            if os.lstat(path).st_mtime >= since:
                os.utime(path, (moment.timestamp(), moment.timestamp()), follow_symlinks=False)


# ------------------------------------------------------------------ what happened
def _pages(inside: Inside) -> list[tuple[str, int]]:
    """What every visitor fetches, with its length."""
    names = ("assets/app.3f2c91.css", "assets/app.3f2c91.js", "catalog.json")
    return [
        ("/", inside.size(f"{_HTML}/index.html")),
        *((f"/{name}", inside.size(f"{_HTML}/{name}")) for name in names),
    ]


def patched_by_hand(inside: Inside) -> None:
    """web-1: a Thursday morning with a shell in a running container. Every kind of change is among it."""
    web = "etc/nginx"
    inside.at("09:02:11")
    inside.write("run/nginx.pid", "1\n")

    inside.at("09:27:50")
    inside.write(f"{web}/nginx.conf", text("web-1/nginx.conf"))  # modified
    inside.at("09:28:35")
    inside.write("tmp/server.pem", "on its way\n")
    inside.directory(f"{web}/ssl", 0o700)  # added
    inside.write(f"{web}/ssl/server.key", text("web-1/server.key"), 0o600)
    inside.write(f"{web}/ssl/server.pem", text("web-1/server.pem"))
    inside.remove("tmp/server.pem")  # came and went: leaves nothing
    inside.at("09:30:12")
    inside.remove(f"{web}/snippets")  # a directory replaced: opaque
    inside.directory(f"{web}/snippets")
    inside.write(f"{web}/snippets/tls.conf", text("web-1/tls.conf"))
    inside.write(f"{web}/snippets/gzip.conf", text("web/gzip.conf").replace("1000", "512"))
    inside.chmod(f"{web}/conf.d/default.conf", 0o640)  # the mode only

    inside.at("09:36:20")
    inside.write(f"{_HTML}/index.html", text("web-1/index.html"))
    inside.link(f"{_HTML}/assets/hero.svg", f"{_HTML}/harbour.svg")  # a second name for a lower file
    inside.rename(f"{_HTML}/news.html", f"{_HTML}/news-2026.html")
    inside.remove(f"{_HTML}/press")  # a directory deleted
    inside.at("09:38:02")
    inside.remove(f"{_HTML}/robots.txt")  # a file becomes a directory
    inside.directory(f"{_HTML}/robots.txt")
    inside.write(f"{_HTML}/robots.txt/why.txt", text("web-1/why.txt"))
    inside.remove(f"{_HTML}/status")
    inside.directory(f"{_HTML}/status")
    inside.write(f"{_HTML}/status/index.html", "ok\n")
    inside.write(f"{_HTML}/status/name.txt", "web-1\n")
    inside.at("09:39:15")
    inside.directory(f"{_HTML}/releases/2.4-sale")
    inside.write(f"{_HTML}/releases/2.4-sale/NOTES", "Everything half as long, until Sunday.\n")
    inside.symlink(f"{_HTML}/current", "releases/2.4-sale")  # a link that leads elsewhere
    inside.at("09:40:00")
    inside.touch(f"{_HTML}/RELEASE.txt")  # the time only
    inside.open_for_writing(f"{_HTML}/catalog.json")  # copied up, nothing changed

    inside.at("09:41:33")
    inside.append("usr/bin/gunzip", "\n    1  gunzip would do as gzip does, the other way round.\n")  # one of two names
    inside.remove("etc/motd")  # a file deleted
    inside.write("root/.bash_history", text("web-1/bash_history"), 0o600)

    inside.at("10:22:40")
    visits = access_log(_pages(inside), _time("2026-03-12T09:02:14"), 525, timedelta(seconds=9.2))
    inside.write("var/log/nginx/access.log", visits, 0o640)
    inside.write("var/log/nginx/error.log", text("web-1/error.log"), 0o640)


def mistyped(inside: Inside) -> None:
    """web-2: one letter too few, and the server doesn't start again."""
    inside.at("09:13:20")
    visits = access_log(_pages(inside), _time("2026-03-12T09:10:03"), 6, timedelta(seconds=31))
    inside.write("var/log/nginx/access.log", visits, 0o640)
    inside.at("09:31:30")
    inside.write("etc/nginx/conf.d/default.conf", text("web-2/default.conf"))
    inside.write("root/.bash_history", "vi /etc/nginx/conf.d/default.conf\nexit\n", 0o600)


def kept_waiting(inside: Inside) -> None:
    """db: rows go into the volume; the writable layer has the rest."""
    inside.at("00:00:02")
    inside.write("run/tidedb.pid", "1\n")
    inside.at("07:15:00")
    inside.write("etc/tidedb/tidedb.conf", text("db-container/tidedb.conf"))
    inside.at("10:20:00")
    clock = ((hour, minute) for hour in range(11) for minute in range(0, 60, 5) if (hour, minute) <= (10, 20))
    log = (
        f"2026-03-12 {hour:02}:{minute:02}  checkpoint, {hour * 3 + minute} rows written\n" for hour, minute in clock
    )
    inside.write("var/log/tidedb/tidedb.log", "".join(log), 0o640)
    inside.write("tmp/sort-1.part", tide_table(500), 0o600)


def fill_volume(data: Path) -> None:
    """What the database has in its volume."""
    (data / "VERSION").write_text("16.2\n")
    (data / "base").mkdir()
    (data / "base" / "articles.rows").write_text(
        "".join(f"{n:>6}  article {n}, in stock: {n % 13}\n" for n in range(1001, 1421))
    )
    (data / "base" / "tides.rows").write_text(tide_table(2_200))
    (data / "journal").mkdir()
    (data / "journal" / "000000010000000000000001").write_text(
        "".join(f"{n:>8}  wrote row {n % 2_200}\n" for n in range(1, 4_001))
    )


_ENTRYPOINT_SAYS = (
    ("stdout", "entrypoint: running /docker-entrypoint.d/10-listen.sh"),
    ("stdout", "10-listen: listening on port 80"),
    ("stdout", "entrypoint: running /docker-entrypoint.d/20-api.sh"),
    ("stdout", "entrypoint: ready to start"),
)


def _said(when: str, *more: tuple[str, str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((when, stream, line) for stream, line in (*_ENTRYPOINT_SAYS, *more))


_MISTYPED = '"servr_name" in /etc/nginx/conf.d/default.conf:3'

CONTAINERS = (
    Container(
        "db",
        ("--hostname=db", "--label=shop.role=database", "--volume=db-data:/var/lib/tidedb", "shop/db:16"),
        created="2026-03-02T06:58:40",
        started="2026-03-12T00:00:02",
        log=(
            ("2026-03-12T00:00:02", "stdout", "tidedb 16.2, a database that comes and goes"),
            ("2026-03-12T00:00:02", "stdout", "found 2200 tides and 420 articles in /var/lib/tidedb"),
            ("2026-03-12T00:00:03", "stdout", "listening on port 5600"),
            ("2026-03-12T10:22:40", "stderr", "a client went away in the middle of a row"),
        ),
        deeds=kept_waiting,
    ),
    Container(
        "web-1",
        ("--hostname=web-1", "--label=shop.role=web", "--label=shop.shift=morning", "shop/web:2.4"),
        created="2026-03-12T09:02:10",
        started="2026-03-12T09:02:11",
        log=(
            *_said("2026-03-12T09:02:11"),
            ("2026-03-12T09:31:07", "stderr", "nginx: signal 1 (SIGHUP) received, reconfiguring"),
            ("2026-03-12T10:22:40", "stderr", "nginx: upstream timed out while reading response header"),
        ),
        deeds=patched_by_hand,
    ),
    Container(
        "web-2",
        ("--hostname=web-2", "--label=shop.role=web", "shop/web:2.4"),
        created="2026-03-12T09:09:58",
        started="2026-03-12T09:31:44",
        finished="2026-03-12T09:31:45",
        exit_code=1,
        log=(
            *_said("2026-03-12T09:10:00"),
            *_said("2026-03-12T09:31:44", ("stderr", f"nginx: [emerg] unknown directive {_MISTYPED}")),
        ),
        deeds=mistyped,
    ),
    Container(
        "job-7f",
        ("--label=shop.role=report", "shop/report:0.9", "--month", "2026-02"),
        created="2026-03-12T10:15:00",
    ),
)  # fmt: skip
"""In the order in which they were made."""
