#!/usr/bin/env python3
"""Make the root that `layerscope demo` shows: run by hand, as root, with docker's engine 20.10 installed.

    python tests/demo/make_demo_root.py            writes layerscope/demo/root.tar.xz
                                                   and tests/data/demo/truth.json

The images are loaded into a real engine, the containers made by it; what happened in them is done through the kernel's
overlay while the engine is down. Then the records are told what time it is in the story, and who was running.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from containers import CONTAINERS, Container, Inside, fill_volume, mounted, settle_times
from cut_off import cut_off
from dockerd import Engine
from generated import json_log
from images import CUT_OFF, story
from pack import pack
from truth import ask, write

_ARCHIVE = Path(__file__).parents[2] / "layerscope" / "demo" / "root.tar.xz"
_TRUTH = Path(__file__).parents[1] / "data" / "demo" / "truth.json"
_POWER_LOST = datetime(2026, 3, 12, 10, 22, 41, tzinfo=UTC)
_REMOVED_BY_FORCE = "shop/report:0.9"


def make(work: Path, archive: Path, truth: Path) -> None:
    """Make the root below ``work``, pack it, and write down what an engine says about the packed one."""
    since = int(time.time())
    root = work / "root"
    with Engine(root, work) as engine:
        for image, names in story():
            print(engine.docker("load", stdin=image.archive(*names)))
        engine.docker("volume", "create", "--label=shop.keep=yes", "db-data")
        ids = {c.name: engine.docker("create", f"--name={c.name}", *c.create) for c in CONTAINERS}
        print(engine.docker("rmi", "-f", _REMOVED_BY_FORCE))
        unfinished = engine.docker("image", "inspect", "--format={{.Id}}", CUT_OFF)
        print(engine.docker("images", "-a"), engine.docker("ps", "-a"), sep="\n")
    for container in CONTAINERS:
        mount_id = (root / "image/overlay2/layerdb/mounts" / ids[container.name] / "mount-id").read_text()
        live_through(container, root / "overlay2", mount_id, work, since)
        tell_records(container, root / "containers" / ids[container.name])
        if container.started and container.exit_code is None:
            (root / "overlay2" / mount_id / "merged").mkdir(0o700)
    cut_off(root, unfinished, CUT_OFF)
    fill_volume(root / "volumes/db-data/_data")
    counted = pack(root, archive, since, _POWER_LOST.timestamp())
    write(ask(archive, work), truth)
    print(f"{archive}: {archive.stat().st_size} bytes packed,", ", ".join(f"{n} {what}" for what, n in counted.items()))


def live_through(container: Container, driver: Path, mount_id: str, work: Path, since: int) -> None:
    """Let what happened in a container happen."""
    created = datetime.fromisoformat(container.created).replace(tzinfo=UTC)
    settle_times(driver / f"{mount_id}-init", since, created)
    if container.deeds:
        with mounted(driver, mount_id, work / "merged"):
            container.deeds(Inside(work / "merged"))
        ended = datetime.fromisoformat(container.finished).replace(tzinfo=UTC) if container.finished else _POWER_LOST
        settle_times(driver / mount_id / "diff", since, ended)


def tell_records(container: Container, folder: Path) -> None:
    """Give a container the times, the state, the log and the files that it would have."""
    path = folder / "config.v2.json"
    record: dict[str, Any] = json.loads(path.read_text())
    record["Created"] = f"{container.created}.417260913Z"
    if container.started:
        running = container.exit_code is None
        record["State"].update(
            Running=running,
            Pid=4711 if running else 0,
            ExitCode=container.exit_code or 0,
            StartedAt=f"{container.started}.108374655Z",
        )
        if container.finished:
            record["State"]["FinishedAt"] = f"{container.finished}.020913377Z"
        record["HasBeenStartedBefore"] = True
        seen_as = f"/var/lib/docker/containers/{folder.name}"
        record["LogPath"] = f"{seen_as}/{folder.name}-json.log"
        for key, name in (("HostnamePath", "hostname"), ("HostsPath", "hosts"), ("ResolvConfPath", "resolv.conf")):
            record[key] = f"{seen_as}/{name}"
        host = record["Config"]["Hostname"]
        (folder / "hostname").write_text(f"{host}\n")
        (folder / "hosts").write_text(f"127.0.0.1\tlocalhost\n192.0.2.17\t{host}\n")
        (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
        log = folder / f"{folder.name}-json.log"
        log.write_text(json_log(container.log_lines()))
        log.chmod(0o640)
    path.write_text(json.dumps(record, separators=(",", ":")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, default=_ARCHIVE, help="where to write (default: %(default)s)")
    parser.add_argument("--truth", type=Path, default=_TRUTH, help="where to write the engine's answers")
    parser.add_argument("--keep", type=Path, help="work in this new directory, and leave it")
    arguments = parser.parse_args()
    os.umask(0o022)
    if arguments.keep:
        arguments.keep.mkdir()
        make(arguments.keep, arguments.archive, arguments.truth)
        return
    work = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    try:
        make(work, arguments.archive, arguments.truth)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
