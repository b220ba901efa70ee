"""The building verbs at the command line: what they print, and what lies there afterwards."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerscope.formats.tar.split import headers
from layerscope.services.lab.lab import new_lab, open_lab
from layerscope.services.opening.root import open_root

Call = Callable[..., Any]


def images(path: Path) -> dict[str, list[str]]:
    """Image ids with their names."""
    with open_root(path) as session:
        return {usage.image.id: sorted(usage.image.repo_tags) for usage in session.images()}


def test_a_new_lab_is_the_same_each_time(tmp_path: Path, call: Call) -> None:
    said = call("lab", "new", tmp_path / "a" / "lab")
    assert (said.code, said.line) == (0, str(tmp_path / "a" / "lab"))
    assert call("lab", "new", "--empty", tmp_path / "b").code == 0
    new_lab(tmp_path / "c")
    assert images(tmp_path / "a" / "lab") == images(tmp_path / "c") != {}
    assert images(tmp_path / "b") == {}
    assert json.loads((tmp_path / "b" / "layerscope-lab.json").read_text())["version"] == 1
    with open_root(tmp_path / "a" / "lab") as session:
        assert session.problems() == ()


def test_from_create_to_save(lab_path: Path, call: Call, tmp_path: Path) -> None:
    made = call("create", "base:1.0", "--name", "web", root=lab_path).line
    assert len(made) == 64
    assert call("sh", "web", "-c", "echo hi > /hi; rm /etc/motd", root=lab_path).code == 0
    assert call("diff", "web", root=lab_path).out == b"C /etc\nD /etc/motd\nA /hi\n"
    words = ["--created", "2024-02-03T04:05:06Z", "-m", "said", "-c", "CMD echo"]
    image = call("commit", "web", "shop/web", *words, root=lab_path).line
    assert images(lab_path)[image] == ["shop/web:latest"]
    assert call("commit", "web", "shop/other:1", *words, root=lab_path).line == image
    assert images(lab_path)[image] == ["shop/other:1", "shop/web:latest"]
    assert call("tag", image[7:19], "third", root=lab_path).code == 0
    assert images(lab_path)[image] == ["shop/other:1", "shop/web:latest", "third:latest"]
    archives = []
    for form in ("docker", "oci"):
        for number in range(2):
            archives.append(tmp_path / f"{form}{number}.tar")
            name = ("shop/web", image[7:])[number]
            assert call("save", name, "-o", archives[-1], "--format", form, root=lab_path).code == 0
    assert call("rmi", "shop/other:1", root=lab_path).out == b"Untagged: shop/other:1\n"
    assert call("rmi", "third", root=lab_path).out == b"Untagged: third:latest\n"
    said = call("rmi", image[:19], root=lab_path)
    lines = said.out.decode().splitlines()
    assert lines[0] == "Untagged: shop/web:latest" and lines[1] == f"Deleted: {image}" and len(lines) == 3
    for archive, expected in zip(archives, ["shop/web:latest", None] * 2, strict=True):
        said = call("load", archive, root=lab_path)
        assert said.line == (f"Loaded image: {expected}" if expected else f"Loaded image ID: {image}")
        assert images(lab_path)[image] == ([expected] if expected else [])
        assert call("rmi", image, root=lab_path).code == 0
    assert call("rm", "web", root=lab_path).line == "web"
    assert call("rmi", "base:1.0", root=lab_path).code == 0
    for folder in ("overlay2/l", "image/overlay2/layerdb/sha256", "image/overlay2/layerdb/mounts", "containers"):
        assert os.listdir(lab_path / folder) == []
    assert os.listdir(lab_path / "overlay2") == ["l"]


def test_what_is_saved_is_the_same_bytes_each_time(lab_path: Path, call: Call, tmp_path: Path) -> None:
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
        with lab.overlay("web") as overlay:
            overlay.write_bytes("/x", b"x")
        lab.commit("web", "two:1")
    for form in ("docker", "oci"):
        saved = []
        for number in range(2):
            call("save", "two:1", "base:1.0", "-o", tmp_path / f"{form}{number}", "--format", form, root=lab_path)
            saved.append((tmp_path / f"{form}{number}").read_bytes())
        assert saved[0] == saved[1]
        with tarfile.open(fileobj=io.BytesIO(saved[0])) as tar:
            assert {(m.uid, m.gid, m.mtime, m.uname) for m in tar} == {(0, 0, 0, "")}
        piped = call("save", "two:1", "base:1.0", "--format", form, root=lab_path)
        assert piped.out == saved[0]


def test_an_import_keeps_the_tar(lab_path: Path, call: Call, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "f").write_text("content")
    for option, form in (("-cf", "tar"), ("-czf", "tgz"), ("-cJf", "txz")):
        subprocess.run(["tar", option, tmp_path / f"x.{form}", "--sort=name", "-C", tree, "."], check=True)
    found = set()
    for form in ("tar", "tgz", "txz"):
        words = ["-m", "same", "--created", "2024-01-01T00:00:00Z", "-c", "ENV A=1"]
        found.add(call("import", tmp_path / f"x.{form}", f"x:{form}", *words, root=lab_path).line)
    assert len(found) == 1, "the layer is that of the plain tar"
    with open_root(lab_path) as session:
        image = session.find("x:tar").image
        assert image is not None and image.config["config"]["Env"] == ["A=1"]
        record = session.store.tar_split(image.chain_ids[0])
        assert record is not None
        with record:
            assert [header.name for header in headers(record)] == ["./", "./d/", "./d/f"]
    assert call("cat", "x:tar:/d/f", root=lab_path).out == b"content"


def test_copies_in_and_out(lab_path: Path, call: Call, tmp_path: Path) -> None:
    call("create", "base:1.0", "--name", "web", root=lab_path)
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "f").write_text("f")
    (tree / "f").write_text("top")
    (tree / "l").symlink_to("f")
    os.chmod(tree / "f", 0o640)
    os.utime(tree / "f", (5, 5))
    for source, target in (
        (tree, "/new"),
        (tree, "/opt"),
        (f"{tree}/.", "/srv"),
        (tree / "f", "/etc/motd"),
        (tree / "f", "/opt/"),
        (tree / "l", "/opt/"),
    ):
        assert call("cp", source, f"web:{target}", root=lab_path).code == 0, (source, target)
    listed = call("ls", "-R", "--json", "web:/", root=lab_path)
    entries = {entry["path"]: entry for entry in json.loads(listed.out)}
    wanted = "/new/inner/f /opt/tree/inner/f /srv/inner/f /srv/f /opt/f /opt/l /new/l /opt/tree/l"
    assert set(wanted.split()) <= entries.keys()
    assert entries["/etc/motd"]["mode"] == "0640" and entries["/etc/motd"]["mtime"] == "1970-01-01T00:00:05Z"
    assert entries["/opt/l"]["target"] == "f"
    assert {entries[path]["uid"] for path in wanted.split()} == {0}
    for target, words in (
        ("/no/such/place", "No such file"),
        ("/etc/passwd/x", "Not a directory"),
        ("/nodir/", "no dir"),
    ):
        said = call("cp", tree / "f", f"web:{target}", root=lab_path)
        assert said.code == 4 and words in said.err, said.err
    assert call("cp", tree, "web:/etc/passwd", root=lab_path).code == 4
    assert call("cp", "f", "web:/x", root=lab_path).code == 2
    assert call("cp", "/f", "/x", root=lab_path).code == 2
    assert call("cp", "web:/a", "web:/b", root=lab_path).code == 2
    assert call("cp", "web:/new/inner", tmp_path / "out", root=lab_path).code == 0
    assert (tmp_path / "out" / "f").read_text() == "f"
    said = call("cp", "web:/new", "-", root=lab_path)
    with tarfile.open(fileobj=io.BytesIO(said.out)) as tar:
        assert tar.getnames() == ["new", "new/f", "new/inner", "new/inner/f", "new/l"]
    said = call("cp", "web:/etc/motd", "-", root=lab_path)
    with tarfile.open(fileobj=io.BytesIO(said.out)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.size, member.mode) == ("motd", 3, 0o640)


def test_a_tar_from_standard_input(lab_path: Path, tmp_path: Path) -> None:
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("piped")
    tar = subprocess.run(["tar", "-cf", "-", "-C", tmp_path, "a"], capture_output=True, check=True).stdout
    layerscope = [sys.executable, "-m", "layerscope"]
    subprocess.run([*layerscope, "cp", "-", "web:/opt", "--root", lab_path], input=tar, check=True)
    script = b"cat /opt/a/b/f > /copy\necho end >> /copy\n"
    subprocess.run([*layerscope, "sh", "web", "--root", lab_path], input=script, check=True)
    done = subprocess.run([*layerscope, "cat", "web:/copy", "--root", lab_path], capture_output=True, check=True)
    assert done.stdout == b"pipedend\n"


def test_the_shell_at_a_terminal(lab_path: Path, tmp_path: Path) -> None:
    """A prompt, completion with the tab key, a history that stays, names that a terminal can't obey."""
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
        with lab.overlay("web") as overlay:
            overlay.write_bytes("/opt/\x1b]0;evil\x07", b"")
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "dumb", "NO_COLOR": "1"}
    here, there = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "layerscope", "sh", "web", "--root", lab_path],
        **dict.fromkeys(("stdin", "stdout", "stderr"), there),
        env=environment,
        start_new_session=True,
    )
    os.close(there)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(here, 4096)
        seen = seen.partition(text)[2]

    until(b"web:/# ")
    os.write(here, b"cd /home/a\t\n")
    until(b"web:/home/ada# ")
    os.write(here, b"echo 'open\n")
    until(b"no matching '")
    os.write(here, b"ls /opt; pwd > /where\n")
    until(b"\\x1b]0;evil\\x07")
    os.write(here, b"exit\n")
    program.wait(20)
    os.close(here)
    assert program.returncode == 0
    assert "cd /home/ada/" in (tmp_path / "state/layerscope/sh_history").read_text()
    with open_lab(lab_path) as lab, lab.overlay("web") as overlay:
        assert overlay.read_bytes("/where") == b"/home/ada\n"


@pytest.mark.parametrize("name", ["lab", "create", "sh", "cp", "commit", "import", "load", "save", "tag", "rm", "rmi"])
def test_each_verb_tells_how_it_is_used(call: Call, name: str) -> None:
    said = call(name, "--help")
    assert said.code == 0
    assert f"layerscope {name}" in said.out.decode()


def test_several_at_once(lab_path: Path, call: Call) -> None:
    for name in ("one", "two"):
        call("create", "base:1.0", "--name", name, root=lab_path)
    said = call("rm", "one", "nothing", "two", root=lab_path)
    assert said.code == 2
    assert said.out == b"one\ntwo\n"
    assert "no container 'nothing'" in said.err


def test_a_sweep_of_nothing(lab_path: Path, call: Call) -> None:
    said = call("lab", "sweep", root=lab_path)
    assert (said.code, said.out, said.err) == (0, b"", "")
