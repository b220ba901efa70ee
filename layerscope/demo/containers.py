"""The containers of the story: what they are made of, when they ran and how they ended, what they said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct, field

from layerscope.demo.deeds import kept_waiting, mistyped, patched_by_hand
from layerscope.demo.inside import Inside
from layerscope.demo.times import moment


class Container(Struct, frozen=True):
    """A container: what it is made with, its times and end, its log, and what happened in it.

    ``exit_code`` None with a start time: it was running when the host lost power. No start time: never started.
    ``volumes``: names by path. ``log``: time, stream and text of each line.
    """

    name: str
    image: str
    created: str
    host_name: str = ""
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    log: tuple[tuple[str, str, str], ...] = ()
    deeds: Callable[[Inside], None] | None = None

    def log_lines(self) -> list[tuple[datetime, str, str]]:
        """The lines of its log, in order."""
        return [(moment(when), stream, line) for when, stream, line in self.log]


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
        "shop/db:16",
        created="2026-03-02T06:58:40",
        host_name="db",
        labels={"shop.role": "database"},
        volumes={"/var/lib/tidedb": "db-data"},
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
        "shop/web:2.4",
        created="2026-03-12T09:02:10",
        host_name="web-1",
        labels={"shop.role": "web", "shop.shift": "morning"},
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
        "shop/web:2.4",
        created="2026-03-12T09:09:58",
        host_name="web-2",
        labels={"shop.role": "web"},
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
        "shop/report:0.9",
        created="2026-03-12T10:15:00",
        command=("--month", "2026-02"),
        labels={"shop.role": "report"},
    ),
)  # fmt: skip
"""In the order in which they were made."""
