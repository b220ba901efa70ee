"""Layers as their engine saved them verify; what isn't so is told, whatever keeps the layer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat as modes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import containerd_roots
import podman_roots
import pytest
from sample_roots import truth

from layerscope.model.verdict import Verdict
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify
from layerscope.services.workers import run_jobs

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a sample unpacked without root has lost owners and marks")
SAVED = ["overlay2", "overlay2-buildkit", "vfs", "btrfs", "overlay", "aufs", "fuse-overlayfs", "devicemapper/ext4"]
BASE = "210cb665d3925aae6d823501529bd42bb1e8eb1588cf4b93e1c542b7d4447265"
SECOND = "2ce8cf7bd7ba9e22235fd151ee4e69c72f3aa61bc7b4f7811dba82af9492138d"
Unpacked = Callable[[str], Path]


def verdicts(root: Path, name: str | None = None, deep: bool = True, processes: int | None = None) -> list[Verdict]:
    with open_root(root) as session:
        subject = session.find(name) if name else None
        return list(verify(session, subject, deep=deep, processes=processes))


def copied(source: Path, target: Path) -> Path:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return target


def told(found: list[Verdict]) -> set[tuple[str, str]]:
    return {(finding.path, finding.subject) for verdict in found for finding in verdict.findings}


# ---------------------------------------------------------------------- what docker saved
@needs_root
@pytest.mark.parametrize("sample", SAVED)
def test_every_layer_that_docker_saved_verifies_with_its_digest_and_length(unpacked: Unpacked, sample: str) -> None:
    root = unpacked(sample)
    saved = truth(sample, "save-layers")
    for name, archive in saved.items():
        found = verdicts(root, name)
        images = truth(sample, "inspect-images")
        (diff_ids,) = (one["RootFS"]["Layers"] for one in images if name in one["RepoTags"])
        assert [one.computed for one in found] == diff_ids
        lengths = [layer["bytes"] for layer in archive["layers"] if "bytes" in layer]
        assert not lengths or [one.size_bytes for one in found] == lengths
        assert all(one.ok is True and one.diff_id == one.computed for one in found)
    assert len(saved) >= 3
    whole = verdicts(root)
    assert told(whole) == set() and all(one.ok for one in whole)


@needs_root
@pytest.mark.parametrize("sample", ["root/docker", "root-managed/docker", "root-k8s/containerd"])
def test_every_blob_and_snapshot_of_a_containerd_store_verifies(containerd_samples: Path, sample: str) -> None:
    found = verdicts(containerd_samples / sample)
    assert told(found) == set() and len(found) >= 3
    unpacked = [one for one in found if one.computed is not None]
    assert len(unpacked) == len(found) and all(one.computed == one.diff_id for one in found)


@needs_root
def test_layers_of_podman_verify_with_the_digests_in_its_list(tmp_path: Path) -> None:
    """One came from a tar with a sparse file, which podman can't save either."""
    for driver, root in podman_roots.unpack_all(tmp_path).items():
        listed = json.loads((root / f"{driver}-layers/layers.json").read_text())
        digests = {one["diff-digest"]: one["diff-size"] for one in listed if one.get("diff-digest")}
        found = {str(one.diff_id): one for one in verdicts(root)}
        assert found.keys() == digests.keys() and told(list(found.values())) == set()
        sparse = [digest for digest, one in found.items() if one.ok is None]
        assert len(sparse) == (driver == "overlay") and all("sparse" in found[digest].skipped for digest in sparse)
        whole = {digest: one for digest, one in found.items() if one.ok}
        assert all((one.computed, one.size_bytes) == (digest, digests[digest]) for digest, one in whole.items())


@needs_root
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_layers_of_an_archive_are_hashed_where_they_lie(overlay2_root: Path, tmp_path: Path, form: str) -> None:
    from layerscope.cli.main import run

    archive = tmp_path / "app.tar"
    words = ["save", "layerscope/app:1.0", "-o", str(archive), "--format", form, "--root", str(overlay2_root)]
    assert run(words) == 0
    saved = truth("overlay2", "save-layers")["layerscope/app:1.0"]["layers"]
    found = verdicts(archive)
    assert [(one.ok, one.computed) for one in found] == [(True, layer["diff_id"]) for layer in saved]
    if form == "docker":
        data = archive.read_bytes()
        assert data.count(b"second line\n") == 1
        archive.write_bytes(data.replace(b"second line\n", b"second Line\n"))
        changed = [one for one in verdicts(archive) if one.ok is False]
        assert [one.diff_id for one in changed] == [saved[1]["diff_id"]]
        assert "diff ID" in {finding.subject for finding in changed[0].findings}


def test_layers_that_are_not_here_are_skipped_with_the_reason(unpacked: Unpacked) -> None:
    found = verdicts(unpacked("zfs"))
    assert len(found) == 5
    assert all(one.ok is None and "ZFS" in one.skipped for one in found)


@needs_root
def test_only_what_a_reference_names_is_checked(overlay2_root: Path) -> None:
    app = truth("overlay2", "save-layers")["layerscope/app:1.0"]["layers"]
    found = verdicts(overlay2_root, "editor@3")
    assert [one.diff_id for one in found] == [layer["diff_id"] for layer in app[:3]]


@needs_root
def test_one_process_finds_what_two_find(overlay2_root: Path) -> None:
    assert verdicts(overlay2_root, processes=1) == verdicts(overlay2_root, processes=2)


# ---------------------------------------------------------------------- records
@needs_root
def test_a_layer_without_record_is_skipped_and_one_with_a_damaged_record_too(
    overlay2_root: Path, tmp_path: Path
) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    layerdb = root / "image/overlay2/layerdb/sha256"
    (layerdb / BASE / "tar-split.json.gz").unlink()
    (layerdb / SECOND / "tar-split.json.gz").write_bytes(b"garbage")
    found = {str(one.chain_id)[7:]: one for one in verdicts(root)}
    assert (found[BASE].ok, found[BASE].skipped) == (None, "the record of its tar is missing")
    assert found[SECOND].ok is None and "damaged" in found[SECOND].skipped
    assert sum(one.ok is True for one in found.values()) == 3


@needs_root
def test_order_and_names_of_layers_are_checked(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    layerdb = root / "image/overlay2/layerdb/sha256"
    cache = {chain: (layerdb / chain / "cache-id").read_text() for chain in os.listdir(layerdb)}
    committed = next(chain for chain in cache if chain.startswith("ac864b75"))
    folder = root / "overlay2" / cache[committed]
    lower = (folder / "lower").read_text().split(":")
    (folder / "lower").write_text(":".join([lower[1], lower[0], *lower[2:]]))
    short = (root / "overlay2" / cache[BASE] / "link").read_text()
    (root / "overlay2/l" / short).unlink()
    (layerdb / SECOND / "parent").unlink()
    found = {str(one.chain_id)[7:]: one for one in verdicts(root, deep=False)}
    assert told([found[committed]]) == {(f"overlay2/{cache[committed]}/lower", "layers below")}
    assert {one.path for one in found[BASE].findings} == {f"overlay2/l/{short}"}
    assert {one.path for one in found[SECOND].findings} == {f"image/overlay2/layerdb/sha256/{SECOND}"}
    assert [one.ok for one in found.values()].count(True) == 2


@needs_root
def test_missing_contents_and_a_changed_image_are_failures(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    cache = (root / f"image/overlay2/layerdb/sha256/{SECOND}/cache-id").read_text()
    shutil.rmtree(root / "overlay2" / cache / "diff")
    image = truth("overlay2", "save-layers")["layerscope/base:1.0"]["Config"].removesuffix(".json")
    record = root / f"image/overlay2/imagedb/content/sha256/{image}"
    record.write_text(record.read_text().replace("amd64", "arm64"))
    found = verdicts(root, deep=False)
    assert found[0].image is None or found[0].ok is False
    changed = [one for one in found if one.image == f"sha256:{image}"]
    assert len(changed) == 1 and changed[0].ok is False
    assert f"expected sha256:{image}" in changed[0].findings[0].what
    lost = next(one for one in found if one.chain_id == f"sha256:{SECOND}")
    assert lost.ok is False and any(one.path == f"overlay2/{cache}/diff" for one in lost.findings)


@needs_root
def test_owners_of_a_remapped_root_are_shifted_back(overlay2_root: Path, tmp_path: Path) -> None:
    """Such a root is named after the ids; whiteouts keep 0:0, as the engine makes them."""
    root = copied(overlay2_root, tmp_path / "165536.231072")
    for layer in (root / "overlay2").iterdir():
        for path in sorted((layer / "diff").rglob("*")) if layer.name != "l" else ():
            stat = path.lstat()
            if modes.S_ISCHR(stat.st_mode):
                continue
            key = "security.capability"
            kept = {name: os.getxattr(path, name, follow_symlinks=False) for name in _names(path) if name == key}
            if stat.st_uid < 165536:  # a further name of a file was met before
                os.lchown(path, stat.st_uid + 165536, stat.st_gid + 231072)
            for name, value in kept.items():
                os.setxattr(path, name, value)
        if layer.name != "l":
            os.chown(layer / "diff", 165536, 231072)
    beyond = ("/data/perm/bigowner", "owner")  # 3000000 is no owner of the range: an engine would have refused it
    assert told(verdicts(root)) == {beyond}
    victim = root / "overlay2" / (root / f"image/overlay2/layerdb/sha256/{BASE}/cache-id").read_text() / "diff/etc/motd"
    os.chown(victim, 0, 231072)
    assert told(verdicts(root)) == {beyond, ("/etc/motd", "owner")}


def _names(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


@needs_root
def test_what_a_user_may_not_read_is_no_failure(overlay2_root: Path, nobody: Callable[[], Any]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = copied(overlay2_root, Path(folder) / "root")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        cache = (root / f"image/overlay2/layerdb/sha256/{BASE}/cache-id").read_text()
        (root / "overlay2" / cache / "diff/etc/motd").chmod(0o600)
        with nobody():
            found = verdicts(root, "layerscope/base:1.0", deep=False)
    assert [(one.ok, one.findings) for one in found] == [(None, ())]
    assert "privilege" in found[0].skipped


@needs_root
def test_a_layer_that_goes_while_it_is_checked_is_no_failure(overlay2_root: Path, tmp_path: Path) -> None:
    root = copied(overlay2_root, tmp_path / "root")
    with open_root(root) as session:
        running = verify(session, processes=1)
        first = next(running)
        for record in (root / "image/overlay2/layerdb/sha256").iterdir():
            cache = (record / "cache-id").read_text()
            shutil.rmtree(root / "overlay2" / cache / "diff")
            shutil.rmtree(record)
        rest = list(running)
    assert first.ok is True and len(rest) == 4
    # The largest layers are checked first, so one of the others may have been done already.
    assert [one.ok for one in rest].count(None) == 3
    assert all(one.ok is not False and one.findings == () for one in rest)


# ---------------------------------------------------------------------- whole trees
def layer_path(root: Path, driver: str, folder: str, chain: str) -> Path:
    return root / folder / (root / f"image/{driver}/layerdb/sha256/{chain}/cache-id").read_text()


@needs_root
@pytest.mark.parametrize(("sample", "folder"), [("vfs", "vfs/dir"), ("btrfs", "btrfs/subvolumes")])
def test_what_a_whole_tree_took_over_must_be_as_below(
    unpacked: Unpacked, tmp_path: Path, sample: str, folder: str
) -> None:
    root = copied(unpacked(sample), tmp_path / "root")
    second = str(verdicts(root, "layerscope/app:1.0")[1].chain_id)
    top = layer_path(root, sample, folder, second.removeprefix("sha256:"))
    times = {path: (top / path).stat() for path in ("data", "data/a.txt", "etc")}
    (top / "data/a.txt").write_bytes(b"x" * (top / "data/a.txt").stat().st_size)
    (top / "data/extra").touch()
    (top / "data/empty").unlink()
    (top / "data/b.txt").write_text("it was deleted by this layer")
    (top / "etc/passwd").chmod(0o666)
    for path, stat in times.items():
        os.utime(top / path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert told(verdicts(root, "layerscope/app:1.0@2")) == {
        ("/data/a.txt", "content"),
        ("/data/extra", "added"),
        ("/data/empty", "entry"),
        ("/data/b.txt", "added"),
        ("/etc/passwd", "mode"),
    }


# ---------------------------------------------------------------------- containerd
@needs_root
def test_damage_in_a_containerd_store_is_named(containerd_samples: Path, tmp_path: Path) -> None:
    root = containerd_roots.copy(containerd_samples / "root", tmp_path / "root")
    before = verdicts(root / "docker")
    first = next(one for one in before if one.cache_id is not None)
    files = root / "containerd" / containerd_roots.SNAPSHOTTER / "snapshots" / str(first.cache_id) / "fs"
    victim = next(path for path in sorted(files.rglob("*")) if path.is_file() and path.stat().st_size > 1)
    inside = f"/{victim.relative_to(files)}"
    stat = victim.stat()
    victim.write_bytes(b"\0" * stat.st_size)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    blobs = root / "containerd" / containerd_roots.BLOBS
    small = min(blobs.iterdir(), key=lambda path: path.stat().st_size)
    small.write_bytes(small.read_bytes() + b" ")
    plain, deep = verdicts(root / "docker", deep=False), verdicts(root / "docker")
    for found in (plain, deep):
        assert (inside, "content") in told([one for one in found if one.chain_id == first.chain_id])
        blob = [one for one in found if one.chain_id is None and one.image is None]
        assert [(one.ok, one.findings[0].subject) for one in blob] == [(False, "digest")]
        assert blob[0].findings[0].recorded == f"sha256:{small.name}"
    os.truncate(small, 1 << 40)  # which would take minutes to read
    (endless,) = (one for one in verdicts(root / "docker", deep=False) if one.chain_id is None and one.image is None)
    assert (endless.ok, endless.findings[0].subject) == (False, "length")
    (files / "extra").touch()
    assert ("/extra", "added") in told(verdicts(root / "docker"))
    assert ("/extra", "added") not in told(verdicts(root / "docker", deep=False))


# ---------------------------------------------------------------------- processes
def test_a_killed_process_costs_one_job() -> None:
    def job(number: int) -> Callable[[Callable[[int], None]], int]:
        def work(progress: Callable[[int], None]) -> int:
            if number in (1, 2):
                os.kill(os.getpid(), signal.SIGKILL)
            progress(number)
            return number

        return work

    seen: list[int] = []
    jobs = [job(number) for number in range(6)]
    results = dict(run_jobs(jobs, processes=2, progress=seen.append))
    assert results == {0: 0, 1: None, 2: None, 3: 3, 4: 4, 5: 5}
    assert sorted(seen) == [0, 3, 4, 5]


def test_cancelling_ends_the_processes_at_once() -> None:
    def forever(progress: Callable[[int], None]) -> None:
        time.sleep(60)

    start = time.monotonic()
    assert list(run_jobs([forever, forever], processes=2, cancelled=lambda: time.monotonic() > start + 0.1)) == []
    assert time.monotonic() - start < 5


def test_verdicts_on_the_command_line(overlay2_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from layerscope.cli.main import run

    if os.geteuid() != 0:
        pytest.skip("a sample unpacked without root has lost owners and marks")
    assert run(["verify", "--deep", "--root", str(overlay2_root), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    fields = {"chain_id", "diff_id", "cache_id", "ok", "skipped", "computed", "bytes", "problems"}
    assert len(shown) == 5 and all(fields <= one.keys() and one["ok"] is True for one in shown)
    root = copied(overlay2_root, tmp_path / "root")
    cache = (root / f"image/overlay2/layerdb/sha256/{BASE}/cache-id").read_text()
    (root / "overlay2" / cache / "diff/etc/passwd").write_text("root::0:0:::\n")
    assert run(["verify", "layerscope/base:1.0", "--root", str(root)]) == 1
    captured = capsys.readouterr()
    assert "CHANGED" in captured.out and "/etc/passwd" in captured.out
    assert "1 layer isn't what its record says" in captured.err
