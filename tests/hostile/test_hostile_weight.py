"""Records that weigh more than they look: little text that would take much memory or time, and what is cut short."""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_roots import copied
from spoiled import BASE_CHAIN, EDITOR, IMAGE, RECORDS, Ask, Root

from layerscope.errors import CorruptError
from layerscope.formats.json_values import has_more_values
from layerscope.formats.tar.brief_header import brief_headers
from layerscope.formats.tar.split import FileEntry, Segment, read_entries
from layerscope.hostfs import Directory

MB = 1 << 20
MOST_MEMORY = 300 * MB
DICTS = b"[" + b"{}," * (5 * MB) + b"{}]"


_SMALL_PARENT = """
import os, sys
_, status, use = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
print(use.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""The kernel counts what a process had before it became another program: that of the tests would be counted, too."""


def _measured(root: Path, *words: str) -> tuple[int, bytes, int]:
    """Exit code, standard output and the most memory (bytes) of a verb in a process of its own."""
    command = [sys.executable, "-m", "layerscope", "--root", str(root), *words]
    done = subprocess.run([sys.executable, "-S", "-c", _SMALL_PARENT, *command], capture_output=True, check=False)
    return done.returncode, done.stdout, int(done.stderr.split()[-1]) << 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"containers/{EDITOR}/config.v2.json", b'{"X":' + DICTS + b"}"),
        (f"{RECORDS}/repositories.json", b'{"Repositories":' + DICTS + b"}"),
        (f"{RECORDS}/repositories.json", b'{"Repositories":{' + b",".join(b'"%x":1' % n for n in range(MB)) + b"}}"),
    ],
    ids=["container", "names", "keys"],
)
def test_a_record_of_millions_of_values(root: Root, name: str, text: bytes) -> None:
    root.replace(name, text)
    code, out, most = _measured(root.path, "info", "--json")
    assert code == 1
    assert [problem["what"] for problem in json.loads(out)["problems"] if problem["path"] == name]
    assert most < MOST_MEMORY


@pytest.mark.parametrize("text", [DICTS, b"[" + b"{}," * 200_000 + b"{}]"], ids=["millions", "too many"])
def test_a_list_of_millions_of_layers(podman_samples: dict[str, Path], tmp_path: Path, text: bytes) -> None:
    root = copied(podman_samples["overlay"], tmp_path / "root")
    (root / "overlay-layers/layers.json").write_bytes(text)
    code, out, most = _measured(root, "info", "--json")
    assert code == 1
    assert any(problem["path"] == "overlay-layers/layers.json" for problem in json.loads(out)["problems"])
    assert most < MOST_MEMORY


def test_a_database_that_is_mostly_holes(podman_samples: dict[str, Path], tmp_path: Path) -> None:
    root = copied(podman_samples["overlay"], tmp_path / "root")
    before = _measured(root, "ps", "--json")[1]
    os.truncate(root / "db.sql", 90 * MB)
    _, out, most = _measured(root, "ps", "--json")
    assert out == before
    assert most < MOST_MEMORY


def test_a_long_file_is_read_once(tmp_path: Path) -> None:
    with open(tmp_path / "long", "wb") as file:
        file.write(b"begin")
        file.truncate(150 * MB)
    directory = Directory.open_root(tmp_path)
    began = time.monotonic()
    data = directory.read("long", 200 * MB)
    assert time.monotonic() - began < 10  # each piece joined to all before it took minutes
    assert len(data) == 150 * MB
    assert data.startswith(b"begin\0")
    with pytest.raises(CorruptError):
        directory.read("long", 150 * MB - 1)
    directory.close()


@pytest.mark.parametrize(
    "value",
    [
        {},
        [1, 2, 3],
        {"a": [{}, {}, {"b": "x,y{[\\"}], '"': '\\","', "": [[], "\\"]},
        "text, {with} [signs], and \\ \"quotes\"",
        [",,,,,,,,", {"{[,": '"'}],
    ],
)  # fmt: skip
def test_values_are_counted_as_they_are_read(value: object) -> None:
    def signs(part: object) -> int:
        """Brackets and commas that stand before values, told by the values themselves."""
        members = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if members is None else 1 + max(0, len(members) - 1) + sum(map(signs, members))

    text, count = json.dumps(value).encode(), signs(value)
    assert not has_more_values(text, count)
    assert count == 0 or has_more_values(text, count - 1)


def test_many_names_are_no_attack(root: Root, ask: Ask) -> None:
    names = json.loads((root.path / RECORDS / "repositories.json").read_bytes())
    image = names["Repositories"]["layerscope/app"]["layerscope/app:1.0"]
    names["Repositories"]["many"] = {f"many:{number}": image for number in range(20_000)}
    root.replace(f"{RECORDS}/repositories.json", json.dumps(names))
    assert len(json.loads(ask("images", "--json").out)[0]["repo_tags"]) >= 1
    assert any(len(listed["repo_tags"]) > 20_000 for listed in json.loads(ask("images", "--json").out))


def test_headers_in_many_small_segments() -> None:
    member = tarfile.TarInfo("etc/motd")
    member.mode = 0o640
    block = member.tobuf(tarfile.PAX_FORMAT)
    pieces = [Segment(block[at : at + 1]) for at in range(len(block))]
    assert [header.path for header in brief_headers([*pieces, FileEntry("etc/motd", 0, None)], _never)] == ["etc/motd"]
    told: list[str] = []
    many = (Segment(bytes(64)) for _ in range(300_000))
    began = time.monotonic()
    assert not list(brief_headers((*many, FileEntry("x", 0, None)), lambda name, why: told.append(name)))
    assert time.monotonic() - began < 10
    assert told == ["x"]


def _never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


def test_a_tar_record_of_millions_of_empty_streams() -> None:
    began = time.monotonic()
    with pytest.raises(CorruptError, match="members"):
        list(read_entries(io.BytesIO(gzip.compress(b"") * 1_000_000)))
    assert time.monotonic() - began < 10


def test_an_image_without_a_level_that_can_be_read_costs_itself(root: Root, ask: Ask) -> None:
    before = {image["name"] for image in json.loads(ask("waste", "--json").out)}
    root.remove(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}")
    answer = ask("waste", "--json")
    assert answer.code == 1
    after = {image["name"] for image in json.loads(answer.out)}
    assert IMAGE in after < before
    assert "cannot look for waste in layerscope/base:1.0" in answer.err


def test_the_file_system_before_the_first_level(root: Root, ask: Ask, tmp_path: Path) -> None:
    target = tmp_path / "empty"
    assert ask("extract", f"{IMAGE}@0:/", str(target)).code == 0
    assert not list(target.iterdir())


@pytest.mark.parametrize("spoil", ["image/overlay2/layerdb", "overlay2"])
def test_extract_where_no_level_is_left(root: Root, ask: Ask, tmp_path: Path, spoil: str) -> None:
    root.remove(spoil)
    ask("extract", f"{IMAGE}:/", str(tmp_path / "out"))


def test_layers_that_are_each_others_parents(podman_samples: dict[str, Path], tmp_path: Path) -> None:
    root = copied(podman_samples["overlay"], tmp_path / "root")
    path = root / "overlay-layers/layers.json"
    layers = json.loads(path.read_bytes())
    for layer, other in zip(layers, layers[1:] + layers[:1], strict=True):
        layer["parent"] = other["id"]
    path.write_text(json.dumps(layers))
    for thing in (layers[0]["id"], layers[0]["id"][:12], "overlay/" + layers[0]["id"]):
        code, out, most = _measured(root, "whose", thing, "--json")
        assert code in (0, 1)
        assert layers[0]["id"] in {owner["cache_id"] for owner in json.loads(out)}
        assert most < MOST_MEMORY


@pytest.mark.parametrize("name", ["-f", "--help", "a b", "$(id)"])
def test_a_name_is_no_option_of_a_command(root: Root, ask: Ask, name: str) -> None:
    (root.path / "volumes" / name / "_data").mkdir(parents=True)
    listed = json.loads(ask("reclaim", f"volume:{name}", "--json").out)
    words = [shlex.split(command) for command in listed["commands"]]
    expected = ["docker", "volume", "rm", *(["--"] if name.startswith("-") else []), name]
    assert expected in words


def test_a_pool_that_is_none_has_no_block_map(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """Nothing can be answered, so it is not "done, with problems"."""
    root = copied(unpacked("devicemapper/ext4"), tmp_path / "root")
    (root / "devicemapper/devicemapper/metadata").write_bytes(b"no pool")
    container = json.loads(_measured(root, "ps", "--json")[1])[0]["name"]
    assert _measured(root, "blocks", container, "--json")[:2] == (3, b"")
