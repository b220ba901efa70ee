"""Records made by an attacker: nothing is followed, opened or believed, nothing but the record is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from layerscope.errors import LayerscopeError
from layerscope.formats.nesting import NESTING
from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.stores.detect import choose_driver, detect, open_directory
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import RUN_AS_ROOT, SHORT
from layerscope.stores.records.json_record import LIMIT

BASE = "210cb665d3925aae6d823501529bd42bb1e8eb1588cf4b93e1c542b7d4447265"
APP = "8151edbac7a37c6423525f91495a3ee538cc89191961f039a6901af584c57c30"
EDITOR = "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e"
IMAGE = "image/overlay2"

FILES = [
    f"{IMAGE}/repositories.json",
    f"{IMAGE}/imagedb/content/sha256/{APP}",
    f"{IMAGE}/imagedb/metadata/sha256/{APP}/parent",
    f"{IMAGE}/layerdb/sha256/{BASE}/diff",
    f"{IMAGE}/layerdb/sha256/{BASE}/size",
    f"{IMAGE}/layerdb/sha256/{BASE}/cache-id",
    f"{IMAGE}/layerdb/mounts/{EDITOR}/mount-id",
    f"{IMAGE}/layerdb/mounts/{EDITOR}/init-id",
    f"{IMAGE}/layerdb/mounts/{EDITOR}/parent",
    f"containers/{EDITOR}/config.v2.json",
    f"containers/{EDITOR}/hostconfig.json",
    "volumes/metadata.db",
    "volumes/vol1/opts.json",
]
FOLDERS = [
    "image",
    "containers",
    "volumes",
    IMAGE,
    f"{IMAGE}/imagedb",
    f"{IMAGE}/imagedb/content/sha256",
    f"{IMAGE}/layerdb/sha256",
    f"{IMAGE}/layerdb/sha256/{BASE}",
    f"{IMAGE}/layerdb/mounts",
    f"{IMAGE}/layerdb/mounts/{EDITOR}",
    f"containers/{EDITOR}",
    "volumes/vol1",
]


def read_everything(root: Path) -> DockerStore:
    """Ask everything; nothing but our own errors may come out, and here not even those."""
    store = DockerStore(Directory.open_root(root), root, "overlay2")
    store.problems()
    subjects: list[Image | Container] = [*store.images(), *store.containers()]
    for subject in subjects:
        store.levels(subject)
    json.dumps([store.records(subject) for subject in subjects])
    assert store.engine.version == "" or store.engine.version[0].isdigit()
    assert len(store.volumes()) <= 2
    detect(store.root, root)
    return store


def named(store: DockerStore, path: str) -> list[str]:
    return [problem.what for problem in store.problems() if problem.path == path]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    outside = next(parent for parent in path.parents if parent.name == "root").parent
    target = outside / "elsewhere"
    target.write_text('{"ID": "from outside", "rootfs": {"diff_ids": []}}')
    path.symlink_to(target)


def make_looping_link(path: Path) -> None:
    path.symlink_to(path.name)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # the address of a socket has at most 107 bytes
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def make_gigantic(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS = [make_fifo, make_directory, make_link, make_looping_link, make_socket, make_gigantic]


@pytest.mark.parametrize("make", KINDS, ids=[kind.__name__ for kind in KINDS])
@pytest.mark.parametrize("path", FILES)
def test_anything_but_a_file_is_a_problem_of_that_record(
    records_copy: Path, path: str, make: Callable[[Path], None]
) -> None:
    (records_copy / path).unlink(missing_ok=True)
    make(records_copy / path)
    store = read_everything(records_copy)
    assert len(named(store, path)) == 1, store.problems()
    assert len(store.images()) == 8 and len(store.containers()) == 3
    assert not any("from outside" in str(container.config) for container in store.containers())


@pytest.mark.parametrize("path", FOLDERS)
def test_linked_folder_is_not_followed(records_copy: Path, path: str) -> None:
    aside = records_copy.parent / "aside"
    (records_copy / path).rename(aside)
    (records_copy / path).symlink_to(aside)
    store = read_everything(records_copy)
    assert any(problem.path.startswith(path) for problem in store.problems())
    if path.startswith("containers"):
        assert len(store.containers()) < 3
    if path == "image" or path.endswith("content/sha256"):
        assert not any(image.config for image in store.images())


@pytest.mark.parametrize("path", FOLDERS)
def test_fifo_in_place_of_a_folder(records_copy: Path, path: str) -> None:
    shutil.rmtree(records_copy / path)
    os.mkfifo(records_copy / path)
    store = read_everything(records_copy)
    assert any(problem.path.startswith(path) for problem in store.problems())


@pytest.mark.parametrize("depth", [NESTING + 1, 900, 5_000, 200_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deeply_nested_json(records_copy: Path, depth: int, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    bomb = b'{"config":' + opening * depth + b"1" + closing * depth + b"}"
    for path in (f"{IMAGE}/imagedb/content/sha256/{APP}", f"containers/{EDITOR}/config.v2.json"):
        (records_copy / path).write_bytes(bomb)
    store = read_everything(records_copy)
    for path in (f"{IMAGE}/imagedb/content/sha256/{APP}", f"containers/{EDITOR}/config.v2.json"):
        assert any("nested" in what for what in named(store, path))


def test_nesting_up_to_the_limit_is_read(records_copy: Path) -> None:
    path = records_copy / f"containers/{EDITOR}/config.v2.json"
    record = json.loads(path.read_text())
    nested: Any = 1
    for _ in range(NESTING - 1):
        nested = [nested]
    path.write_text(json.dumps({**record, "Unknown": nested}))
    assert read_everything(records_copy).problems() == ()
    path.write_text(json.dumps({**record, "Unknown": [nested]}))
    assert read_everything(records_copy).problems() != ()


@pytest.mark.parametrize(
    "value",
    [b"\xff\xfe", b"\\ud800", b"\\udc00\\ud800", b"\x01", b"\\u0000", b"\xed\xa0\x80", b"\x1b[2J"],
    ids=["latin", "half pair", "pair turned round", "control", "nul", "surrogate bytes", "escape"],
)
def test_texts_that_are_not_text(records_copy: Path, value: bytes) -> None:
    path = records_copy / f"containers/{EDITOR}/config.v2.json"
    path.write_bytes(path.read_bytes().replace(b'"Name":"/editor"', b'"Name":"/' + value + b'"'))
    store = read_everything(records_copy)
    editor = next(container for container in store.containers() if container.id == EDITOR)
    editor.name.encode()  # no lone surrogate gets out
    assert editor.exit_code == 1 and editor.state == "exited"
    assert all(problem.what.isprintable() for problem in store.problems())


NUMBERS: list[Any] = [7, -1, 1.5, True, [], {}, None, "x" * 100_000, 10**40, [[["x"]]], {"a": {"b": 1}}]


@pytest.mark.parametrize("value", NUMBERS, ids=[str(value)[:12] for value in NUMBERS])
def test_any_type_in_any_field(records_copy: Path, value: Any) -> None:
    for path in (f"{IMAGE}/imagedb/content/sha256/{APP}", f"containers/{EDITOR}/config.v2.json"):
        original = (records_copy / path).read_text()
        fields = json.loads(original)
        for field in fields:
            (records_copy / path).write_text(json.dumps({**fields, field: value}))
            store = read_everything(records_copy)
            assert len(store.images()) == 8
            assert len(store.containers()) >= 2  # without its driver a container may belong to another world
        (records_copy / path).write_text(original)


@pytest.mark.parametrize("number", ["1e400", "9" * 6000, "-0", "NaN", "Infinity"])
def test_odd_numbers(records_copy: Path, number: str) -> None:
    path = records_copy / f"containers/{EDITOR}/config.v2.json"
    path.write_text(path.read_text().replace('"ExitCode":1', f'"ExitCode":{number}'))
    store = read_everything(records_copy)
    assert {container.name for container in store.containers()} >= {"writer", "idle"}


@pytest.mark.parametrize(
    "log",
    ["/etc/shadow", "/x/containers/../../etc/shadow", f"/x/containers/{EDITOR}/../../../etc/shadow", "\0", "a" * 99],
)
def test_log_path_never_leaves_the_container(records_copy: Path, log: str) -> None:
    path = records_copy / f"containers/{EDITOR}/config.v2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "LogPath": log}))
    store = read_everything(records_copy)
    editor = next(container for container in store.containers() if container.id == EDITOR)
    assert editor.log_path == f"containers/{EDITOR}/{EDITOR}-json.log"
    assert any("log" in what for what in named(store, f"containers/{EDITOR}/config.v2.json"))


def test_linked_log_is_not_counted(records_copy: Path) -> None:
    log = records_copy / f"containers/{EDITOR}/{EDITOR}-json.log"
    log.unlink()
    log.symlink_to("/etc/passwd")
    store = read_everything(records_copy)
    editor = next(container for container in store.containers() if container.id == EDITOR)
    assert editor.log_size == 0


@pytest.mark.parametrize("cache_id", ["../../../../etc", "/etc", "..", ".", "a/b", "x" * 300, "a\nb", "a\0b"])
def test_cache_ids_are_single_names(records_copy: Path, cache_id: str) -> None:
    path = f"{IMAGE}/layerdb/sha256/{BASE}/cache-id"
    (records_copy / path).write_text(cache_id)
    store = read_everything(records_copy)
    assert store.layers()[f"sha256:{BASE}"].cache_id is None  # type: ignore[index]
    assert len(named(store, path)) == 1


def test_names_with_odd_bytes_are_shown_as_problems(records_copy: Path) -> None:
    names = [b"\xff\xfe", b"a\nb", b"x" * 255, b"\x1b[31m"]
    for folder in ("containers", f"{IMAGE}/layerdb/sha256", f"{IMAGE}/layerdb/mounts", f"{IMAGE}/layerdb/tmp"):
        (records_copy / folder).mkdir(exist_ok=True)
        for name in names:
            os.mkdir(os.fsencode(records_copy / folder) + b"/" + name)
    for name in names:
        (Path(os.fsdecode(os.fsencode(records_copy / IMAGE / "imagedb/content/sha256") + b"/" + name))).write_text("{")
    store = read_everything(records_copy)
    assert len(store.images()) == 8 and len(store.containers()) == 3 and len(store.layers()) == 5
    assert sum(problem.path.startswith("containers/") for problem in store.problems()) == len(names)
    assert all(problem.what.isprintable() for problem in store.problems())


def test_ids_with_upper_case_or_wrong_length_are_none(records_copy: Path) -> None:
    for name in (EDITOR.upper(), EDITOR[:-1], EDITOR + "0"):
        shutil.copytree(records_copy / "containers" / EDITOR, records_copy / "containers" / name)
    assert len(read_everything(records_copy).containers()) == 3


def test_a_long_history_and_many_layers_are_bounded(records_copy: Path) -> None:
    path = records_copy / f"{IMAGE}/imagedb/content/sha256/{APP}"
    record = json.loads(path.read_text())
    record["rootfs"]["diff_ids"] = [f"sha256:{number:064x}" for number in range(100_000)]
    path.write_text(json.dumps(record))
    began = time.monotonic()
    store = read_everything(records_copy)
    assert time.monotonic() - began < 5
    image = next(image for image in store.images() if image.id == f"sha256:{APP}")
    assert len(image.chain_ids) == 1000 and image.broken and image.size is None


def test_layers_in_a_circle(records_copy: Path) -> None:
    """Only records that no image speaks of can be wrong about their parent; a circle there ends."""
    first, second = "a" * 64, "b" * 64
    for name, parent in ((first, second), (second, first)):
        folder = records_copy / f"{IMAGE}/layerdb/sha256/{name}"
        folder.mkdir()
        (folder / "diff").write_text(f"sha256:{'d' * 64}")
        (folder / "parent").write_text(f"sha256:{parent}")
        (folder / "cache-id").write_text(name)
        (folder / "size").write_text("1")
    (records_copy / f"{IMAGE}/layerdb/mounts/{EDITOR}/parent").write_text(f"sha256:{first}")
    store = read_everything(records_copy)
    editor = next(container for container in store.containers() if container.id == EDITOR)
    assert len(store.levels(editor)) == 4


def test_one_line_records_are_short(records_copy: Path) -> None:
    path = f"{IMAGE}/layerdb/sha256/{BASE}/cache-id"
    (records_copy / path).write_text((records_copy / path).read_text() + " " * SHORT)
    assert named(read_everything(records_copy), path) == [f"is longer than {SHORT} bytes, which no such record is"]


def test_large_records_are_refused_before_they_are_parsed(records_copy: Path) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    with (records_copy / path).open("ab") as file:
        file.write(b" " * LIMIT)
    assert named(read_everything(records_copy), path) == [f"is longer than {LIMIT} bytes, which no such record is"]


def test_many_bad_labels_make_one_short_problem(records_copy: Path) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    record = json.loads((records_copy / path).read_text())
    record["Config"]["Labels"] = {**{f"l{number}": number for number in range(50_000)}, "good": "yes"}
    (records_copy / path).write_text(json.dumps(record))
    store = read_everything(records_copy)
    editor = next(container for container in store.containers() if container.id == EDITOR)
    assert editor.labels == {"good": "yes"}
    (what,) = named(store, path)
    assert len(what) < 1000 and "more" in what


@pytest.mark.parametrize("driver", ["../overlay2", "a/b", "..", "", "none"])
def test_driver_that_is_not_there(overlay2_root: Path, driver: str) -> None:
    root = open_directory(overlay2_root)
    with pytest.raises(LayerscopeError):
        choose_driver(detect(root, overlay2_root), overlay2_root, driver)


@pytest.mark.parametrize("path", [*FILES[:-1], "image", f"{IMAGE}/imagedb/content/sha256", "containers", "volumes"])
def test_unreadable_record_without_privilege(
    records_copy: Path, path: str, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    for folder, folders, files in os.walk(records_copy):
        for name in (*folders, *files):
            (Path(folder) / name).chmod(0o755)
    (records_copy / path).chmod(0)
    store = DockerStore(Directory.open_root(records_copy), records_copy, "overlay2")
    with nobody():
        problems = store.problems()
        assert any(problem.path.startswith(path) and problem.hint == RUN_AS_ROOT for problem in problems), problems
    (records_copy / path).chmod(0o755)
