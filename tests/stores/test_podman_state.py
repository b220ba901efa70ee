"""podman's own two databases: the old one against what podman 4.3 answered, both when they are damaged."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import podman_roots
import pytest
from podman_words import moment

from layerscope import open_root
from layerscope.hostfs import Directory
from layerscope.stores.podman.libpod import read_libpod

DATA = podman_roots.DATA / "bolt"


def truth(name: str) -> Any:
    """What podman 4.3 answered."""
    return json.loads((DATA / "truth" / f"{name}.json").read_text())


@pytest.fixture
def bolt_root(tmp_path: Path) -> Path:
    """The records of a root that podman 4.3 wrote, without any layer."""
    root = tmp_path / "bolt"
    (root / "libpod").mkdir(parents=True)
    (root / "overlay-containers").mkdir()
    (root / "libpod/bolt_state.db").write_bytes(gzip.decompress((DATA / "bolt_state.db.gz").read_bytes()))
    (root / "overlay-containers/containers.json").write_bytes((DATA / "containers.json").read_bytes())
    return root


@pytest.fixture
def sql_root(tmp_path: Path, podman_samples: dict[str, Path]) -> Path:
    """A copy of the records of the overlay sample, without layers."""
    root = tmp_path / "storage"
    (root / "overlay-containers").mkdir(parents=True)
    source = podman_samples["overlay"]
    for name in ("db.sql", "overlay-containers/containers.json"):
        (root / name).write_bytes((source / name).read_bytes())
    return root


def test_containers_of_the_old_database(bolt_root: Path) -> None:
    with open_root(bolt_root) as session:
        ours = {
            one.id: (
                one.name,
                one.image,
                one.image_id,
                one.command,
                one.state,
                one.exit_code,
                moment(one.created),
                moment(one.started_at),
                moment(one.finished_at),
                dict(one.labels),
                [(mount.type, mount.name, mount.source, mount.destination, mount.rw) for mount in one.mounts],
            )
            for one in session.store.containers()
        }
    commands = {told["Id"]: told["Command"] for told in truth("ps-a")}
    assert ours == {
        told["Id"]: (
            told["Name"],
            told["ImageName"],
            f"sha256:{told['Image']}",
            " ".join(f"'{word}'" if " " in word else word for word in commands[told["Id"]]),
            told["State"]["Status"],
            told["State"]["ExitCode"],
            moment(told["Created"]),
            moment(told["State"]["StartedAt"]),
            moment(told["State"]["FinishedAt"]),
            told["Config"]["Labels"] or {},
            [
                (mount["Type"], mount.get("Name", ""), mount["Source"], mount["Destination"], mount["RW"])
                for mount in told["Mounts"]
            ],
        )
        for told in truth("container-inspect")
    }
    assert {state for _name, _image, _id, _command, state, *_rest in ours.values()} == {"running", "exited", "created"}


def test_a_container_that_ran_when_the_machine_stopped(bolt_root: Path) -> None:
    with open_root(bolt_root) as session:
        unclean = [one.name for one in session.store.containers() if one.unclean]
    assert unclean == [told["Name"] for told in truth("container-inspect") if told["State"]["Running"]] == ["running"]


def test_volumes_pods_and_settings_of_the_old_database(bolt_root: Path) -> None:
    with open_root(bolt_root) as session:
        volumes = [(one.name, one.mountpoint, dict(one.labels), one.driver) for one in session.store.volumes()]
        told = session.info()
    assert volumes == [(one["Name"], one["Mountpoint"], one["Labels"], one["Driver"]) for one in truth("volumes")]
    assert told.counts["pods"] == len(truth("pods"))
    assert f"pods: “{truth('pods')[0]['Name']}”" in told.features
    assert f"was last used at “{truth('store')['graphRoot']}”" in told.features
    assert "libpod/bolt_state.db (podman's state)" in told.features
    assert told.driver == truth("store")["graphDriverName"]


def test_a_damaged_record_costs_itself(sql_root: Path) -> None:
    ids = [told["Id"] for told in podman_roots.truth("overlay", "container-inspect")]
    with closing(sqlite3.connect(sql_root / "db.sql", isolation_level=None)) as database:
        database.execute("UPDATE ContainerConfig SET JSON = ? WHERE ID = ?", ("{" * 500, ids[0]))
        database.execute(
            "UPDATE ContainerState SET JSON = ? WHERE ID = ?", (b'{"state": "six", "exitCode": 1}', ids[1])
        )
        database.execute("UPDATE ContainerState SET JSON = ? WHERE ID = ?", (17, ids[2]))
    with open_root(sql_root) as session:
        found = {one.id: one for one in session.store.containers()}
        problems = [problem.what for problem in session.problems() if problem.path == "db.sql"]
    assert found.keys() == set(ids)
    assert (found[ids[0]].name, found[ids[0]].state) == ("run1", "exited")  # the name is in containers.json, too
    assert (found[ids[1]].state, found[ids[1]].exit_code, found[ids[1]].name) == ("unknown", 1, "exit1")
    assert found[ids[2]].state == "unknown"
    assert [found[one].state for one in ids[3:]] == ["exited", "exited"]
    assert len(problems) == 3


@pytest.mark.parametrize("table", ["ContainerConfig", "ContainerState", "PodConfig", "VolumeConfig", "DBConfig"])
def test_a_missing_table_costs_itself(sql_root: Path, table: str) -> None:
    with closing(sqlite3.connect(sql_root / "db.sql", isolation_level=None)) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO other")
    with open_root(sql_root) as session:
        names = {one.name for one in session.store.containers()}
        whats = [problem.what for problem in session.problems() if problem.path == "db.sql"]
    assert names == {"run1", "exit1", "created1", "fromcommit", "orphan"}
    assert len(whats) == 1
    assert f"can't be read in {table}" in whats[0]


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE n(ID) AS (SELECT 1 UNION ALL SELECT ID + 1 FROM n) SELECT ID, ID AS JSON FROM n",
        "SELECT 'a' AS ID, hex(zeroblob(1000000000)) AS JSON",
        "SELECT a.ID, a.JSON FROM ContainerConfig a, ContainerConfig b, ContainerConfig c, ContainerConfig d, "
        "ContainerConfig e, ContainerConfig f, ContainerConfig g, ContainerConfig h, ContainerConfig i",
    ],
    ids=["endless", "a function", "huge"],
)
def test_a_schema_that_would_run_for_ever_does_not(sql_root: Path, query: str) -> None:
    """A view in the place of a table, whose reading never ends, or calls functions, or fills the memory."""
    with closing(sqlite3.connect(sql_root / "db.sql", isolation_level=None)) as database:
        database.execute("DROP TABLE PodConfig")
        database.execute(f"CREATE VIEW PodConfig AS {query}")
    libpod = read_libpod(Directory.open_root(sql_root), ())
    assert len(libpod.pods) <= 5
    assert any("PodConfig" in problem.what for problem in libpod.problems)
    assert len(libpod.containers) == 5


def test_nothing_is_written_beside_a_database_with_a_log(sql_root: Path) -> None:
    """Rows that are only in the log are seen, and neither the log nor its index is touched."""
    database = sqlite3.connect(sql_root / "db.sql", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("UPDATE ContainerState SET JSON = ?", ('{"state": 5}',))
    (sql_root / "db.sql-shm").unlink()
    before = {path.name: path.read_bytes() for path in sql_root.iterdir() if path.is_file()}
    assert "db.sql-wal" in before
    with open_root(sql_root) as session:
        assert {one.state for one in session.store.containers()} == {"paused"}
    assert {path.name: path.read_bytes() for path in sql_root.iterdir() if path.is_file()} == before
    database.close()


def test_a_cut_transaction_is_told(sql_root: Path) -> None:
    (sql_root / "db.sql-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(504))
    with open_root(sql_root) as session:
        assert any("db.sql-journal" in problem.what for problem in session.problems())


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("spoil", [_cut, _empty, _directory, _link])
@pytest.mark.parametrize("kind", ["sql", "bolt"])
def test_without_the_database_the_lists_tell(
    spoil: Callable[[Path], None], kind: str, sql_root: Path, bolt_root: Path
) -> None:
    root, path = (sql_root, "db.sql") if kind == "sql" else (bolt_root, "libpod/bolt_state.db")
    with open_root(root) as session:
        names = {one.name for one in session.store.containers()}
    spoil(root / path)
    with open_root(root) as session:
        found = session.store.containers()
        problems = [problem for problem in session.problems() if problem.path == path]
    assert {one.name for one in found} == names
    assert problems


def test_a_torn_database_tells_nothing_of_how_containers_are(tmp_path: Path, podman_samples: dict[str, Path]) -> None:
    """podman commit leaves Buildah's file in containers of podman's own, which are no working containers for that."""
    root = tmp_path / "storage"
    source = podman_samples["overlay"]
    shutil.copytree(source / "overlay-containers", root / "overlay-containers", symlinks=True)
    (root / "db.sql").write_bytes((source / "db.sql").read_bytes()[:3000])
    assert list(root.glob("overlay-containers/*/userdata/buildah.json"))
    with open_root(root) as session:
        assert {one.state for one in session.store.containers()} == {"unknown"}
        assert any(problem.path == "db.sql" for problem in session.problems())


def test_of_two_databases_the_one_with_these_containers_counts(bolt_root: Path, sql_root: Path) -> None:
    (sql_root / "libpod").mkdir(exist_ok=True)
    (sql_root / "libpod/bolt_state.db").write_bytes(gzip.decompress((DATA / "bolt_state.db.gz").read_bytes()))
    with open_root(sql_root) as session:
        assert {one.state for one in session.store.containers()} == {"exited", "created"}
        assert any(problem.path == "libpod/bolt_state.db" for problem in session.problems())
