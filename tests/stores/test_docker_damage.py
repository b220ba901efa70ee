"""Damage that real roots have: each costs its own record, the rest is shown, and a problem names the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.image import Image
from layerscope.model.problem import Problem, Severity
from layerscope.stores.docker.liveness import Liveness
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.records.files import list_directory

BASE = "210cb665d3925aae6d823501529bd42bb1e8eb1588cf4b93e1c542b7d4447265"
SECOND = "2ce8cf7bd7ba9e22235fd151ee4e69c72f3aa61bc7b4f7811dba82af9492138d"
"""Chain IDs of levels 1 and 2 of layerscope/app:1.0, which all other images but the base have, too."""
APP = "8151edbac7a37c6423525f91495a3ee538cc89191961f039a6901af584c57c30"
EDITOR = "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e"
WRITER = "ea5e3b14c41b7814b65b53f9d12a2fdfcde380106f2ee9bd9e8e427b58136c49"
IDLE = "a846d6cd2c287c702bc25983acbbda0dfc526707c6a8a04663adf075501b53af"
IMAGE = "image/overlay2"
CONTENT = f"{IMAGE}/imagedb/content/sha256"
CHAIN = f"{IMAGE}/layerdb/sha256"
MOUNTS = f"{IMAGE}/layerdb/mounts"
NAMES = f"{IMAGE}/repositories.json"


def open_store(root: Path, held: bool | None = False, now: float | None = None) -> DockerStore:
    store = DockerStore(Directory.open_root(root), root, "overlay2", now)
    store.__dict__["liveness"] = Liveness(held, ())
    return store


def image_named(store: DockerStore, name: str) -> Image:
    return next(image for image in store.images() if name in image.repo_tags)


def by_id(store: DockerStore, container: str) -> Container:
    return next(found for found in store.containers() if found.id == container)


def at(problems: tuple[Problem, ...], path: str) -> Problem:
    """The only problem at ``path``."""
    found = [problem for problem in problems if problem.path == path]
    assert len(found) == 1, (path, problems)
    return found[0]


def broken_tags(store: DockerStore) -> list[str]:
    return sorted(tag for image in store.images() if image.broken for tag in image.repo_tags)


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.fixture
def told(sample_truth: Callable[..., Any]) -> dict[str, Any]:
    """Images by ID as the engine answered."""
    return {image["Id"]: image for image in sample_truth("overlay2", "api-images")}


def assert_images_are_whole(store: DockerStore, told: dict[str, Any], but: str = "") -> None:
    for image in store.images():
        if image.id != but:
            assert (image.size, image.broken) == (told[image.id]["Size"], False)
    assert {image.id for image in store.images()} == told.keys()


# ---------------------------------------------------------------------- repositories.json
@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"Repositories": 7}', b"\xff\xfe"])
def test_damaged_names_file_leaves_all_images_untagged(
    records_copy: Path, told: dict[str, Any], content: bytes
) -> None:
    (records_copy / NAMES).write_bytes(content)
    (records_copy / IMAGE / ".tmp-repositories.json123").write_text("{}")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert not any(image.repo_tags for image in store.images())
    problem = at(store.problems(), NAMES)
    assert "without names" in problem.effect and "refuses to start" in problem.effect
    assert ".tmp-repositories.json123" in problem.hint
    assert len(store.containers()) == 3


def test_missing_names_file_is_a_note(records_copy: Path, told: dict[str, Any]) -> None:
    (records_copy / NAMES).unlink()
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert at(store.problems(), NAMES).severity == Severity.NOTE
    assert len(store.problems()) == 1


def test_one_bad_name_costs_that_name(records_copy: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["Repositories"]["layerscope/app"]["layerscope/app:2"] = 17
        record["Repositories"]["x"] = {"UPPER CASE": f"sha256:{APP}", "layerscope/app:3": "../../etc/passwd"}

    edit_json(records_copy / NAMES, change)
    store = open_store(records_copy)
    assert image_named(store, "layerscope/app:1.0").repo_tags == ("layerscope/app:1.0",)
    assert image_named(store, "layerscope/base:1.0").repo_tags == ("layerscope/base:1.0", "layerscope/base:latest")
    told = [problem.what for problem in store.problems() if problem.path == NAMES]
    assert len(told) == 3
    assert any("layerscope/app:2" in what for what in told)
    assert any("UPPER CASE" in what for what in told)
    assert any("/etc/passwd" in what for what in told)


def test_names_are_shown_in_their_familiar_form(records_copy: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        digest = f"sha256:{'7' * 64}"
        record["Repositories"]["alpine"] = {
            "docker.io/library/alpine:3": f"sha256:{APP}",
            "127.0.0.1:5077/app:1.0": f"sha256:{APP}",
            f"127.0.0.1:5077/app@{digest}": f"sha256:{APP}",
        }

    edit_json(records_copy / NAMES, change)
    image = image_named(open_store(records_copy), "layerscope/app:1.0")
    assert image.repo_tags == ("127.0.0.1:5077/app:1.0", "layerscope/app:1.0", "alpine:3")
    assert image.repo_digests == (f"127.0.0.1:5077/app@sha256:{'7' * 64}",)


def test_name_of_a_missing_image_is_listed_as_broken(records_copy: Path, told: dict[str, Any]) -> None:
    (records_copy / CONTENT / APP).unlink()
    store = open_store(records_copy)
    image = image_named(store, "layerscope/app:1.0")
    assert image.broken and image.id == f"sha256:{APP}"
    assert "layerscope/app:1.0" in at(store.problems(), f"{CONTENT}/{APP}").what
    assert_images_are_whole(store, told, but=image.id)
    editor = by_id(store, EDITOR)
    assert len(store.levels(editor)) == 6
    assert "gone" in at(editor.problems, f"containers/{EDITOR}/config.v2.json").what


# ---------------------------------------------------------------------- image configs
@pytest.mark.parametrize("content", [b"", b"  ", b"nonsense", b"null", b"[1]", b'{"rootfs": 5}'])
def test_unreadable_image_config_is_a_broken_image(records_copy: Path, told: dict[str, Any], content: bytes) -> None:
    (records_copy / CONTENT / APP).write_bytes(content)
    store = open_store(records_copy)
    image = image_named(store, "layerscope/app:1.0")
    assert image.broken and image.size is None
    assert {problem.path for problem in image.problems} == {f"{CONTENT}/{APP}"}
    assert_images_are_whole(store, told, but=image.id)
    assert len(store.levels(by_id(store, EDITOR))) == 6


def test_changed_image_config_tells_both_digests(records_copy: Path, told: dict[str, Any]) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record.update(author="somebody else"))
    store = open_store(records_copy)
    image = image_named(store, "layerscope/app:1.0")
    problem = at(image.problems, f"{CONTENT}/{APP}")
    assert f"expected sha256:{APP}" in problem.what and problem.severity == Severity.ERROR
    assert image.author == "somebody else"
    assert image.size == told[f"sha256:{APP}"]["Size"]


def test_config_without_rootfs_still_shows_its_other_fields(records_copy: Path, told: dict[str, Any]) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record.pop("rootfs"))
    image = image_named(open_store(records_copy), "layerscope/app:1.0")
    assert image.broken and any("rootfs" in problem.what for problem in image.problems)
    assert image.config["config"]["Labels"] == told[f"sha256:{APP}"]["Labels"]
    assert [row.created_by for row in image.history if not row.empty_layer][-1].startswith("/bin/tl")


def test_config_under_a_wrong_name_is_a_broken_image(records_copy: Path, told: dict[str, Any]) -> None:
    (records_copy / CONTENT / APP).rename(records_copy / CONTENT / "app.json")
    store = open_store(records_copy)
    image = image_named(store, "layerscope/app:1.0")
    assert image.broken
    assert f"sha256:{APP}" in at(image.problems, f"{CONTENT}/app.json").what
    assert image.size == told[image.id]["Size"]
    assert_images_are_whole(store, told, but=image.id)


def test_copy_of_a_config_is_only_a_problem(records_copy: Path, told: dict[str, Any]) -> None:
    shutil.copy(records_copy / CONTENT / APP, records_copy / CONTENT / "backup")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert at(store.problems(), f"{CONTENT}/backup").severity == Severity.WARNING


def test_one_field_of_a_wrong_type_costs_that_field(records_copy: Path, told: dict[str, Any]) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record.update(author=7, architecture=["amd64"]))
    image = image_named(open_store(records_copy), "layerscope/app:1.0")
    assert image.broken and (image.author, image.architecture) == ("", "")
    assert any("author" in problem.what and "architecture" in problem.what for problem in image.problems)
    assert image.size == told[image.id]["Size"]
    assert "author" not in image.config


def test_bad_diff_id_leaves_the_levels_below(records_copy: Path) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record["rootfs"]["diff_ids"].__setitem__(2, "sha256:../x"))
    store = open_store(records_copy)
    image = image_named(store, "layerscope/app:1.0")
    assert image.broken and image.size is None
    assert [level.chain_id for level in store.levels(image)] == [f"sha256:{BASE}", f"sha256:{SECOND}"]


def test_half_written_config_is_a_note(records_copy: Path, told: dict[str, Any]) -> None:
    (records_copy / CONTENT / f".tmp-{APP}123").write_text("{")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert at(store.problems(), f"{CONTENT}/.tmp-{APP}123").severity == Severity.NOTE


def test_surplus_layers_get_rows_without_a_command(records_copy: Path) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record.update(history=record["history"][:1]))
    image = image_named(open_store(records_copy), "layerscope/app:1.0")
    assert [(row.level, row.created_by, row.size) for row in image.history] == [
        (1, "", 69047),
        (2, "", 26),
        (3, "", 12),
        (4, "", 16),
    ]
    assert image.history[0].comment == "base import" and image.history[1].comment == ""


def test_no_history_at_all_is_legal(records_copy: Path) -> None:
    edit_json(records_copy / CONTENT / APP, lambda record: record.pop("history"))
    image = image_named(open_store(records_copy), "layerscope/app:1.0")
    assert [row.level for row in image.history] == [1, 2, 3, 4]


def test_too_many_history_rows_have_no_layer(records_copy: Path) -> None:
    path = records_copy / CONTENT
    record = json.loads((path / APP).read_text())
    record["history"] += [{"created_by": "one too many"}]
    data = json.dumps(record).encode()
    name = hashlib.sha256(data).hexdigest()
    (path / name).write_bytes(data)
    image = next(image for image in open_store(records_copy).images() if image.id == f"sha256:{name}")
    assert not image.broken
    assert (image.history[-1].level, image.history[-1].size, image.history[-1].empty_layer) == (None, None, False)
    assert "history" in at(image.problems, f"{CONTENT}/{name}").what


def test_bad_parent_link_costs_the_link(records_copy: Path, told: dict[str, Any]) -> None:
    link = f"{IMAGE}/imagedb/metadata/sha256/{APP}/parent"
    (records_copy / link).write_text("../../../etc")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert image_named(store, "layerscope/app:1.0").parent is None
    assert at(store.problems(), link).severity == Severity.WARNING


def test_parents_in_a_circle_are_cut(records_copy: Path, told: dict[str, Any]) -> None:
    base = "21cb9eed2c26e9f201021254617c24ecb8a074eaf1d765617ea24a94c3c4b651"
    metadata = f"{IMAGE}/imagedb/metadata/sha256"
    (records_copy / metadata / base / "parent").write_text(f"sha256:{APP}")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    parents = {image.id: image.parent for image in store.images()}
    for start in parents:
        image: str | None = start
        for _ in parents:
            image = parents.get(image) if image else None  # type: ignore[call-overload]
        assert image is None
    assert at(store.problems(), f"{metadata}/{base}/parent").severity == Severity.WARNING


# ---------------------------------------------------------------------- layers
def test_missing_chain_directory_breaks_what_is_above(records_copy: Path) -> None:
    shutil.rmtree(records_copy / CHAIN / SECOND)
    store = open_store(records_copy)
    assert broken_tags(store) == ["layerscope/app:1.0", "layerscope/committed:1.0"]
    app = image_named(store, "layerscope/app:1.0")
    assert at(app.problems, f"{CHAIN}/{SECOND}").severity == Severity.ERROR
    assert app.size is None
    levels = store.levels(app)
    assert [level.cache_id is None for level in levels] == [False, True, False, False]
    assert levels[1].chain_id == f"sha256:{SECOND}"
    assert [row.size for row in app.history if row.level] == [69047, None, 12, 16]
    assert not image_named(store, "layerscope/base:1.0").broken
    assert at(by_id(store, EDITOR).problems, f"{CHAIN}/{SECOND}").severity == Severity.ERROR
    assert by_id(store, WRITER).problems == ()


@pytest.mark.parametrize("name", ["diff", "size", "cache-id"])
@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"  \n", b"../../../../etc"])
def test_bad_file_of_a_layer(records_copy: Path, name: str, content: bytes) -> None:
    path = f"{CHAIN}/{SECOND}/{name}"
    (records_copy / path).write_bytes(content)
    store = open_store(records_copy)
    assert broken_tags(store) == ["layerscope/app:1.0", "layerscope/committed:1.0"]
    assert at(store.problems(), path).severity == Severity.ERROR
    app = image_named(store, "layerscope/app:1.0")
    level = store.levels(app)[1]
    assert (level.cache_id is None) == (name == "cache-id")
    assert (level.size is None) == (name == "size")
    assert level.diff_id == app.diff_ids[1]
    assert (app.size is None) == (name == "size")


@pytest.mark.parametrize("name", ["diff", "size", "cache-id"])
def test_missing_file_of_a_layer(records_copy: Path, name: str) -> None:
    (records_copy / CHAIN / SECOND / name).unlink()
    store = open_store(records_copy)
    assert broken_tags(store) == ["layerscope/app:1.0", "layerscope/committed:1.0"]
    assert "missing" in at(store.problems(), f"{CHAIN}/{SECOND}/{name}").what


def test_size_with_a_newline_is_no_size(records_copy: Path) -> None:
    """The engine trims no white space there."""
    (records_copy / CHAIN / SECOND / "size").write_text("26\n")
    store = open_store(records_copy)
    assert store.layers()[image_named(store, "layerscope/app:1.0").chain_ids[1]].size is None
    assert broken_tags(store) == ["layerscope/app:1.0", "layerscope/committed:1.0"]


def test_white_space_around_ids_is_fine(records_copy: Path, told: dict[str, Any]) -> None:
    for name in ("diff", "cache-id", "parent"):
        path = records_copy / CHAIN / SECOND / name
        path.write_text(f" {path.read_text()}\n")
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert store.problems() == ()


def test_empty_chain_directory_is_a_missing_layer_with_a_hint(records_copy: Path) -> None:
    for file in (records_copy / CHAIN / SECOND).iterdir():
        file.unlink()
    store = open_store(records_copy)
    assert broken_tags(store) == ["layerscope/app:1.0", "layerscope/committed:1.0"]
    assert "empty directory" in at(store.problems(), f"{CHAIN}/{SECOND}").hint


def test_missing_parent_file_is_repaired_from_the_image(records_copy: Path, told: dict[str, Any]) -> None:
    """docker loads such a layer as a base layer and counts wrong sizes; the image's diff IDs know better."""
    (records_copy / CHAIN / SECOND / "parent").unlink()
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    problem = at(store.problems(), f"{CHAIN}/{SECOND}")
    assert problem.severity == Severity.WARNING and "chain ID" in problem.what
    app = image_named(store, "layerscope/app:1.0")
    assert store.layers()[app.chain_ids[1]].parent == f"sha256:{BASE}"


def test_layer_without_image_on_a_missing_parent(buildkit_root: Path, tmp_path: Path) -> None:
    shutil.copytree(buildkit_root / "image", tmp_path / "image")
    whole = open_store(tmp_path)
    used = {chain for image in whole.images() for chain in image.chain_ids}
    (unused,) = (layer for chain, layer in whole.layers().items() if chain not in used)
    assert unused.parent is not None
    shutil.rmtree(tmp_path / CHAIN / unused.parent.removeprefix("sha256:"))
    store = open_store(tmp_path)
    assert unused.parent in at(store.layers()[unused.chain_id].problems, f"{unused.path}/parent").what


def test_two_layers_of_one_directory_are_flagged(records_copy: Path) -> None:
    shutil.copy(records_copy / CHAIN / BASE / "cache-id", records_copy / CHAIN / SECOND / "cache-id")
    store = open_store(records_copy)
    for chain in (BASE, SECOND):
        assert at(store.problems(), f"{CHAIN}/{chain}/cache-id").severity == Severity.WARNING


@pytest.mark.parametrize(
    "path", [f"{CHAIN}/{'0' * 64}-{'1' * 64}-removing", f"{IMAGE}/layerdb/tmp/write-set-123456", f"{CHAIN}/notes"]
)
def test_leftovers_among_layers_are_notes(records_copy: Path, told: dict[str, Any], path: str) -> None:
    (records_copy / path).mkdir(parents=True)
    store = open_store(records_copy)
    assert_images_are_whole(store, told)
    assert at(store.problems(), path).severity == Severity.NOTE
    assert len(store.layers()) == 5


# ---------------------------------------------------------------------- containers
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_unreadable_container_config(records_copy: Path, content: bytes | None) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    if content is None:
        (records_copy / path).unlink()
    else:
        (records_copy / path).write_bytes(content)
    store = open_store(records_copy)
    editor = by_id(store, EDITOR)
    assert at(editor.problems, path).severity == Severity.ERROR
    assert (editor.name, editor.state, editor.exit_code) == ("", "unknown", None)
    assert editor.log_path == f"containers/{EDITOR}/{EDITOR}-json.log" and editor.log_size == 225
    assert len(store.levels(editor)) == 6 and editor.mount_id is not None
    assert {container.name for container in store.containers()} == {"", "writer", "idle"}


def test_stray_entries_among_containers(records_copy: Path) -> None:
    (records_copy / "containers/stray").mkdir()
    (records_copy / "containers/file").write_text("x")
    store = open_store(records_copy)
    assert len(store.containers()) == 3
    for name in ("stray", "file"):
        assert at(store.problems(), f"containers/{name}").severity == Severity.WARNING


@pytest.mark.parametrize("content", [b"", b"[", b'{"Memory":', b"7"])
def test_bad_host_config_costs_the_host_settings(records_copy: Path, content: bytes) -> None:
    path = f"containers/{EDITOR}/hostconfig.json"
    (records_copy / path).write_bytes(content)
    editor = by_id(open_store(records_copy), EDITOR)
    assert "host settings" in at(editor.problems, path).effect
    assert (editor.name, editor.state) == ("editor", "exited")


def test_missing_host_config_is_legal(records_copy: Path) -> None:
    (records_copy / f"containers/{EDITOR}/hostconfig.json").unlink()
    assert open_store(records_copy).problems() == ()


def test_container_id_that_is_not_its_directory(records_copy: Path) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    edit_json(records_copy / path, lambda record: record.update(ID="f" * 64))
    editor = by_id(open_store(records_copy), EDITOR)
    assert "f" * 64 in at(editor.problems, path).what
    assert editor.name == "editor"


def test_two_containers_of_one_name_are_both_shown(records_copy: Path) -> None:
    edit_json(records_copy / f"containers/{EDITOR}/config.v2.json", lambda record: record.update(Name="/writer"))
    store = open_store(records_copy)
    assert [container.name for container in store.containers()].count("writer") == 2
    for container in (EDITOR, WRITER):
        assert "name" in at(by_id(store, container).problems, f"containers/{container}/config.v2.json").what
    assert by_id(store, IDLE).problems == ()


def test_mount_record_without_container(records_copy: Path) -> None:
    shutil.rmtree(records_copy / "containers" / EDITOR)
    store = open_store(records_copy)
    assert len(store.containers()) == 2
    (orphan,) = store.orphan_mounts()
    problem = at(store.problems(), f"{MOUNTS}/{EDITOR}")
    assert "orphaned container layer" in problem.what
    assert orphan.mount_id and orphan.mount_id in problem.what and EDITOR in problem.what


def test_young_mount_record_without_init_layer_is_a_build_step(records_copy: Path) -> None:
    step = records_copy / MOUNTS / ("b" * 64)
    step.mkdir()
    (step / "mount-id").write_text("c" * 64)
    (step / "parent").write_text(f"sha256:{BASE}")
    os.utime(step, (1_000_000, 1_000_000))
    path = f"{MOUNTS}/{'b' * 64}"
    young = at(open_store(records_copy, held=None, now=1_000_060).problems(), path)
    assert young.what.startswith("build step") and young.severity == Severity.NOTE
    for held, now in ((None, 1_010_000), (False, 1_000_060)):
        old = at(open_store(records_copy, held=held, now=now).problems(), path)
        assert old.what.startswith("orphaned container layer") and "c" * 64 in old.what


def test_container_without_mount_record(records_copy: Path) -> None:
    mount = (records_copy / MOUNTS / EDITOR / "mount-id").read_text()
    shutil.rmtree(records_copy / MOUNTS / EDITOR)
    store = open_store(records_copy)
    editor = by_id(store, EDITOR)
    problem = at(editor.problems, f"{MOUNTS}/{EDITOR}")
    assert problem.severity == Severity.ERROR
    assert f"overlay2/{mount}" in problem.hint
    assert (editor.mount_id, editor.init_id) == (None, None)
    assert [level.cache_id for level in store.levels(editor)][-1] is None
    assert len(store.levels(editor)) == 5
    assert by_id(store, WRITER).problems == ()


@pytest.mark.parametrize("content", [b"", b"../../../etc", b"ABCDEF", b"0" * 63])
def test_malformed_mount_id(records_copy: Path, content: bytes) -> None:
    path = f"{MOUNTS}/{EDITOR}/mount-id"
    (records_copy / path).write_bytes(content)
    store = open_store(records_copy)
    editor = by_id(store, EDITOR)
    assert at(editor.problems, path).severity == Severity.ERROR
    assert editor.mount_id is None and editor.init_id is not None
    assert len(store.levels(editor)) == 6


def test_missing_or_bad_mount_parent_is_taken_from_the_image(records_copy: Path, told: dict[str, Any]) -> None:
    (records_copy / MOUNTS / EDITOR / "parent").unlink()
    (records_copy / MOUNTS / WRITER / "parent").write_text("x")
    store = open_store(records_copy)
    assert len(store.levels(by_id(store, EDITOR))) == 6
    assert len(store.levels(by_id(store, WRITER))) == 3
    assert at(store.problems(), f"{MOUNTS}/{EDITOR}/parent").severity == Severity.WARNING
    assert at(by_id(store, WRITER).problems, f"{MOUNTS}/{WRITER}/parent").severity == Severity.ERROR


def test_mount_parent_other_than_the_images(records_copy: Path) -> None:
    (records_copy / MOUNTS / EDITOR / "parent").write_text(f"sha256:{BASE}")
    store = open_store(records_copy)
    assert len(store.levels(by_id(store, EDITOR))) == 3
    assert at(store.problems(), f"{MOUNTS}/{EDITOR}/parent").severity == Severity.WARNING


def test_interrupted_removal(records_copy: Path) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    edit_json(records_copy / path, lambda record: record["State"].update(RemovalInProgress=True, Dead=True))
    store = open_store(records_copy)
    editor = by_id(store, EDITOR)
    assert editor.state == "removing"
    assert "removed" in at(editor.problems, path).what
    assert store.orphan_mounts() == ()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"Running": True}, "running"),
        ({"Running": True, "Paused": True}, "paused"),
        ({"Running": True, "Restarting": True}, "restarting"),
        ({"Dead": True}, "dead"),
        ({"RemovalInProgress": True}, "removing"),
        ({"StartedAt": "0001-01-01T00:00:00Z"}, "created"),
        ({}, "exited"),
    ],
)
def test_state_words(records_copy: Path, flags: dict[str, Any], word: str) -> None:
    edit_json(records_copy / f"containers/{EDITOR}/config.v2.json", lambda record: record["State"].update(flags))
    assert by_id(open_store(records_copy), EDITOR).state == word


def test_running_in_a_root_that_no_daemon_holds_is_unclean(records_copy: Path) -> None:
    path = records_copy / f"containers/{EDITOR}/config.v2.json"
    edit_json(path, lambda record: record["State"].update(Running=True, Pid=4711))
    assert by_id(open_store(records_copy, held=False), EDITOR).unclean
    assert not by_id(open_store(records_copy, held=True), EDITOR).unclean
    assert not by_id(open_store(records_copy, held=None), EDITOR).unclean
    assert not by_id(open_store(records_copy, held=False), WRITER).unclean


def test_containers_of_another_driver_are_not_in_this_world(records_copy: Path) -> None:
    edit_json(records_copy / f"containers/{EDITOR}/config.v2.json", lambda record: record.update(Driver="vfs"))
    store = open_store(records_copy)
    assert {container.name for container in store.containers()} == {"writer", "idle"}
    assert store.orphan_mounts() == ()


@pytest.mark.parametrize("driver", ["foo", "vfs", "../x\x1b[2J"])
def test_a_container_that_names_another_driver_than_its_layers_is_told(records_copy: Path, driver: str) -> None:
    """docker loads only containers of the driver it runs: it isn't listed, but it doesn't vanish silently."""
    path = f"containers/{EDITOR}/config.v2.json"
    edit_json(records_copy / path, lambda record: record.update(Driver=driver))
    store = open_store(records_copy)
    assert EDITOR not in {container.id for container in store.containers()}
    told = at(store.problems(), path)
    assert "names the driver" in told.what and "writable layer" in told.what
    assert "\x1b" not in told.what


def test_unreadable_container_belongs_to_the_driver_that_has_its_layer(records_copy: Path) -> None:
    (records_copy / f"containers/{EDITOR}/config.v2.json").write_text("")
    other = records_copy / "image/vfs/layerdb/mounts"
    other.mkdir(parents=True)
    (records_copy / MOUNTS / EDITOR).rename(other / EDITOR)
    assert {container.name for container in open_store(records_copy).containers()} == {"writer", "idle"}
    store = DockerStore(Directory.open_root(records_copy), records_copy, "vfs")
    assert [container.id for container in store.containers()] == [EDITOR]


def test_rotated_logs_count(records_copy: Path) -> None:
    directory = records_copy / "containers" / EDITOR
    (directory / f"{EDITOR}-json.log.1").write_bytes(b"x" * 1000)
    (directory / f"{EDITOR}-json.log.2.gz").write_bytes(b"x" * 50)
    (directory / f"{EDITOR}-json.log.backup").write_bytes(b"x" * 7)
    assert by_id(open_store(records_copy), EDITOR).log_size == 225 + 1000 + 50


def test_log_of_the_local_driver(records_copy: Path) -> None:
    directory = records_copy / "containers" / EDITOR
    (directory / f"{EDITOR}-json.log").unlink()
    (directory / "local-logs").mkdir()
    (directory / "local-logs/container.log").write_bytes(b"x" * 30)
    (directory / "local-logs/container.log.1.gz").write_bytes(b"x" * 4)
    edit_json(directory / "config.v2.json", lambda record: record.update(LogPath=""))
    editor = by_id(open_store(records_copy), EDITOR)
    assert (editor.log_path, editor.log_size) == (f"containers/{EDITOR}/local-logs/container.log", 34)


def test_log_copy_of_a_driver_that_cannot_read_back(records_copy: Path) -> None:
    directory = records_copy / "containers" / EDITOR
    (directory / f"{EDITOR}-json.log").rename(directory / "container-cached.log")
    edit_json(directory / "config.v2.json", lambda record: record.update(LogPath=""))
    editor = by_id(open_store(records_copy), EDITOR)
    assert (editor.log_path, editor.log_size) == (f"containers/{EDITOR}/container-cached.log", 225)


def test_bytes_after_the_record_are_ignored_as_docker_does(records_copy: Path) -> None:
    path = f"containers/{EDITOR}/config.v2.json"
    with (records_copy / path).open("a") as file:
        file.write("\0\0\0garbage")
    editor = by_id(open_store(records_copy), EDITOR)
    assert (editor.name, editor.exit_code) == ("editor", 1)
    assert at(editor.problems, path).severity == Severity.WARNING


# ---------------------------------------------------------------------- volumes
def test_volume_without_record_is_a_volume(records_copy: Path) -> None:
    (records_copy / "volumes/adopted/_data").mkdir(parents=True)
    store = open_store(records_copy)
    assert [volume.name for volume in store.volumes()][1:] == ["adopted", "vol1"]
    assert store.problems() == ()


def test_record_without_volume_is_stale(records_copy: Path) -> None:
    shutil.rmtree(records_copy / "volumes/vol1")
    store = open_store(records_copy)
    assert len(store.volumes()) == 1
    assert "vol1" in at(store.problems(), "volumes/metadata.db").what


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_damaged_volume_database_costs_the_labels(records_copy: Path, content: bytes) -> None:
    (records_copy / "volumes/metadata.db").write_bytes(content)
    store = open_store(records_copy)
    assert [volume.labels for volume in store.volumes()] == [{}, {}]
    assert at(store.problems(), "volumes/metadata.db").severity == Severity.ERROR


def test_options_of_a_volume(records_copy: Path) -> None:
    (records_copy / "volumes/nfs/_data").mkdir(parents=True)
    (records_copy / "volumes/nfs/opts.json").write_text(
        '{"MountType":"nfs","MountOpts":"addr=10.0.0.1","MountDevice":":/x","Quota":{"Size":0}}'
    )
    (records_copy / "volumes/broken/_data").mkdir(parents=True)
    (records_copy / "volumes/broken/opts.json").write_text("{")
    (records_copy / "volumes/hollow").mkdir()
    store = open_store(records_copy)
    volumes = {volume.name: volume for volume in store.volumes()}
    assert volumes["nfs"].options == {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/x"}
    assert volumes["broken"].options == {}
    assert at(store.problems(), "volumes/broken/opts.json").severity == Severity.ERROR
    assert at(store.problems(), "volumes/hollow").severity == Severity.WARNING


# ---------------------------------------------------------------------- a daemon at work
@pytest.mark.parametrize("module", ["layers", "mounts", "containers"])
def test_what_vanishes_between_listing_and_reading_is_gone(
    records_copy: Path, told: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_ghost(directory: Directory) -> Any:
        entries = list_directory(directory)
        assert isinstance(entries, list)
        return [*entries, ("9" * 64, "d")]

    monkeypatch.setattr(f"layerscope.stores.docker.{module}.list_directory", with_a_ghost)
    store = open_store(records_copy)
    if module == "layers":
        (records_copy / IMAGE / "layerdb/tmp").mkdir(exist_ok=True)
    assert_images_are_whole(store, told)
    assert len(store.containers()) == 3 and len(store.layers()) == 5 and len(store.mounts()) == 3
    assert not any(problem.severity == Severity.ERROR for problem in store.problems())


# ---------------------------------------------------------------------- whole folders
@pytest.mark.parametrize("folder", ["image", "containers", "volumes", f"{IMAGE}/imagedb", f"{IMAGE}/layerdb"])
def test_missing_folder_costs_what_was_in_it(records_copy: Path, folder: str) -> None:
    shutil.rmtree(records_copy / folder)
    store = open_store(records_copy)
    store.problems()
    assert bool(store.images()) == (folder != "image")
    assert all(image.broken for image in store.images()) == (folder not in ("containers", "volumes"))
    assert bool(store.containers()) == (folder != "containers")
    assert bool(store.volumes()) == (folder != "volumes")
    subjects: list[Image | Container] = [*store.images(), *store.containers()]
    for subject in subjects:
        store.levels(subject)
        store.records(subject)


# ---------------------------------------------------------------------- the build cache
@pytest.mark.parametrize("how", ["link", "fifo", "file"])
def test_build_records_that_no_directory_holds(records_copy: Path, how: str) -> None:
    """The kernel opens none of them as a directory without following links; what they claim isn't known then."""
    folder = records_copy / "buildkit"
    folder.rename(records_copy.parent / "elsewhere")
    if how == "link":
        folder.symlink_to(records_copy.parent / "elsewhere")
    elif how == "fifo":
        os.mkfifo(folder)
    else:
        folder.touch()
    with pytest.raises(OSError):
        os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
    store = open_store(records_copy)
    assert "not a directory" in at(store.build_claims.problems, "buildkit").what
    assert not store.build_claims.complete


def test_a_database_of_the_build_cache_that_is_no_file(records_copy: Path) -> None:
    path = records_copy / "buildkit/snapshots.db"
    path.unlink()
    os.mkfifo(path)
    assert "special file" in at(open_store(records_copy).build_claims.problems, "buildkit/snapshots.db").what
