"""Kept sums of committed layers: the ledger is du's with them as without, and what changed is noticed."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from ledger_facts import assert_closed, du

from layerscope.analysis.ledger import kept
from layerscope.cli.main import run
from layerscope.model.ledger import Ledger
from layerscope.services import layer_cache
from layerscope.services.cache_folder import cache_folders
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the samples need root to be unpacked")

AT_ONCE = "import layerscope.analysis.ledger.kept as kept; kept._YOUNG_NS = -(1 << 62)\n"
"""Layers that a test has just unpacked count as old."""
PROGRAM = AT_ONCE + "import sys; from layerscope.cli.main import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in which young layers are kept too; gives its file."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    (tmp_path / "second").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "second"))
    monkeypatch.setattr(layer_cache, "cache_folders", lambda: itertools.islice(cache_folders(), 1))
    monkeypatch.setattr(kept, "_YOUNG_NS", -(1 << 62))
    return folder / "layerscope" / layer_cache._NAME


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Path:
    """A copy to change at will."""
    subprocess.run(["cp", "-a", str(overlay2_root), str(tmp_path / "root")], check=True)
    return tmp_path / "root"


def counted(root: Path, cache: bool = True, workers: int = 1) -> Ledger:
    with open_root(root) as session:
        return ledger(session, workers=workers, cache=cache)


def layers_of(root: Path) -> list[Path]:
    """The directories of the image's layers, by the records, those with most files first."""
    ids = [path.read_text() for path in (root / "image/overlay2/layerdb/sha256").glob("*/cache-id")]
    found = [root / "overlay2" / id_ / "diff" for id_ in ids]
    return sorted(found, key=lambda path: -sum(len(files) for _, _, files in os.walk(path)))


def a_file(layer: Path) -> Path:
    """A file deep in a layer, with one name."""
    every = (Path(folder) / name for folder, _, files in os.walk(layer) for name in files)
    plain = [path for path in every if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1]
    return max(plain, key=lambda path: (len(path.parts), path))


def rows(cache: Path, question: str = "select count(*) from layer") -> int:
    file = sqlite3.connect(cache)
    try:
        return int(file.execute(question).fetchone()[0])
    finally:
        file.close()


# ---------------------------------------------------------------------- the same sums
@pytest.mark.parametrize(
    "sample", ["overlay2", "overlay2-buildkit", "overlay", "fuse-overlayfs", "vfs", "btrfs", "aufs", "zfs"]
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_sample_adds_up_to_du_each_time(
    sample: str, workers: int, unpacked: Callable[[str], Path], cache: Path
) -> None:
    root = unpacked(sample)
    without = counted(root, cache=False)
    assert not cache.exists()
    for _ in range(3):
        found = counted(root, workers=workers)
        assert_closed(found, du(root))
        assert found == without
    # The upper of overlay's two layers is links of the lower one; zfs has its layers elsewhere while they aren't used.
    assert (rows(cache) > 0) == (sample not in ("overlay", "zfs"))


def test_kept_sums_are_used(root: Path, cache: Path) -> None:
    """A file that grows in a committed layer tells: only those that look at every file see it."""
    before = counted(root)
    layer = layers_of(root)[0]
    with a_file(layer).open("ab") as file:
        file.write(b"x" * 1_000_000)
    assert counted(root) == before
    assert counted(root, cache=False).total_disk == du(root) > before.total_disk + 990_000
    cache.unlink()
    assert counted(root).total_disk == du(root)


def test_what_containers_write_is_always_seen(root: Path, cache: Path) -> None:
    counted(root)
    for path in (root / "image/overlay2/layerdb/mounts").glob("*/mount-id"):
        for name in ("", "-init"):
            folder = root / "overlay2" / f"{path.read_text()}{name}" / "diff"
            (folder / "written").write_bytes(b"x" * 50_000)
    counted(root)
    for path in (root / "overlay2").glob("*/diff/written"):
        path.write_bytes(b"x" * 90_000)
    assert_closed(counted(root), du(root))


# ---------------------------------------------------------------------- what changed
def _add(layer: Path) -> None:
    (a_file(layer).parent / "one more").write_bytes(b"x" * 30_000)


def _remove(layer: Path) -> None:
    a_file(layer).unlink()


def _swap(layer: Path) -> None:
    path = a_file(layer)
    path.with_name("other").write_bytes(b"x" * 70_000)
    path.with_name("other").rename(path)


def _replace_folder(layer: Path) -> None:
    """The same names in a directory of another inode, in the place of the one that was there."""
    folder = a_file(layer).parent
    shutil.copytree(folder, folder.with_name("aside"), symlinks=True)
    shutil.rmtree(folder)
    folder.with_name("aside").rename(folder)
    with a_file(layer).open("ab") as file:
        file.write(b"x" * 40_000)


def _link_folder(layer: Path) -> None:
    """A symlink to a directory with the same names, in the place of a directory."""
    folder = a_file(layer).parent
    elsewhere = layer.parents[2] / "volumes/vol1/_data/moved"
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)


def _replace_layer(layer: Path) -> None:
    subprocess.run(["cp", "-a", str(layer), str(layer.with_name("aside"))], check=True)
    shutil.rmtree(layer)
    layer.with_name("aside").rename(layer)
    _add(layer)


@pytest.mark.parametrize("change", [_add, _remove, _swap, _replace_folder, _link_folder, _replace_layer])
def test_a_changed_directory_is_noticed(root: Path, cache: Path, change: Callable[[Path], None]) -> None:
    counted(root)
    kept_rows = rows(cache)
    change(layers_of(root)[0])
    found = counted(root)
    assert_closed(found, du(root))
    assert found == counted(root, cache=False)
    assert rows(cache) == kept_rows
    assert counted(root) == found


def test_a_name_outside_of_a_kept_layer_is_paid_once(root: Path, cache: Path) -> None:
    """Nothing in the layer's directories tells that one of its files got a second name."""
    before = counted(root)
    path = a_file(layers_of(root)[0])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    cache.unlink()
    counted(root)
    os.link(path, root / "volumes/vol1/_data/linked")
    for _ in range(3):
        found = counted(root)
        assert_closed(found, du(root))
        assert found == counted(root, cache=False)
    assert found.total_disk > before.total_disk
    os.link(path, root / "volumes/vol1/_data/linked again")
    assert_closed(counted(root), du(root))


def test_names_outside_of_the_root_do_not_hinder(root: Path, cache: Path, tmp_path: Path) -> None:
    """Inodes of which a name is elsewhere are known after a run, and kept sums are used all the same."""
    (root / "volumes/vol1/_data/inside").write_bytes(b"x" * 9000)
    os.link(root / "volumes/vol1/_data/inside", tmp_path / "outside")
    before = counted(root)
    with a_file(layers_of(root)[0]).open("ab") as file:
        file.write(b"x" * 1_000_000)
    assert counted(root) == before


def test_young_layers_are_not_kept(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in the same instant would leave no other time."""
    monkeypatch.setattr(kept, "_YOUNG_NS", 3_600_000_000_000)
    counted(root)
    assert not cache.exists() or rows(cache) == 0


def test_rows_of_layers_that_are_gone_go(root: Path, cache: Path) -> None:
    counted(root)
    before = rows(cache)
    chain = next(
        path.parent
        for path in (root / "image/overlay2/layerdb/sha256").glob("*/cache-id")
        if path.read_text() == layers_of(root)[-1].parent.name
    )
    shutil.rmtree(root / "overlay2" / (chain / "cache-id").read_text())
    shutil.rmtree(chain)
    _add(layers_of(root)[0])
    counted(root)
    assert rows(cache) == before - 1


def test_old_rows_and_too_many_bytes_go(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(root)
    file = sqlite3.connect(cache)
    file.execute("insert into layer select x'2f676f6e65', path, device, inode, changed, 5, '', x'', x'', 0 from layer")
    file.commit()
    file.close()
    _add(layers_of(root)[0])
    counted(root)
    assert rows(cache, "select count(*) from layer where root = x'2f676f6e65'") == 0
    assert rows(cache) > 0
    monkeypatch.setattr(layer_cache, "MOST_BYTES", 0)
    _add(layers_of(root)[1])
    assert_closed(counted(root), du(root))
    assert rows(cache, "select coalesce(sum(length(folders)), 0) from layer") == 0


# ---------------------------------------------------------------------- a cache that is no good
def _garbage(file: Path) -> None:
    file.write_bytes(b"\xff" * 5000)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:7000])


def _scratched(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in range(4096, len(data), 97):
        data[place] ^= 0x55
    file.write_bytes(bytes(data))


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _of_another(file: Path) -> None:
    file.unlink()
    other = sqlite3.connect(file)
    other.execute("create table bookmark (name text)")
    other.commit()
    other.close()


def _other_tables(file: Path) -> None:
    other = sqlite3.connect(file)
    other.execute("drop table layer")
    other.execute("create table layer (name text)")
    other.commit()
    other.close()


def _wrong_sums(file: Path) -> None:
    other = sqlite3.connect(file)
    other.execute("update layer set sums = '1 2 3 4 5'")
    other.commit()
    other.close()


@pytest.mark.parametrize("damage", [_garbage, _cut, _scratched, _empty, _of_another, _other_tables, _wrong_sums])
def test_a_damaged_file_is_made_anew(
    root: Path, cache: Path, damage: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    before = counted(root)
    count = rows(cache)
    damage(cache)
    for _ in range(3):
        assert counted(root) == before
    assert rows(cache) == count
    assert capfd.readouterr().err == ""
    with a_file(layers_of(root)[0]).open("ab") as file:
        file.write(b"x" * 1_000_000)
    assert counted(root) == before  # it is in use again


def test_without_a_place_it_works_too(
    root: Path, cache: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    total = du(root)
    folder = cache.parent
    folder.mkdir()
    folder.chmod(0o777)
    assert counted(root).total_disk == total
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("a file")
    assert counted(root).total_disk == total
    folder.unlink()
    folder.symlink_to(root)
    assert counted(root).total_disk == total
    folder.unlink()
    cache.parent.mkdir()
    cache.mkdir()
    assert counted(root).total_disk == total
    cache.rmdir()
    os.mkfifo(cache)
    assert counted(root).total_disk == total
    cache.unlink()
    folder.rmdir()
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    with open_root(root) as session, nobody():
        ledger(session, workers=1, cache=True)
    assert not folder.exists()


def test_nothing_is_kept_below_the_root(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "volumes/vol1/_data"))
    total = du(root)
    assert counted(root).total_disk == counted(root).total_disk == total == du(root)


def _whole_program(root: Path, *before: str) -> subprocess.Popen[bytes]:
    # -B: where files are cut short, the bytecode that is written would be too, and be read by every later test.
    words = [*before, sys.executable, "-B", "-c", PROGRAM, "--root", str(root), "df", "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit(1) is not here")
@pytest.mark.parametrize("most", [0, 1000, 10_000])
def test_a_full_disk_is_no_error(root: Path, cache: Path, most: int) -> None:
    program = _whole_program(root, "prlimit", f"--fsize={most}")
    out, err = program.communicate()
    assert (program.returncode, err) == (0, b"")
    assert b'"total_disk": %d' % du(root) in out or b'"total_disk":%d' % du(root) in out


def test_several_processes_at_once(root: Path, cache: Path) -> None:
    for _ in range(2):
        programs = [_whole_program(root) for _ in range(4)]
        answers = [program.communicate() for program in programs]
        assert {program.returncode for program in programs} == {0}
        assert {out for out, _ in answers} == {answers[0][0]}
        assert {err for _, err in answers} == {b""}
    assert rows(cache) > 0


def test_no_cache_neither_reads_nor_writes(root: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for verb in ("df", "reclaim"):
        assert run(["--root", str(root), verb, "--no-cache", "--json"]) == 0
        assert not cache.exists()
    assert run(["--root", str(root), "df", "--json"]) == 0
    assert rows(cache) > 0
    before = du(root)
    with a_file(layers_of(root)[0]).open("ab") as file:
        file.write(b"x" * 1_000_000)
    capfd.readouterr()
    for options, total in (([], before), (["--no-cache"], du(root))):
        assert run(["--root", str(root), "df", "--json", *options]) == 0
        out = capfd.readouterr().out
        assert f'"total_disk": {total}' in out or f'"total_disk":{total}' in out
