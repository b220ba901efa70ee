"""A sample unpacked and read by a user without any right: device whiteouts still count, lost marks are told."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat as modes
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tree_facts
from sample_roots import DATA, truth

SAMPLE = "overlay2"
NOBODY = 65534
CHECKOUT = Path(__file__).parents[1]


class User(NamedTuple):
    """Somebody without any right, and a Python that they may run."""

    python: str
    arguments: dict[str, Any]

    def run(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
        """What a command of theirs says."""
        path = os.pathsep.join([str(CHECKOUT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": path, "LANG": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, check=False, cwd=folder, env=environment, **self.arguments)


def _give_up_capabilities() -> None:
    """Root without any capability: exec gives a process nothing that is not in its bounding set."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in range(64):
        prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; EINVAL past the last one


def _users() -> Iterator[User]:
    """Whoever may be without rights here: this user, or nobody, or (if nobody may run Python) root without a right."""
    if os.geteuid() != 0:
        yield User(sys.executable, {})
        return
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    yield User(sys.executable, nobody)
    yield User(f"/usr/bin/python3.{sys.version_info.minor}", nobody)
    yield User(sys.executable, {"preexec_fn": _give_up_capabilities})


def _find_user(folder: Path) -> User:
    for user in _users():
        try:
            if user.run([user.python, "-c", "import msgspec, layerscope.cli.main"], folder).returncode == 0:
                return user
        except OSError:
            continue
    raise AssertionError("not even this user can run layerscope")


class Unpacked(NamedTuple):
    """The sample as a user without rights has it."""

    root: Path
    user: User

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """The program, run by that user."""
        command = [self.user.python, "-m", "layerscope", "--root", str(self.root), *arguments]
        return self.user.run(command, self.root.parent)

    def answer(self, *arguments: str) -> Any:
        """Its answer in JSON, whatever it has to tell beside it."""
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1), done
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sample() -> Iterator[Unpacked]:
    """The sample, unpacked without privilege."""
    # Not below pytest's own folder: only its owner may enter that.
    folder = Path(tempfile.mkdtemp(prefix="lsu-"))
    try:
        folder.chmod(0o755)
        user = _find_user(folder)
        root, archive = folder / "root", folder / "root.tar.gz"
        root.mkdir()
        archive.write_bytes((DATA / SAMPLE / "root.tar.gz").read_bytes())
        for path in (folder, root, archive):
            os.chown(path, user.arguments.get("user", -1), -1)
        user.run(["tar", "-xf", str(archive), "-C", str(root), "--no-same-owner"], folder)
        assert (root / "image").is_dir()
        if not any(modes.S_ISCHR(path.lstat().st_mode) for path in (root / "overlay2").rglob("*")):
            pytest.skip("this kernel (before 5.8) lets nobody make whiteouts without privilege")
        yield Unpacked(root, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def opaque_directories(answers: dict[str, Any]) -> dict[str, set[str]]:
    """By diff ID of a layer, the opaque directories that the engine's tar of that layer names."""
    found: dict[str, set[str]] = {}
    for saved in answers.values():
        for layer in saved["layers"]:
            names = [entry["name"].removeprefix("./") for entry in layer["entries"]]
            found[layer["diff_id"]] = {
                name.removesuffix("/.wh..wh..opq") for name in names if name.endswith("/.wh..wh..opq")
            }
    return {layer: paths for layer, paths in found.items() if paths}


def test_info_says_what_cannot_be_seen(sample: Unpacked) -> None:
    told = sample.answer("info")
    assert any("opaque" in text and "trusted.overlay" in text for text in told["unseen"])


def test_each_lost_mark_of_an_image_layer_is_named(sample: Unpacked) -> None:
    wanted = opaque_directories(truth(SAMPLE, "save-layers"))
    assert wanted, "the sample has opaque directories"
    paths = {
        f"{level['path']}/{path}"
        for tag in truth(SAMPLE, "save-layers")
        for level in sample.answer("stack", tag)
        if level["level"] > 1
        for path in wanted.get(level["diff_id"], ())
    }
    assert len(paths) > 1
    told = {problem["path"] for problem in sample.answer("info")["problems"] if "opaque mark" in problem["what"]}
    assert told == paths
    assert not [problem for problem in sample.answer("info")["problems"] if "whiteout" in problem["what"]]


def test_a_container_shows_all_and_only_too_much_below_opaque_directories(sample: Unpacked) -> None:
    wanted = tree_facts.of_export_truth(truth(SAMPLE, "export")["editor"])
    shown = tree_facts.of_json(sample.answer("ls", "-R", "editor"))
    assert wanted.keys() <= shown.keys()
    # In the sample these directories are opaque in one of the container's levels.
    below = [path for path in shown.keys() - wanted.keys() if not path.startswith(("data/sub/", "opt/old/"))]
    assert shown.keys() > wanted.keys()
    assert below == []
    for path, fact in wanted.items():
        assert (shown[path].type, shown[path].size) == (fact.type, fact.size), path


def test_device_whiteouts_hide(sample: Unpacked) -> None:
    deleted = [line[2:] for line in truth(SAMPLE, "diff")["editor"] if line.startswith("D /")]
    in_opaque = [path for path in deleted if path.startswith("/data/sub/")]
    shown = {entry["path"] for entry in sample.answer("ls", "-R", "editor")}
    assert len(deleted) > len(in_opaque)
    assert shown.isdisjoint(set(deleted) - set(in_opaque))


@pytest.mark.parametrize(
    "verb",
    [
        ("info",),
        ("images",),
        ("ps",),
        ("history", "layerscope/app:1.0"),
        ("stack", "editor"),
        ("diff", "editor"),
        ("diff", "layerscope/base:1.0", "layerscope/app:1.0"),
        ("ls", "-R", "--all", "editor"),
        ("blame", "editor:/etc/motd"),
        ("explain", "editor:/data/sub"),
        ("whose", "overlay2"),
        ("inspect", "editor"),
    ],
    ids=lambda verb: " ".join(verb),
)
def test_no_verb_fails(sample: Unpacked, verb: tuple[str, ...]) -> None:
    done = sample.run(*verb)
    assert done.returncode in (0, 1), done
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr


def test_export_leaves_out_nothing_that_can_be_read(sample: Unpacked) -> None:
    done = sample.run("export", "writer")
    assert done.returncode in (0, 1), done
    shown = {entry["path"].removeprefix("/") for entry in sample.answer("ls", "-R", "writer")}
    assert tree_facts.of_tar(done.stdout).keys() == shown


def test_directories_that_may_not_be_read_are_told(sample: Unpacked) -> None:
    inspected = truth(SAMPLE, "inspect-containers")
    upper = next(entry for entry in inspected if entry["Name"] == "/editor")["GraphDriver"]["Data"]["UpperDir"]
    closed = sample.root / upper.removeprefix("/var/lib/docker/") / "new" / "deep"
    mode = modes.S_IMODE(closed.lstat().st_mode)
    closed.chmod(0)
    try:
        if (
            sample.user.run(
                [sample.user.python, "-c", f"import os; os.listdir({str(closed)!r})"], sample.root
            ).returncode
            == 0
        ):
            pytest.skip("this user may read everything")
        listed = sample.run("ls", "-R", "editor")
        exported = sample.run("export", "editor")
        changed = sample.run("diff", "editor")
    finally:
        closed.chmod(mode)
    for done in (listed, exported, changed):
        assert done.returncode == 1
        assert b"new/deep" in done.stderr and b"Permission denied" in done.stderr
    assert b"/new/deep/\n" in listed.stdout and b"/new/deep/f" not in listed.stdout
    assert "sticky/t" in tree_facts.of_tar(exported.stdout)
    assert b"A /new/deep\n" in changed.stdout


def test_records_are_listed_where_the_folder_of_layers_is_closed(sample: Unpacked) -> None:
    """A daemon leaves overlay2 with mode 0710, which closes it to everybody else."""
    closed = sample.root / "overlay2"
    mode = modes.S_IMODE(closed.lstat().st_mode)
    closed.chmod(0)
    try:
        listing = [sample.user.python, "-c", f"import os; os.listdir({str(closed)!r})"]
        if sample.user.run(listing, sample.root).returncode == 0:
            pytest.skip("this user may read everything")
        images, containers = sample.run("images", "--json"), sample.run("ps", "--json")
    finally:
        closed.chmod(mode)
    told = truth(SAMPLE, "inspect-containers")
    assert {(one["id"], one["size_rw"]) for one in json.loads(containers.stdout)} == {(one["Id"], None) for one in told}
    assert json.loads(images.stdout)
    for done in (images, containers):
        assert done.returncode == 1
        assert b"overlay2" in done.stderr and b"can't be listed: Permission denied" in done.stderr
