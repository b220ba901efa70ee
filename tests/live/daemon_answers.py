"""Answers of a docker daemon's API, held against what is read from its root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from usage_rows import container_row

from layerscope.services import Session


def assert_containers(session: Session, truth: Mapping[str, Any]) -> None:
    """The containers of a session are those of ``GET /containers/json?all=1&size=1`` and of each one's inspection."""
    inspected = truth["inspected"]
    wanted = [
        (
            container["Id"],
            container["Names"][0].removeprefix("/"),
            inspected[container["Id"]]["Config"]["Image"],
            container["ImageID"],
            container["Command"],
            container["State"],
            inspected[container["Id"]]["State"]["ExitCode"],
            inspected[container["Id"]]["Created"],
            container.get("SizeRw", 0),
            container["SizeRootFs"],
            container["Labels"],
            {(mount["Type"], mount["Destination"]) for mount in container["Mounts"]},
        )
        for container in truth["containers"]
    ]
    told = [
        (*container_row(usage), {(mount.type, mount.destination) for mount in usage.container.mounts})
        for usage in session.containers()
    ]
    assert sorted(told) == sorted(wanted)
