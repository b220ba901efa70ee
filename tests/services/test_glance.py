"""What is told of a root with many containers before its records are read: little is read for it, and it is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from many_roots import digest, make_root

from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.subject import Subject
from layerscope.services.glance import glance, whole
from layerscope.services.opening.root import open_root
from layerscope.services.session import Session

COUNT = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "root"
    make_root(path, COUNT)
    return path


def listed(session: Session) -> list[tuple[str, ...]]:
    return [told(usage.container) for usage in session.containers(sizes=False)]


def told(one: Container) -> tuple[str, ...]:
    return one.id, one.name, one.image, str(one.image_id), one.state, str(one.created)


def test_all_containers_are_named_newest_first(root: Path):
    with open_root(root) as session:
        found = glance(session, COUNT)
        assert found is not None
        assert [usage.container.name for usage in found.containers] == [f"box{n}" for n in reversed(range(COUNT))]
        assert found.containers[0].container.image == f"bench/image{COUNT - 1}:1"
        assert {usage.container.state for usage in found.containers} == {"exited"}


def test_the_first_is_known_in_full(root: Path):
    with open_root(root) as session:
        found = glance(session, COUNT)
        assert found is not None
        levels = found.session.levels(found.first)
        mount = digest(f"mount {COUNT - 1}")
        expected = [digest("base"), digest(f"layer {COUNT - 1}"), f"{mount}-init", mount]
        assert [level.cache_id for level in levels] == expected
        assert [level.created_by for level in levels] == ["RUN base", f"RUN layer {COUNT - 1}", "", ""]
        assert [level.size for level in levels] == [1, 2, None, None]
        assert levels == session.levels(session.find(f"box{COUNT - 1}"))
        names = {entry.path for entry in found.session.entries(found.first, "/app")}
        assert names == {f"app/file{COUNT - 1}"}


def test_one_file_of_each_container_is_read_and_none_of_other_images(root: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    plain = Directory.read

    def counted(directory: Directory, name: str, limit: int) -> bytes:
        read.append(f"{directory.path}/{name}")
        return plain(directory, name, limit)

    with open_root(root) as session:
        monkeypatch.setattr(Directory, "read", counted)
        found = glance(session, COUNT)
        assert found is not None
        found.session.levels(found.first)
    assert sum(path.endswith("config.v2.json") for path in read) == COUNT + 1
    assert sum("imagedb/content" in path for path in read) == 1
    assert sum("layerdb/sha256" in path for path in read) == 2 * 4  # of each layer of the stack
    assert len(read) <= COUNT + 30


def test_what_was_glimpsed_is_looked_up_when_it_is_opened(root: Path):
    with open_root(root) as session:
        found = glance(session, COUNT)
        assert found is not None
        glimpsed = Subject(None, found.containers[7].container)
        opened = whole(session, glimpsed)
        assert opened.container is not None
        assert opened.container.mount_id == digest(f"mount {COUNT - 8}")
        assert whole(session, opened) is opened


def test_an_engines_own_root_is_named_as_it_is_listed(overlay2_root: Path):
    with open_root(overlay2_root) as session:
        found = glance(session, 1)
        assert found is not None
        assert [told(usage.container) for usage in found.containers] == listed(session)
        assert found.session.levels(found.first) == session.levels(Subject(None, session.store.containers()[0]))


def test_few_containers_are_read_at_once(root: Path):
    with open_root(root) as session:
        assert glance(session, COUNT + 1) is None
        assert glance(session) is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.v2.json", "{"),
        ("config.v2.json", '{"ID": "x"}'),
        ("hostconfig.json", "{"),
    ],
)
def test_what_is_damaged_is_left_to_who_reads_all(tmp_path: Path, file: str, text: str):
    make_root(tmp_path / "root", 3)
    (tmp_path / "root/containers" / digest("container 2") / file).write_text(text)  # the first of the list
    with open_root(tmp_path / "root") as session:
        assert glance(session, 3) is None
        assert len(session.containers(sizes=False)) == 3


def test_a_missing_layer_is_left_to_who_reads_all(tmp_path: Path):
    make_root(tmp_path / "root", 3)
    (tmp_path / "root/image/overlay2/layerdb/sha256" / digest("tar of the base") / "cache-id").unlink()
    with open_root(tmp_path / "root") as session:
        assert glance(session, 3) is None
