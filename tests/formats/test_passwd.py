"""Owner names against the C library's own reading of the same files, and lines that Go passes over."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

from layerscope.formats.passwd import group_names, user_names


def test_the_machines_own_users_are_found() -> None:
    listed = {line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines() if ":" in line}
    wanted: dict[int, bytes] = {}
    for user in pwd.getpwall():
        if user.pw_name in listed:  # not those of another source
            wanted.setdefault(user.pw_uid, user.pw_name.encode())
    assert user_names(Path("/etc/passwd").read_bytes()) == wanted
    assert wanted


def test_the_machines_own_groups_are_found() -> None:
    listed = {line.split(":")[0] for line in Path("/etc/group").read_text().splitlines() if ":" in line}
    wanted: dict[int, bytes] = {}
    for group in grp.getgrall():
        if group.gr_name in listed:
            wanted.setdefault(group.gr_gid, group.gr_name.encode())
    assert group_names(Path("/etc/group").read_bytes()) == wanted
    assert wanted


def test_lines_that_go_passes_over() -> None:
    """lookup_unix.go: comments, NIS, missing fields, ids that aren't the plain number asked for."""
    text = b"""
# root:x:1:1::/:/
+nis:x:2:2::/:/
-nis:x:3:3::/:/
:x:4:4::/:/
short:x:5
bad:x:six:6::/:/
odd:x:007:7::/:/
no group:x:8:eight::/:/
  good:x:9:9::/:/
second:x:9:9::/:/
six:x:10:10::/
\xfc:x:11:11::/:/"""
    assert user_names(text) == {9: b"good", 10: b"six", 11: b"\xfc"}
    assert group_names(b"g:x:1:\nh:x:2\n\xfc:x:3:a,b\ng2:x:1:") == {1: b"g", 3: b"\xfc"}
