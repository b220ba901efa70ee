"""Scans of a live daemon's root, and what grew between two: as du, find and docker itself tell it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import scan_facts
from engine import Engine, Tar, minimal_tar
from ledger_facts import du

from layerscope.analysis.scan.difference import differences
from layerscope.formats.scan.reader import ScanReader
from layerscope.model.scan import ScanSubject
from layerscope.model.scan_difference import Growth, PathGrowth, ScanDifference

WAIT = "while [ ! -e /go ]; do sleep 0.1; done; "


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    found = Engine(request.param)
    try:
        found.start()
        tar = minimal_tar()
        tar.add("data/file", b"x" * 50_000)
        found.import_image(tar.bytes(), "scan/base:1")
        more = minimal_tar()
        more.add("other", b"y" * 300_000)
        found.import_image(more.bytes(), "scan/goes:1")
        yield found
    finally:
        found.remove()


def quiet_scan(engine: Engine) -> tuple[bytes, int]:
    """A scan during which the root stayed as it was, and du's sum."""
    for _ in range(40):
        before = du(engine.root)
        data, summary = scan_facts.scan_of(engine.root)
        if before == du(engine.root) and not summary.end.vanished:
            return data, before
        time.sleep(0.2)
    raise AssertionError("the root never stayed as it was")


def compared(old: bytes, new: bytes) -> tuple[ScanDifference, list[PathGrowth]]:
    with ExitStack() as stack:
        found = differences(ScanReader(BytesIO(old), "old"), ScanReader(BytesIO(new), "new"), None, stack)
        return found, list(found.paths)


def upper_of(engine: Engine, container: str) -> Path:
    data = engine.get(f"/containers/{container}/json")["GraphDriver"]["Data"]
    if data and "UpperDir" in data:
        return Path(data["UpperDir"])
    mount = (engine.root / "image" / engine.driver / "layerdb/mounts" / container / "mount-id").read_text()
    return engine.root / "vfs/dir" / mount


def until(done: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_grew_is_what_was_done(engine: Engine) -> None:
    """Containers run: one writes, one is made, one goes; an image is committed, another one removed."""
    script = (
        WAIT + "dd if=/dev/zero of=/data/new bs=1000 count=700; rm /old; echo more >> /data/file;"
        "dd if=/dev/zero of=/volume/grown bs=1000 count=500; head -c 60000 /dev/zero | tr '\\0' x; touch /done;"
        " while :; do sleep 1; done"
    )
    engine.post("/volumes/create", {"Name": "data"})
    writer = engine.create(
        "scan/base:1", ["/bin/busybox", "sh", "-c", script], "writer", HostConfig={"Binds": ["data:/volume"]}
    )
    engine.put(writer, _tar("old", b"o" * 90_000))
    engine.post(f"/containers/{writer}/start")
    goes = engine.shell("scan/base:1", "head -c 40000 /dev/zero > /mine", "goes")
    upper, gone = upper_of(engine, writer), upper_of(engine, goes)
    volume = Path(engine.get("/volumes/data")["Mountpoint"])
    old, total = quiet_scan(engine)
    first = scan_facts.read(old)
    assert first.header.total_disk == total == sum(entry.disk for entry in first.entries)
    assert sum(row.disk for tree, row in first.rows() if tree.in_root) == total
    before, gone_before, gone_disk = scan_facts.found(upper), scan_facts.found(gone), du(gone)
    goes_image = engine.get("/images/scan/goes:1/json")
    sums = {"upper": du(upper), "volume": du(volume.parent)}

    engine.put(writer, _tar("go", b""))
    until(lambda: (upper / "done").exists())
    engine.call("DELETE", f"/containers/{goes}")
    engine.call("DELETE", "/images/scan/goes:1")
    committed = engine.commit(writer, "scan/committed:1")
    comes = engine.shell("scan/base:1", "head -c 30000 /dev/zero > /came", "comes")
    new, total_now = quiet_scan(engine)
    found, paths = compared(old, new)

    assert (found.old.total_disk, found.new.total_disk) == (total, total_now)
    assert sum(one.grown_disk for one in found.classes) == total_now - total
    assert sum(one.grown_disk for one in found.owners) == total_now - total
    classes = {one.category: one for one in found.classes}
    assert classes["volume"].grown_disk == du(volume.parent) - sums["volume"] >= 500_000
    owners = {(one.kind, one.owner): one for one in found.owners}
    assert owners["volume", "data"].grown_disk == du(volume.parent) - sums["volume"]
    assert owners["container", "goes"].new_disk == 0
    assert owners["container", "comes"].old_disk == 0
    assert owners["image", "scan/goes:1"].new_disk == 0

    after = scan_facts.found(upper)
    truth = {}
    for path in {*before, *after}:
        disks = tuple(side[path][5] if path in side else None for side in (before, after))
        if (disks[0] or 0) != (disks[1] or 0):
            truth["/" + path.decode()] = disks
    told = {one.inside: (one.old_disk, one.new_disk) for one in paths if one.layer == writer}
    assert told == truth
    assert set(told) >= {"/data/new", "/old"}
    growths = {one.inside: one.growth for one in paths if one.layer == writer}
    assert (growths["/data/new"], growths["/old"]) == (Growth.ADDED, Growth.REMOVED)
    written = [one for one in paths if one.layer == writer]
    assert sum(one.grown_disk for one in written) == du(upper) - sums["upper"]
    assert all(one.subject == ScanSubject("container-rw", "writer") for one in written)
    log = engine.get(f"/containers/{writer}/json")["LogPath"]
    logged = next(one for one in paths if one.path == str(Path(log).relative_to(engine.root)))
    assert (logged.new_disk, logged.subject) == (Path(log).stat().st_blocks * 512, ScanSubject("log", "writer"))
    grown = next(one for one in paths if one.path == str((volume / "grown").relative_to(engine.root)))
    assert (grown.growth, grown.new_size, grown.subject) == (Growth.ADDED, 500_000, ScanSubject("volume", "data"))

    layers = {(one.growth, one.tree.id): one for one in found.layers}
    assert layers[Growth.REMOVED, goes].disk == gone_disk
    assert layers[Growth.REMOVED, goes].entries == len(gone_before)
    assert layers[Growth.ADDED, comes].disk == du(upper_of(engine, comes))
    diff_ids = engine.get(f"/images/{committed}/json")["RootFS"]["Layers"]
    added = [one for one in found.layers if one.growth is Growth.ADDED and one.tree.role == "image"]
    assert [(one.tree.diff_id, one.tree.names) for one in added] == [(diff_ids[-1], ("scan/committed:1",))]
    removed = [one for one in found.layers if one.growth is Growth.REMOVED and one.tree.role == "image"]
    assert [one.tree.diff_id for one in removed] == goes_image["RootFS"]["Layers"]
    biggest = paths[0]
    assert abs(biggest.grown_disk) == max(abs(one.grown_disk) for one in paths) >= 700_000
    engine.call("DELETE", f"/containers/{writer}?force=1")
    engine.call("DELETE", f"/containers/{comes}")


def test_a_scan_under_a_writer(engine: Engine) -> None:
    """Files come and go all the time: nothing breaks, the file is whole, and what vanished is no error."""
    script = "i=0; while :; do i=$((i+1)); mkdir -p /t/$i; echo x > /t/$i/f; rm -rf /t/$((i-20)); done"
    busy = engine.run("scan/base:1", ["/bin/busybox", "sh", "-c", script], "busy", wait=False)
    try:
        until(lambda: len(list((upper_of(engine, busy)).glob("t/*"))) > 10)
        for _ in range(5):
            data, summary = scan_facts.scan_of(engine.root)
            found = scan_facts.read(data)
            assert found.end == summary.end
            assert not [one for one in summary.problems if one.severity != "note"]
            assert {tree.id for tree, _ in found.trees.values()} >= {busy, f"{busy}-init"}
    finally:
        engine.call("DELETE", f"/containers/{busy}?force=1")


def _tar(name: str, content: bytes) -> bytes:
    tar = Tar()
    tar.add(name, content)
    return tar.bytes()
