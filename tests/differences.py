"""Where layerscope's answer about a sample differs from that of its engine, on purpose: the only such list.

Tests that compare with an engine's answers ask :func:`check`; what isn't in the table may not differ.
"""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """What we say more, and what less, than the daemon did; ``reason``: why that is right."""

    more: frozenset[str]
    less: frozenset[str]
    reason: str


def _differs(more: str, less: str, reason: str) -> Difference:
    return Difference(frozenset(more.split()), frozenset(less.split()), reason)


_RUN_DIRECTORY = (
    "podman counts into a container's bytes its folder, and its run directory, which isn't on the disk of a machine "
    "that stopped; layerscope counts the writable layer, as docker does"
)

DIFFERENCES: dict[tuple[str, str, str], Difference] = {
    ("fuse-overlayfs", "diff", "editor"): _differs(
        "D/data/sub/x D/data/sub/y D/data/sub/z",
        "",
        "the daemon didn't list what the replaced directory had hidden, though its own export of the container, and a "
        "new mount of the same directories by fuse-overlayfs, have none of it",
    ),
    ("aufs", "diff", "c4"): _differs(
        "",
        "D/usr/share/doc/.wh..opq",
        "the daemon takes the mark of an opaque directory for the deletion of a file; the directory is listed",
    ),
    ("aufs", "containers of", "lab/a:1"): _differs("3", "2", "c4 was made after the list of images was asked for"),
    **{
        ("podman/overlay", "bytes outside of the layer", name): _differs(str(ours), str(theirs), _RUN_DIRECTORY)
        for name, ours, theirs in (
            ("run1", 20479, 20691),
            ("exit1", 15202, 15415),
            ("fromcommit", 10675, 10893),
            ("orphan", 10664, 10878),
        )
    },
    ("podman/overlay", "mounts of", "created1"): _differs(
        "",
        "/scratch",
        "podman's list has temporary file systems among the mounts, its inspect of the container has not",
    ),
    ("containerd/truth-managed", "number of", "images"): _differs(
        "15", "16", "docker 28 counts an image once for each of its names; its own list of images, and docker 29, don't"
    ),
    ("aufs", "number of", "containers"): _differs("4", "3", "c4 was made after the daemon was asked about itself"),
    ("aufs", "started_at", "c2"): _differs(
        "2026-11-21T20:41:51.99820483Z",
        "2026-11-21T20:41:31.88218715Z",
        "c2 was started again after it was inspected: its record has the later start",
    ),
    ("aufs", "finished_at", "c2"): _differs(
        "2026-11-21T20:41:52.11508395Z",
        "2026-11-21T20:41:31.93560742Z",
        "c2 was started again after it was inspected: its record has the later end",
    ),
    ("aufs", "tree", "c2"): _differs(
        "etc etc/app.conf var/log/app.log",
        "etc etc/app.conf var/log/app.log",
        "c2 was started again after it was exported, as its StartedAt tells: the same bytes, written 21 s later",
    ),
}
"""By sample's folder, question and subject. A space in a path can't occur here."""


def check(folder: str, question: str, subject: str, ours: set[str], theirs: set[str]) -> None:
    """Our answer about a sample is its engine's, but for what the table says."""
    known = DIFFERENCES.get((folder, question, subject), _differs("", "", ""))
    assert (ours - theirs, theirs - ours) == (known.more, known.less), known.reason


def check_one(folder: str, question: str, subject: str, ours: object, theirs: object) -> None:
    """:func:`check` of an answer that is one value."""
    check(folder, question, subject, {str(ours)}, {str(theirs)})
