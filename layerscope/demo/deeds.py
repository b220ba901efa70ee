"""What happened in the containers of the story."""

from __future__ import annotations

from datetime import timedelta

from layerscope.demo.generated import access_log, tide_table
from layerscope.demo.inside import Inside
from layerscope.demo.texts import text
from layerscope.demo.times import moment

_HTML = "usr/share/nginx/html"


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
    inside.chown(f"{web}/conf.d/default.conf", 0, 101)  # owner and mode only
    inside.chmod(f"{web}/conf.d/default.conf", 0o640)
    inside.character_device(f"{web}/ssl/random", 0o644, 1, 9)  # a device
    inside.fifo("run/reload", 0o600)  # a FIFO

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
    visits = access_log(_pages(inside), moment("2026-03-12T09:02:14"), 525, timedelta(seconds=9.2))
    inside.write("var/log/nginx/access.log", visits, 0o640)
    inside.write("var/log/nginx/error.log", text("web-1/error.log"), 0o640)


def mistyped(inside: Inside) -> None:
    """web-2: one letter too few, and the server doesn't start again."""
    inside.at("09:13:20")
    visits = access_log(_pages(inside), moment("2026-03-12T09:10:03"), 6, timedelta(seconds=31))
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
