"""``scan`` and ``diff-scan``: their shapes, forms and ends, and the README's query over two hosts."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import pytest
import scan_facts
from archive_makers import BASE, TOP, archive, saved_members
from ledger_facts import du

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

SCAN = (
    "file format host root scanned_at store driver drivers engine total_disk layers entries vanished unreadable"
    " problems"
)
DIFFERENCE = "old new same_host same_root notes grown_disk classes owners layers counts paths"
HEADER = "host root scanned_at store driver total_disk"
SUM = "old_disk new_disk grown_disk"
LAYER = "change id role chain_id diff_id cache_id path names class owner entries disk"
PATH = "change path inside layer class kind owner type old_disk new_disk grown_disk old_size new_size"
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Path:
    """A copy of the sample to change at will."""
    subprocess.run(["cp", "-a", str(overlay2_root), str(tmp_path / "root")], check=True)
    return tmp_path / "root"


def test_the_summary_has_every_field(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    answer = ask("scan", "-o", str(tmp_path / "s"), "--host", "web-9", "--json", root=overlay2_root)
    assert answer.code == 0, answer.err
    found = answer.json
    assert set(found) == set(SCAN.split())
    assert (found["host"], found["total_disk"], found["vanished"]) == ("web-9", du(overlay2_root), 0)
    assert found["entries"] == len(scan_facts.found(overlay2_root))
    assert found["layers"] == len([path for path in (overlay2_root / "overlay2").iterdir() if path.name != "l"])
    age = datetime.now(UTC) - datetime.fromisoformat(found["scanned_at"])
    assert 0 <= age.total_seconds() < 60
    assert scan_facts.read((tmp_path / "s").read_bytes()).header.host == "web-9"


def test_the_plain_answer_and_this_host(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    answer = ask("scan", "-o", str(tmp_path / "s"), root=overlay2_root)
    assert answer.code == 0
    assert re.fullmatch(rf"{tmp_path}/s: \d+ entries, 11 layers, 1.843MB on disk", answer.lines[0])
    assert scan_facts.read((tmp_path / "s").read_bytes()).header.host == os.uname().nodename
    assert os.listdir(tmp_path) == ["s"]


def test_standard_output(ask: Any, overlay2_root: Path) -> None:
    answer = ask("scan", "-o", "-", root=overlay2_root)
    assert answer.code == 0
    assert scan_facts.read(answer.out).end.rows == len(scan_facts.found(overlay2_root))
    assert ask("scan", "-o", "-", "--json", root=overlay2_root).code == 2


@pytest.mark.parametrize("form", ["scan", "parquet"])
def test_a_scan_is_complete_or_not_there(ask: Any, overlay2_root: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "s").write_text("what was there")
    assert ask("scan", "-o", f"{overlay2_root}/s", "--format", form, root=overlay2_root).code == 4
    assert ask("scan", "-o", f"{tmp_path}/no/s", "--format", form, root=overlay2_root).code == 4
    assert ask("scan", "-o", "/dev/full", "--format", form, root=overlay2_root).code == 4
    assert ask("scan", "-o", str(tmp_path), "--format", form, root=overlay2_root).code == 4
    assert (tmp_path / "s").read_text() == "what was there"
    assert os.listdir(tmp_path) == ["s"]
    assert not (overlay2_root / "s").exists()


@pytest.mark.parametrize("form", ["scan", "parquet"])
def test_a_scan_that_is_cut_off_leaves_nothing(
    ask: Any, overlay2_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from layerscope.services.scan import layers as scan_layers

    rows = scan_layers.ScannedLayers.rows
    left = iter(range(3))

    def interrupted(*given: Any) -> Any:
        for row in rows(*given):
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(scan_layers.ScannedLayers, "rows", interrupted)
    answer = ask("scan", "-o", str(tmp_path / "s"), "--format", form, root=overlay2_root)
    gc.collect()
    assert (answer.code, answer.err) == (130, "")
    assert os.listdir(tmp_path) == []


def test_problems_end_with_1(ask: Any, root: Path, tmp_path: Path) -> None:
    layer = next(path for path in root.glob("overlay2/*/diff"))
    subprocess.run(["rm", "-r", str(layer)], check=True)
    answer = ask("scan", "-o", str(tmp_path / "s"), "--json", root=root)
    assert answer.code == 1
    assert any(str(layer.relative_to(root)) in one["path"] for one in answer.json["problems"])


# ---------------------------------------------------------------------- diff-scan
@pytest.fixture
def two(ask: Any, root: Path, tmp_path: Path) -> tuple[str, str]:
    """A scan before and one after 300 kB came to a volume."""
    files = (str(tmp_path / "old"), str(tmp_path / "new"))
    assert ask("scan", "-o", files[0], root=root).code == 0
    name = os.path.join(os.fsencode(root), b"volumes/vol1/_data/gr\xffwn")
    with open(name, "wb") as file:
        file.write(b"x" * 300_000)
    (root / "volumes/vol1/_data/small").write_bytes(b"x" * 5000)
    assert ask("scan", "-o", files[1], root=root).code == 0
    return files


def test_the_difference_has_every_field(ask: Any, two: tuple[str, str], root: Path) -> None:
    answer = ask("diff-scan", *two, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = answer.json
    assert set(found) == set(DIFFERENCE.split())
    assert set(found["old"]) == set(found["new"]) == set(HEADER.split())
    assert (found["same_host"], found["same_root"], found["notes"]) == (True, True, [])
    assert found["grown_disk"] == found["new"]["total_disk"] - found["old"]["total_disk"] > 300_000
    assert found["new"]["total_disk"] == du(root)
    assert found["classes"] == [{"class": "volume", **{key: found["classes"][0][key] for key in SUM.split()}}]
    assert set(found["owners"][0]) == {"kind", "owner", *SUM.split()}
    assert [(one["kind"], one["owner"]) for one in found["owners"]] == [("volume", "vol1")]
    assert all(set(one) - {"path_base64"} == set(PATH.split()) for one in found["paths"])
    first, second = found["paths"]
    assert (first["path"], first["path_base64"]) == (
        "volumes/vol1/_data/gr\ufffdwn",
        "dm9sdW1lcy92b2wxL19kYXRhL2dy/3du",
    )
    assert (first["change"], first["old_disk"], first["new_size"], first["type"]) == ("added", None, 300_000, "file")
    assert second["grown_disk"] == 8192
    assert {(one["change"], one["paths"]) for one in found["counts"]} == {("added", 2), ("changed", 1)}


def test_layers_have_every_field(ask: Any, root: Path, tmp_path: Path) -> None:
    files = (str(tmp_path / "old"), str(tmp_path / "new"))
    assert ask("scan", "-o", files[0], root=root).code == 0
    lost = root / "overlay2" / ("5" * 64)
    (lost / "diff/folder").mkdir(parents=True)
    assert ask("scan", "-o", files[1], root=root).code == 0
    (layer,) = ask("diff-scan", *files, "--json").json["layers"]
    assert set(layer) == set(LAYER.split())
    assert (layer["change"], layer["id"], layer["entries"], layer["disk"]) == ("added", lost.name, 2, 8192)
    table = "\n".join(ask("diff-scan", *files).lines)
    assert re.search(r"8\.192kB +2  added +555555555555 ", table)


def test_the_table(ask: Any, two: tuple[str, str]) -> None:
    answer = ask("diff-scan", *two)
    lines = [" ".join(line.split()) for line in answer.lines]
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r".* \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ → .*Z", lines[0])
    assert re.fullmatch(r"\+\S+: \d\.\d+MB → \d\.\d+MB", lines[1])
    assert lines[3] == "GROWN OLD NEW CLASS"
    assert re.fullmatch(r"\+\S+ \S+ \S+ volume vol1", lines[7])
    assert lines[9].startswith("paths: 2 added (+")
    assert lines[11].encode("utf-8", "surrogateescape").endswith(b"added volume vol1 volumes/vol1/_data/gr\xffwn")
    back = ask("diff-scan", *reversed(two))
    assert any(re.match(r"-\S+ +removed", line) for line in back.lines)
    assert "named first is the newer one" in back.err


def test_a_limit(ask: Any, two: tuple[str, str]) -> None:
    assert [one["new_size"] for one in ask("diff-scan", *two, "--json", "--limit", "1").json["paths"]] == [300_000]
    assert len(ask("diff-scan", *two, "--json", "--limit", "0").json["paths"]) == 2
    assert ask("diff-scan", *two, "--limit", "-1").code == 2


def test_all_of_many_paths_come_sorted(ask: Any, root: Path, tmp_path: Path) -> None:
    files = (str(tmp_path / "old"), str(tmp_path / "new"))
    assert ask("scan", "-o", files[0], root=root).code == 0
    for number in range(1500):
        (root / f"volumes/vol1/_data/{number}").write_bytes(b"x" * (number % 7 * 4096))
    assert ask("scan", "-o", files[1], root=root).code == 0
    paths = ask("diff-scan", *files, "--json", "--limit", "0").json["paths"]
    sizes = [one["grown_disk"] for one in paths]
    added = [one["path"] for one in paths if one["change"] == "added"]
    assert len(added) == len(set(added)) == sum(number % 7 > 0 for number in range(1500))
    assert sizes == sorted(sizes, reverse=True)
    assert len([line for line in ask("diff-scan", *files, "--limit", "0").lines if " added " in line]) == len(added) + 1


def test_nothing_differs(ask: Any, two: tuple[str, str]) -> None:
    assert ask("diff-scan", two[0], two[0]).lines[-1] == "nothing differs"
    found = ask("diff-scan", two[0], two[0], "--json").json
    assert (found["grown_disk"], found["paths"], found["classes"]) == (0, [], [])


def test_archives_have_no_ledger(ask: Any, tmp_path: Path) -> None:
    for name, layers in (("old", [BASE]), ("new", [BASE, TOP])):
        (tmp_path / f"{name}.tar").write_bytes(archive(saved_members(layers)))
        answer = ask("scan", "-o", str(tmp_path / name), root=tmp_path / f"{name}.tar")
        assert answer.code == 0, answer.err
    answer = ask("diff-scan", str(tmp_path / "old"), str(tmp_path / "new"), "--json")
    assert answer.json["grown_disk"] is None
    assert answer.json["same_root"] is False
    assert [one["change"] for one in answer.json["layers"]] == ["added"]
    assert "has no ledger" in answer.err


@pytest.mark.parametrize("which", [0, 1])
def test_files_that_are_no_scans(ask: Any, two: tuple[str, str], tmp_path: Path, which: int) -> None:
    def told(path: Path) -> tuple[int, str]:
        files = list(two)
        files[which] = str(path)
        answer = ask("diff-scan", *files, "--json")
        assert answer.out == b""
        assert len(answer.err.splitlines()) == 1
        return answer.code, answer.err

    (tmp_path / "text").write_text("no scan\n" * 100)
    (tmp_path / "cut").write_bytes(Path(two[0]).read_bytes()[:-7])
    assert told(tmp_path / "text") == (
        2,
        f"layerscope: {tmp_path}/text is no scan file; layerscope scan -o FILE makes one\n",
    )
    assert told(tmp_path / "cut")[0] == 3
    assert told(tmp_path / "missing")[0] == 2
    assert told(tmp_path)[0] == 3


def test_completion_offers_files(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("layerscope diff-scan a", "layerscope scan -o a"):
        monkeypatch.setenv("_LAYERSCOPE_COMPLETE", "zsh")
        monkeypatch.setenv("COMP_LINE", line)
        assert [answer.split("\t")[0] for answer in ask().lines] == ["file"]


# ---------------------------------------------------------------------- parquet
def test_a_row_for_every_entry(ask: Any, overlay2_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    assert ask("scan", "-o", str(path), "--format", "parquet", "--host", "web-1", root=overlay2_root).code == 0
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    truth = scan_facts.found(overlay2_root)
    letters = {"file": "f", "dir": "d", "symlink": "l", "char": "c", "block": "b", "fifo": "p", "socket": "s"}
    assert {os.fsencode(row["path"]) for row in rows} - {b"."} == set(truth) - {b""}
    for row in rows:
        told = truth[b"" if row["path"] == "." else os.fsencode(row["path"])]
        moment = int(row["mtime"].timestamp()) if row["mtime"] else None
        facts = (letters[row["type"]], row["mode"], row["uid"], row["gid"], row["size"])
        assert facts == told[:5]
        assert told[5] in (None, row["disk"])
        assert (moment, row["links"], os.fsencode(row["target"] or "")) == (told[6] // 10**9, told[7], told[8])
        assert row["in_root"] and row["host"] == "web-1" and row["root"] == str(overlay2_root)
        assert (row["inside"] is None) == (row["layer"] is None)
        assert row["inside"] is None or f"/diff{row['inside']}".rstrip("/") in f"/{row['path']}"
    assert sum(row["disk"] for row in rows) == du(overlay2_root)
    assert json.loads(table.schema.metadata[b"layerscope"])["total_disk"] == du(overlay2_root)
    assert {row["role"] for row in rows} == {None, "image", "init", "rw"}
    assert {row["state"] for row in rows} == {"plain", "whiteout", "opaque"}


def test_names_that_arent_text(ask: Any, root: Path, tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(root), b"volumes/vol1/_data/\xff"), "wb"):
        pass
    assert ask("scan", "-o", f"{tmp_path}/s", "--format", "parquet", root=root).code == 0
    rows = pyarrow.parquet.read_table(tmp_path / "s").to_pylist()
    odd = {row["path"]: row["path_bytes"] for row in rows if row["path_bytes"]}
    assert odd["volumes/vol1/_data/\ufffd"] == b"volumes/vol1/_data/\xff"


def test_rows_come_in_groups(tmp_path: Path) -> None:
    from layerscope.formats.scan.parquet import ParquetWriter
    from layerscope.model.scan import ROOT, ScanEnd, ScanTree

    out = io.BytesIO()
    writer = ParquetWriter(out.write)
    writer.begin(scan_facts.HEADER, ())
    writer.tree(ScanTree(ROOT, ""), scan_facts.many_rows(150_000))
    writer.finish(ScanEnd(1, 150_000, 0, 0))
    file = pyarrow.parquet.ParquetFile(out)
    assert file.metadata.num_rows == 150_000
    assert file.metadata.num_row_groups == 3


def test_the_readmes_query_over_two_hosts(ask: Any, overlay2_root: Path, root: Path, tmp_path: Path) -> None:
    """Word for word; du and find say the same."""
    (root / "volumes/vol1/_data/big").write_bytes(b"x" * 700_000)
    log = next(root.glob("containers/*/*-json.log"))
    log.write_bytes(b"{}\n" * 300_000)
    folder = tmp_path / "scans"
    folder.mkdir()
    hosts = {"web-1": overlay2_root, "web-2": root}
    for host, place in hosts.items():
        file = str(folder / f"{host}.parquet")
        assert ask("scan", "-o", file, "--format", "parquet", "--host", host, root=place).code == 0
    (query,) = re.findall(r"```sql\n(.*?)```", README.read_text(), re.DOTALL)
    script = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.stdin.read()).fetchall()))"
    told = subprocess.run(
        [sys.executable, "-c", script], input=query, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    rows = json.loads(told.stdout)
    assert len(rows) == 10
    assert [row[3] for row in rows] == sorted((row[3] for row in rows), reverse=True)
    by_owner = {(host, category, owner): rest for host, category, owner, *rest in rows}
    name = json.loads((log.parent / "config.v2.json").read_text())["Name"].removeprefix("/")
    own_log = log.stat().st_blocks * 512
    assert by_owner["web-2", "log", name] == [own_log, 1, str(log.relative_to(root))]
    volume = root / "volumes/vol1"
    assert by_owner["web-2", "volume", "vol1"] == [du(volume), len(scan_facts.found(volume)), "volumes/vol1/_data/big"]
    assert any(host == "web-1" for host, *_ in rows)
    for host, place in hosts.items():
        files = f"'{folder}/{host}.parquet'"
        assert duckdb.sql(f"SELECT sum(disk), count(*) FROM {files}").fetchall() == [
            (du(place), len(scan_facts.found(place)))
        ]
        largest = sorted((facts[5] or 0 for facts in scan_facts.found(place).values()), reverse=True)  # type: ignore[type-var]
        top = duckdb.sql(f"SELECT disk FROM {files} ORDER BY disk DESC LIMIT 5").fetchall()
        assert [disk for (disk,) in top] == largest[:5]


def test_without_pyarrow_the_extra_is_named(
    ask: Any, overlay2_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = importlib.import_module

    def missing(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
        return real(name, *more)

    monkeypatch.setattr("layerscope.formats.scan.parquet.import_module", missing)
    answer = ask("scan", "-o", str(tmp_path / "s"), "--format", "parquet", root=overlay2_root)
    assert answer.code == 3
    assert "pip install 'layerscope[parquet]'" in answer.err
    assert os.listdir(tmp_path) == []


def test_nothing_but_parquet_loads_pyarrow(overlay2_root: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from layerscope.cli.main import run;"
        f"assert run(['scan', '-o', '{tmp_path}/s', '--root', '{overlay2_root}']) == 0;"
        f"assert run(['diff-scan', '{tmp_path}/s', '{tmp_path}/s']) == 0;"
        "assert not {'pyarrow', 'textual', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
