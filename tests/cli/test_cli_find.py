"""``find`` on real roots against find(1) over the layers' directories, and what ``cat`` gives for its answers."""

from __future__ import annotations

import os
import stat as modes
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ENTRY = (
    "path name type mode uid gid size mtime nlink link_to target rdev xattrs level chain_id cache_id state hidden"
    " hidden_by ref holders gone"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="marks of the sample are lost when unpacked without root")
pytestmark = [pytest.mark.root, needs_root]


def find1(root: Path, *tests: str) -> Counter[tuple[str, str]]:
    """What find(1) finds below each layer's directory: cache ID and path."""
    found: Counter[tuple[str, str]] = Counter()
    for layer in (root / "overlay2").iterdir():
        if layer.name != "l":
            command = ["find", str(layer / "diff"), "-mindepth", "1", *tests, "-printf", "%P\\0"]
            paths = subprocess.run(command, capture_output=True, check=True).stdout.split(b"\0")[:-1]
            found.update((layer.name, "/" + os.fsdecode(path)) for path in paths)
    return found


def ours(answer: Any) -> Counter[tuple[str, str]]:
    assert (answer.code, answer.err) == (0, "")
    return Counter((entry["cache_id"], entry["path"]) for entry in answer.json)


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit"])
@pytest.mark.parametrize(
    ("words", "tests"),
    [
        (("*",), ()),
        (("m*",), ("-name", "m*")),
        (("M*", "-i"), ("-iname", "m*")),
        (("motd",), ("-name", "motd")),
        (("[a-e]?t*",), ("-name", "[a-e]?t*")),
        (("/etc/[^/]*d$", "--regex"), ("-regex", ".*/etc/[^/]*d")),
        (("*", "--type", "f"), ("-type", "f")),
        (("*", "--type", "d,l"), ("-type", "d,l")),
        (("*", "--size", "+10000"), ("!", "-type", "d", "-size", "+10000c")),
        (("*", "--size", "-12", "--type", "f"), ("-type", "f", "-size", "-12c")),
        (("*", "--size", "25"), ("!", "-type", "d", "-size", "25c")),
        (("*", "--owner", "1000"), ("-uid", "1000")),
        (("*", "--owner", "0:0", "--type", "fifo"), ("-uid", "0", "-gid", "0", "-type", "p")),
        (("*", "--setuid"), ("-perm", "-4000")),
        (("*", "--setgid"), ("-perm", "-2000")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_all_layers_equal_find(
    ask: Any, unpacked: Any, sample: str, words: tuple[str, ...], tests: tuple[str, ...]
) -> None:
    root = unpacked(sample)
    answer = ask("find", *words, "--json", root=root)
    assert ours(answer) == find1(root, *tests)
    order = [(os.fsencode(entry["path"]), -entry["level"]) for entry in answer.json]
    assert order == sorted(order)


def test_capabilities(ask: Any, overlay2_root: Path) -> None:
    told = subprocess.run(
        ["getfattr", "-R", "-h", "-m", "security.capability", "--absolute-names", str(overlay2_root / "overlay2")],
        capture_output=True,
        check=True,
        text=True,
    )
    files = sorted(line.removeprefix("# file: ") for line in told.stdout.splitlines() if line.startswith("# file"))
    found = ask("find", "*", "--cap", "--json", root=overlay2_root).json
    assert files and files == sorted(
        f"{overlay2_root}/overlay2/{entry['cache_id']}/diff{entry['path']}" for entry in found
    )


def test_shape(ask: Any, overlay2_root: Path) -> None:
    found = ask("find", "motd", "--json", root=overlay2_root).json
    assert all(set(entry) == set(ENTRY.split()) for entry in found)
    assert [(entry["level"], entry["state"]) for entry in found] == [
        (6, "modified"),
        (5, "modified"),
        (2, "modified"),
        (1, "plain"),
    ]
    assert "layerscope/base:1.0" in found[-1]["holders"]


@pytest.mark.parametrize("sample", ["overlay2", "vfs", "btrfs", "overlay", "fuse-overlayfs", "aufs"])
def test_deleted_files_can_be_read_by_their_refs(ask: Any, unpacked: Any, sample: str) -> None:
    root = unpacked(sample)
    entries = [entry for entry in ask("find", "*", "--deleted", "--json", root=root).json if entry["type"] == "file"]
    assert entries
    for entry in entries:
        assert entry["gone"] and entry["hidden"] and entry["ref"]
        answer = ask("cat", entry["ref"], root=root)
        assert answer.code == 0 and len(answer.out) == entry["size"], entry["ref"]
        holder = entry["ref"].rpartition("@")[0]
        assert ask("cat", f"{holder}:{entry['path']}", root=root).code == 2, "it is gone from the view"


def test_deleted_bytes_are_those_of_the_layer(ask: Any, overlay2_root: Path) -> None:
    entries = ask("find", "*", "--deleted", "--type", "f", "--json", root=overlay2_root).json
    for entry in entries:
        place = overlay2_root / "overlay2" / entry["cache_id"] / f"diff{entry['path']}"
        assert ask("cat", entry["ref"], root=overlay2_root).out == place.read_bytes()
    assert {"/data/a.txt", "/data/b.txt"} <= {entry["path"] for entry in entries}


def test_deleted_of_a_container_are_dockers_own(ask: Any, overlay2_root: Path) -> None:
    """What ``docker diff`` says that the container deleted is gone and still stored, with all that lay below it."""
    deleted = {line[2:] for line in ask("diff", "editor", root=overlay2_root).lines if line.startswith("D ")}
    stored = {entry["path"] for entry in ask("find", "*", "editor", "--deleted", "--json", root=overlay2_root).json}
    assert deleted and deleted <= stored
    listed = {entry["path"] for entry in ask("ls", "editor", "-R", "--json", root=overlay2_root).json}
    assert not stored & listed


@pytest.mark.parametrize("sample", ["overlay2", "vfs", "btrfs", "overlay", "fuse-overlayfs", "aufs"])
def test_visible_entries_are_those_of_the_view(ask: Any, unpacked: Any, sample: str) -> None:
    root = unpacked(sample)
    ref = "lab/a:1" if sample == "aufs" else "editor"
    found = Counter(entry["path"] for entry in ask("find", "*", ref, "--visible", "--json", root=root).json)
    assert set(found) == {entry["path"] for entry in ask("ls", ref, "-R", "--json", root=root).json}


def test_every_change_is_one_of_ls(ask: Any, overlay2_root: Path) -> None:
    listed = {
        (entry["path"], entry["level"]): entry["state"]
        for entry in ask("ls", "editor", "-R", "--json", root=overlay2_root).json
    }
    for state in ("added", "modified", "metadata", "unchanged", "opaque", "plain"):
        found = ask("find", "*", "editor", "--change", state, "--visible", "--json", root=overlay2_root).json
        mine = {(entry["path"], entry["level"]) for entry in found} & set(listed)
        assert mine == {place for place, listed_state in listed.items() if listed_state == state}, state
    gone = ask("find", "*", "editor", "--change", "deleted", "--json", root=overlay2_root).json
    assert gone and {entry["state"] for entry in gone} == {"whiteout"}


@pytest.mark.parametrize("pattern", ["/etc/m*", "etc/m*", "/*/motd", "**/motd", "/e[st]c/m?td"])
def test_globs_over_paths(ask: Any, overlay2_root: Path, pattern: str) -> None:
    found = ask("find", pattern, "layerscope/base:1.0", "--json", root=overlay2_root).json
    assert "/etc/motd" in {entry["path"] for entry in found}
    assert ask("find", "/*", "layerscope/base:1.0", "--type", "f", "--json", root=overlay2_root).json == []


def test_containerd(ask: Any, containerd_samples: Path) -> None:
    root = containerd_samples / "root/docker"
    snapshots = containerd_samples / "root/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    command = ["find", str(snapshots), "-path", "*/fs/*", "-printf", "%P\\0"]
    paths = subprocess.run(command, capture_output=True, check=True).stdout.split(b"\0")[:-1]
    wanted = Counter(tuple(os.fsdecode(path).split("/fs/", 1)) for path in paths)
    answer = ask("find", "*", "--json", root=root)
    found = Counter((entry["cache_id"], entry["path"].removeprefix("/")) for entry in answer.json)
    assert found == wanted and found


def test_podman(ask: Any, unpacked: Any) -> None:
    root = unpacked("podman/overlay") / "containers/storage"
    wanted: Counter[tuple[str, str]] = Counter()
    for layer in (root / "overlay").iterdir():
        if (layer / "diff").is_dir() and layer.name != "l":
            command = ["find", str(layer / "diff"), "-mindepth", "1", "-printf", "/%P\\0"]
            paths = subprocess.run(command, capture_output=True, check=True).stdout.split(b"\0")[:-1]
            wanted.update((layer.name, os.fsdecode(path)) for path in paths)
    answer = ask("find", "*", "--json", root=root)
    assert wanted and Counter((entry["cache_id"], entry["path"]) for entry in answer.json) == wanted


def test_layers_that_nobody_has(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    from containerd_roots import copy

    root = copy(overlay2_root, tmp_path / "copy")
    (root / "overlay2" / "left-over" / "diff").mkdir(parents=True)
    (root / "overlay2" / "left-over" / "diff" / "evidence").write_bytes(b"e")
    (entry,) = ask("find", "evidence", "--json", root=root).json
    assert (entry["cache_id"], entry["ref"], entry["holders"]) == ("left-over", None, ["unclaimed left-over"])


def test_hostile_names(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    from containerd_roots import copy

    root = copy(overlay2_root, tmp_path / "copy")
    levels = ask("stack", "editor", "--no-counts", "--json", root=root).json
    top, base = (os.fsencode(root / levels[where]["path"]) for where in (0, -1))
    names = [b"\xff\xfe", b"\x1b]0;t\x07", b"a\nb", b"@3:", b".wh.x", b"-delete", b"[z]"]
    for name in names:
        with open(base + b"/" + name, "wb") as file:
            file.write(name)
        os.mknod(top + b"/" + name, modes.S_IFCHR, 0)
    found = ask("find", "*", "editor", "--deleted", "--type", "f", "--json", root=root).json
    told = {bytes(entry["path_base64"], "ascii") if "path_base64" in entry else entry["path"] for entry in found}
    assert {f"/{name.decode()}" for name in names[1:]} <= told
    for name in names:
        answer = ask("cat", os.fsdecode(b"editor@1:/" + name), root=root)
        assert answer.out == name
    (entry,) = ask("find", "[[]z]", "editor", "--deleted", "--json", root=root).json
    assert entry["ref"] == "editor@1:/[z]"


@pytest.mark.parametrize(
    "words",
    [
        ("(", "--regex"),
        ("*", "nothing"),
        ("*", "--type", "x"),
        ("*", "--size", "big"),
        ("*", "--change", "eaten"),
        ("*", "--owner", "root"),
        ("*", "--deleted", "--visible"),
    ],
)
def test_wrong_words(ask: Any, overlay2_root: Path, words: tuple[str, ...]) -> None:
    answer = ask("find", *words, root=overlay2_root)
    assert (answer.code, answer.out) == (2, b"") and len(answer.err.splitlines()) == 1


def test_no_hit_is_no_error(ask: Any, overlay2_root: Path) -> None:
    answer = ask("find", "no such name", root=overlay2_root)
    assert (answer.code, answer.out, answer.err) == (0, b"", "")
    assert ask("find", "no such name", "--json", root=overlay2_root).json == []


def test_text(ask: Any, overlay2_root: Path) -> None:
    lines = ask("find", "a.txt", "layerscope/committed:1.0", root=overlay2_root).lines
    assert len(lines) == 2
    assert lines[1].endswith("layerscope/committed:1.0@1:/data/a.txt  (hidden by level 5)")
