"""What running leaves of a container beside its layers: its state, its log, the files that it shares with the host.

| in `containers/<ID>/` | mode | content |
| --- | --- | --- |
| `config.v2.json` | 0600 | gets the state, and the paths as the daemon of the story sees them |
| `<ID>-json.log` | 0640 | one JSON object a line: log, stream, time |
| `hostname`, `hosts`, `resolv.conf` | 0644 | mounted into the container |

Source: moby container/container.go, daemon/container_operations.go, daemon/logger/jsonfilelog; seen with 20.10.24.
"""

from __future__ import annotations

import json
from typing import Any

from layerscope.demo.containers import Container
from layerscope.demo.generated import json_log
from layerscope.formats.gojson import go_json
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.records import CONTAINERS
from layerscope.model.digest import ContainerID

_SEEN_AS = "/var/lib/docker"
_LIMIT = 1 << 20


def tell_run(disk: Disk, identity: ContainerID, container: Container) -> None:
    """Write down that a container was started, and how it ended."""
    folder = f"{CONTAINERS}/{identity}"
    record = json.loads(disk.top.descend(folder).read("config.v2.json", _LIMIT))
    _tell_state(record, container)
    seen_as = f"{_SEEN_AS}/{folder}"
    record["LogPath"] = f"{seen_as}/{identity}-json.log"
    for key, name in (("HostnamePath", "hostname"), ("HostsPath", "hosts"), ("ResolvConfPath", "resolv.conf")):
        record[key] = f"{seen_as}/{name}"
    for mount in record["MountPoints"].values():
        mount["Source"] = f"{_SEEN_AS}/volumes/{mount['Name']}/_data"
    host = record["Config"]["Hostname"]
    for name, text in (
        ("hostname", f"{host}\n"),
        ("hosts", f"127.0.0.1\tlocalhost\n192.0.2.17\t{host}\n"),
        ("resolv.conf", "nameserver 192.0.2.1\n"),
    ):
        disk.write(f"{folder}/{name}", text.encode(), 0o644)
    disk.write(f"{folder}/{identity}-json.log", json_log(container.log_lines()).encode(), 0o640)
    aside = disk.write_aside(f"{folder}/config.v2.json", go_json(record), 0o600)
    disk.rename(aside, f"{folder}/config.v2.json", replace=True)


def _tell_state(record: dict[str, Any], container: Container) -> None:
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
