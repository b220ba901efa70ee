"""``layer pack`` and ``layer unpack``, as programs."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from lab import golden
from lab.facts import facts

# The verb imports it when it is called; without privilege the interpreter may be out of reach.
import layerscope.services.layer_tar  # noqa: F401

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="owners, devices and trusted.* marks need root")


def run(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Exit code, standard output, standard error."""
    command = [sys.executable, "-m", "layerscope", "layer", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    (path / "d").mkdir(parents=True)
    (path / "d/f").write_bytes(b"abc" * 1000)
    (path / "s").symlink_to("d/f")
    for entry in ("d", "d/f", "s"):
        os.utime(path / entry, (5, 5), follow_symlinks=False)
    return path


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("name", ["fuzz-8", "names", "ids", "opaque", "empty"])
def test_pack_prints_dockers_diff_id(name: str, tmp_path: Path) -> None:
    upper = golden.unpacked(name, tmp_path / "upper")
    for engine in golden.TRUTHS:
        told = golden.truth(engine)["vectors"][name]
        rules = golden.commit_rules(name, "20.10", None)  # type: ignore[arg-type]
        passwd, group = tmp_path / "passwd", tmp_path / "group"
        passwd.write_bytes(b"".join(b"%s:x:%d:0::/:\n" % (user, number) for number, user in rules.users.items()))
        group.write_bytes(b"".join(b"%s:x:%d:\n" % (user, number) for number, user in rules.groups.items()))
        target = tmp_path / "layer.tar"
        done = run("pack", upper, "-o", target, "--engine", engine, "--passwd", passwd, "--group", group)
        assert done == (0, f"{told['diff_id']}\n".encode(), "")
        assert "sha256:" + hashlib.sha256(target.read_bytes()).hexdigest() == told["diff_id"]
        assert target.stat().st_size == told["tar_size"]


@pytest.mark.root
@needs_root
def test_the_machines_own_names_are_used_without_files(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/f").touch()
    run("pack", tmp_path / "upper", "-o", tmp_path / "tar", "--engine", "20.10")
    with tarfile.open(tmp_path / "tar") as tar:
        assert [(member.uname, member.gname) for member in tar] == [("root", "root")]


@pytest.mark.root
@needs_root
def test_unpack_is_the_reverse(tmp_path: Path) -> None:
    upper = golden.unpacked("delete-files", tmp_path / "upper")
    _, diff_id, _ = run("pack", upper, "-o", tmp_path / "tar")
    assert run("unpack", tmp_path / "tar", tmp_path / "back") == (0, diff_id, "")
    assert run("pack", tmp_path / "back") == (0, diff_id, "")
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o755


def test_a_tar_goes_through_pipes(upper: Path, tmp_path: Path) -> None:
    _, diff_id, _ = run("pack", upper)
    code, tar, told = run("pack", upper, "-o", "-")
    assert (code, told) == (0, f"layerscope: {diff_id.decode()}")
    assert f"sha256:{hashlib.sha256(tar).hexdigest()}\n".encode() == diff_id
    (tmp_path / "back").mkdir()
    assert run("unpack", "-", tmp_path / "back", stdin=gzip.compress(tar)) == (0, diff_id, "")
    before = {path: (fact.kind, fact.sha256, fact.mtime_ns) for path, fact in facts(upper).items()}
    assert {path: (fact.kind, fact.sha256, fact.mtime_ns) for path, fact in facts(tmp_path / "back").items()} == before


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of nobody's; not below tmp_path, which only root may enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)
        os.chown(folder, 0, 0)


@pytest.mark.root
@needs_root
def test_without_privilege_there_and_back(
    ask: Callable[..., Any], home: Path, tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    _, diff_id, _ = run("pack", golden.unpacked("fuzz-8", tmp_path / "upper"), "-o", home / "tar")
    with nobody():
        unpacked = ask("layer", "unpack", str(home / "tar"), str(home / "back"))
        packed = ask("layer", "pack", str(home / "back"))
    assert (unpacked.code, unpacked.out, unpacked.err) == (0, diff_id, "")
    assert (packed.code, packed.out, packed.err) == (0, diff_id, "")
    assert sorted(os.listdir(home)) == ["back", "back.override_stat.json", "tar"]
    assert {path.lstat().st_uid for path in (home / "back").rglob("*")} == {65534}
    # Root finds the same when it is told that the marks are those of a user.
    assert run("pack", home / "back", "--xattr-prefix", "user") == (0, diff_id, "")


@pytest.mark.root
@needs_root
def test_marks_that_cant_be_seen_are_told(
    ask: Callable[..., Any], home: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    (home / "upper/d").mkdir(parents=True)
    os.setxattr(home / "upper/d", "trusted.overlay.opaque", b"y")
    with nobody():
        answer = ask("layer", "pack", str(home / "upper"))
    assert (answer.code, answer.out[:7]) == (1, b"sha256:")
    assert "this user can't see the marks trusted.overlay.*" in answer.err


@pytest.mark.root
@needs_root
def test_a_device_is_refused_without_privilege(
    ask: Callable[..., Any], home: Path, tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    run("pack", golden.unpacked("devices", tmp_path / "upper"), "-o", home / "tar")
    with nobody():
        answer = ask("layer", "unpack", str(home / "tar"), str(home / "back"))
    assert (answer.code, answer.out) == (4, b"")
    assert "a device node, which this user may not make here; run as root" in answer.err
    assert os.listdir(home) == ["tar"]


# ---------------------------------------------------------------------- refusals
def test_what_is_not_there_is_usage(upper: Path, tmp_path: Path) -> None:
    for arguments in (
        ("pack", tmp_path / "none"),
        ("pack", upper / "d/f"),
        ("pack", upper, "--engine", "new"),
        ("pack", upper, "--engine", "20.10", "--passwd", tmp_path / "none"),
        ("unpack", tmp_path / "none", tmp_path / "back"),
        ("unpack", upper / "d/f", tmp_path / "none/back"),
        ("pack",),
        ("repack",),
    ):
        code, out, told = run(*arguments)
        assert (code, out) == (2, b""), arguments
        assert told.startswith("layerscope: ")
        assert told.count("\n") == 1


def test_a_refused_pack_leaves_no_tar(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(b"old")
    (upper / ".wh.x").touch()
    code, out, told = run("pack", upper, "-o", tmp_path / "tar")
    assert (code, out) == (4, b"")
    assert ".wh.x" in told
    assert (tmp_path / "tar").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["tar", "upper"]


def test_the_tar_is_not_written_into_what_is_packed(upper: Path) -> None:
    code, _, told = run("pack", upper, "-o", upper / "d/layer.tar")
    assert code == 4
    assert "in the directory that is being packed" in told
    assert os.listdir(upper / "d") == ["f"]


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_unpack_leaves_everything_as_it_was(there: bool, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tar", "w") as tar:
        for name in ("fine", "d/fine", "../evil"):
            tar.addfile(tarfile.TarInfo(name))
    if there:
        (tmp_path / "back").mkdir(mode=0o700)
    before = sorted(os.listdir(tmp_path))
    code, out, told = run("unpack", tmp_path / "tar", tmp_path / "back")
    assert (code, out) == (4, b"")
    assert told == "layerscope: cannot unpack ../evil: a name with '..' in it, which is not allowed in a layer\n"
    assert sorted(os.listdir(tmp_path)) == before
    if there:
        assert os.listdir(tmp_path / "back") == []
        assert (tmp_path / "back").stat().st_mode & 0o777 == 0o700


def test_unpack_goes_into_no_directory_that_is_used(upper: Path, tmp_path: Path) -> None:
    run("pack", upper, "-o", tmp_path / "tar")
    before = facts(upper)
    for target in (upper, upper / "d/f", upper / "s"):
        code, out, told = run("unpack", tmp_path / "tar", target)
        assert (code, out) == (4, b"")
        assert "not empty" in told or "no directory" in told
    assert facts(upper) == before


def test_help_names_both() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert b"pack" in out
    assert b"unpack" in out
