"""Files in layers that are made to be opened or followed: links, devices, marks with odd values."""

from __future__ import annotations

import os

import pytest
import tree_facts
from sample_roots import truth
from spoiled import CONTAINER, IMAGE, UPPER, VERBS, Ask, Root


@pytest.mark.parametrize("kind", ["fifo", "device", "socket"])
def test_what_is_no_file_is_not_read(root: Root, ask: Ask, kind: str) -> None:
    root.special(f"overlay2/{UPPER}/diff/etc/motd", kind)
    answer = ask("cat", f"{CONTAINER}:/etc/motd")
    assert (answer.code, answer.out) == (2, b"")
    assert answer.err.count("\n") == 1
    for verb in VERBS:
        ask(*verb)


def test_absolute_links_stay_in_the_view(root: Root, ask: Ask) -> None:
    wanted = {entry["name"]: entry["sha256"] for entry in truth("overlay2", "export")["editor"]}["etc/passwd"]
    links = {
        "absolute": "/etc/passwd",
        "data/sub/absolute": "/etc/passwd",
        "dots": "../../../../../../../../etc/passwd",
        "by-link": "/to-etc/passwd",
        "to-etc": "/etc",
    }
    for name, target in links.items():
        (root.upper / name).symlink_to(target)
    for name in ("absolute", "data/sub/absolute", "dots", "by-link"):
        answer = ask("cat", f"{CONTAINER}:/{name}")
        assert answer.code == 0
        assert tree_facts.digest(answer.out) == wanted
    assert b"passwd" in ask("ls", f"{CONTAINER}:/to-etc").out


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/1/root/etc/passwd", "{outside}/secret", "/dev/zero"])
def test_links_to_the_host_lead_nowhere(root: Root, ask: Ask, path: str) -> None:
    target = path.format(outside=root.outside)
    (root.upper / "out").symlink_to(target)
    (root.upper / "relative").symlink_to("../" * 40 + target.lstrip("/"))
    folder = root.upper / "folder"
    folder.symlink_to(os.path.dirname(target))
    for name in ("out", "relative", f"folder/{os.path.basename(target)}"):
        answer = ask("cat", f"{CONTAINER}:/{name}")
        assert (answer.code, answer.out) == (2, b"")
    for verb in VERBS:
        ask(*verb)


def test_links_in_a_circle(root: Root, ask: Ask) -> None:
    (root.upper / "loop").symlink_to("loop")
    (root.upper / "one").symlink_to("other/deeper")
    (root.upper / "other").symlink_to("one")
    for number in range(60):
        (root.upper / f"chain{number}").symlink_to(f"chain{number + 1}")
    for name in ("loop", "one", "chain0"):
        assert ask("cat", f"{CONTAINER}:/{name}").code == 2
        assert ask("ls", f"{CONTAINER}:/{name}/x").code == 2
    for verb in VERBS:
        ask(*verb)


def test_marks_with_odd_values(root: Root, ask: Ask) -> None:
    values = [
        b"",
        b"y",
        b"x",
        b"/../../../outside",
        b"..",
        b"a/b",
        b"/" + b"a" * 300,
        b"\xff\0\n",
        b"/etc",
        b"x" * 3000,
    ]
    for number, value in enumerate(values):
        for mark in ("redirect", "opaque", "metacopy", "whiteout"):
            path = root.upper / "marks" / f"{mark}{number}"
            path.mkdir(parents=True)
            os.setxattr(path, f"trusted.overlay.{mark}", value)
            (path / "file").touch()
            os.setxattr(path / "file", f"trusted.overlay.{mark}", value)
    for verb in VERBS:
        ask(*verb)
    for number in range(len(values)):
        ask("ls", f"{CONTAINER}:/marks/redirect{number}")
        ask("cat", f"{CONTAINER}:/marks/redirect{number}/file")
        ask("cat", f"{CONTAINER}:/marks/metacopy{number}/file")


def test_many_marks_of_the_wrong_kind(root: Root, ask: Ask) -> None:
    """Any process in a container may set ``user.*``: it costs a line or two, not time in the square of their number."""
    for number in range(15_000):
        path = root.upper / "marked" / f"{number:05}"
        path.mkdir(parents=True)
        os.setxattr(path, "user.overlay.opaque", b"y")
    assert ask("diff", IMAGE, CONTAINER).out.count(b"A /marked/") == 15_000
    ask("diff", CONTAINER)
    ask("ls", "-R", CONTAINER)
