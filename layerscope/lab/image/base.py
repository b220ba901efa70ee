"""The small image that a new lab begins with: text files of a made-up system, the same bytes each time."""

from __future__ import annotations

import io

from layerscope.formats.tar.go_header import END, Member, header_blocks, padding

NAME = "base:1.0"
CREATED = "2024-01-02T03:04:05Z"
COMMENT = "text for a lab"
CHANGES = ('CMD ["/bin/sh"]', "LABEL org.opencontainers.image.title=base")
_MTIME = 1_704_164_645

_DIRECTORIES = {
    "bin": 0o755,
    "etc": 0o755,
    "etc/app": 0o755,
    "home": 0o755,
    "home/ada": 0o750,
    "opt": 0o755,
    "root": 0o700,
    "srv": 0o755,
    "srv/www": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/share": 0o755,
    "usr/share/doc": 0o755,
    "var": 0o755,
    "var/log": 0o755,
}
_FILES = {
    "etc/app/app.conf": "port = 8080\nlog = /var/log/app.log\n",
    "etc/group": "root:x:0:\nada:x:1000:\n",
    "etc/motd": "A lab of layers. Nothing here can break.\n",
    "etc/os-release": 'NAME="Layer Lab"\nID=lab\nVERSION_ID=1.0\nPRETTY_NAME="Layer Lab 1.0"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada:/home/ada:/bin/sh\n",
    "home/ada/notes.txt": "whiteouts hide, they don't delete\n",
    "srv/www/index.html": "<!doctype html>\n<title>lab</title>\n<p>It works.\n",
    "srv/www/style.css": "body { font-family: serif }\n",
    "usr/share/doc/README": "".join(f"line {number} of a file that is worth a layer\n" for number in range(1, 101)),
    "var/log/app.log": "started\n",
}
_LINKS = {"srv/www/current": "index.html", "usr/share/doc/motd": "../../../etc/motd"}
_ADA = 1000


def base_tar() -> io.BytesIO:
    """The tar of the image's one layer."""
    out = io.BytesIO()
    for path in sorted([*_DIRECTORIES, *_FILES, *_LINKS]):
        owner = _ADA if path.startswith("home/ada") else 0
        content = _FILES.get(path, "").encode()
        if path in _DIRECTORIES:
            member = Member(f"{path}/".encode(), b"5", _DIRECTORIES[path], owner, owner, mtime=_MTIME)
        elif path in _LINKS:
            member = Member(path.encode(), b"2", 0o777, owner, owner, mtime=_MTIME, linkname=_LINKS[path].encode())
        else:
            member = Member(path.encode(), b"0", 0o644, owner, owner, len(content), _MTIME)
        out.write(header_blocks(member) + content + padding(len(content)))
    out.write(END)
    out.seek(0)
    return out
