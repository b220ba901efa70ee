"""The image configs that docker writes: on commit, and on import.

Keys at the top are sorted, those that are empty left out; inner objects keep docker's order. ``created`` of the image
is that of its last history row. docker 29 writes no ``docker_version``, and no ``OnBuild`` that is null.

Sources: moby image/image.go ``NewChildImage``, ``MarshalJSON``; daemon/images/image_import.go; seen with 20.10.24,
26.1.5, 28.5.2 and 29.7.2.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from layerscope.formats.gojson import go_json, sorted_object
from layerscope.lab.container.run_config import RunConfig, in_order
from layerscope.model.digest import DiffID, ImageID, digest_of

_NEVER = "0001-01-01T00:00:00Z"
_TIME = re.compile(r"(.*[Tt]\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}
_WITHOUT_VERSION = 29


class Maker(Struct, frozen=True):
    """Who makes an image, and when. ``engine``: the version by whose rules; ``docker_version``: as the config says it.

    ``created`` is RFC 3339 text as docker writes it.
    """

    engine: str
    docker_version: str
    created: str
    author: str = ""
    comment: str = ""

    @property
    def major(self) -> int:
        """The engine's major version."""
        return int(self.engine.partition(".")[0])


class MadeConfig(Struct, frozen=True):
    """The bytes of a config, and the image ID that they make."""

    data: bytes
    id: ImageID


def host_architecture() -> str:
    """This machine's architecture in Go's words."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def committed_config(
    parent: Mapping[str, Any] | None,
    container: str,
    ran: Mapping[str, Any],
    config: Mapping[str, Any],
    diff_id: DiffID | None,
    maker: Maker,
    os: str = "linux",
) -> MadeConfig:
    """The config of an image committed from a container.

    Args:
        parent: the config of the container's image, None for a container from scratch.
        container: the container's ID.
        ran: the container's ``Config``.
        config: the new image's, with changes.
        diff_id: of the new layer; None if nothing was changed, so that there is none.
        maker: who makes it, and when.
        os: the container's.
    """
    parent = parent or {}
    row = {
        "created": maker.created,
        "author": maker.author,
        "created_by": " ".join(ran.get("Cmd") or ()),
        "comment": maker.comment,
        "empty_layer": diff_id is None,
    }
    history = [*(_history_row(old) for old in parent.get("history") or ()), _history_row(row)]
    diff_ids = list((parent.get("rootfs") or {}).get("diff_ids") or ())
    if diff_id is not None:
        diff_ids.append(diff_id)
    fields = {
        "architecture": parent.get("architecture") or host_architecture(),
        "author": maker.author,
        "config": config,
        "container": container,
        "container_config": ran,
        "created": maker.created,
        "docker_version": maker.docker_version,
        "history": history,
        "os": os,
        "os.features": parent.get("os.features"),
        "os.version": parent.get("os.version"),
        "rootfs": _rootfs(diff_ids),
        "variant": parent.get("variant"),
    }
    return _made(fields, maker)


def imported_config(config: RunConfig, diff_id: DiffID, maker: Maker) -> MadeConfig:
    """The config of an image made of one tar, without a container."""
    fields = {
        "architecture": host_architecture(),
        "comment": maker.comment,
        "config": in_order(config),
        "container_config": in_order({}),
        "created": maker.created,
        "docker_version": maker.docker_version,
        "history": [_history_row({"created": maker.created, "comment": maker.comment})],
        "os": "linux",
        "rootfs": _rootfs([diff_id]),
    }
    return _made(fields, maker)


def _made(fields: Mapping[str, Any], maker: Maker) -> MadeConfig:
    if maker.major >= _WITHOUT_VERSION:
        fields = {**fields, "docker_version": ""}
        for key in ("config", "container_config"):
            inner = {name: value for name, value in fields[key].items() if name != "OnBuild" or value is not None}
            fields = {**fields, key: inner}
    kept = sorted_object({key: value for key, value in fields.items() if value not in (None, "", [])})
    data = go_json(kept, short_escapes=maker.major >= 28)
    return MadeConfig(data, ImageID(digest_of(data)))


def _rootfs(diff_ids: Sequence[str]) -> dict[str, Any]:
    return {"type": "layers", "diff_ids": list(diff_ids)} if diff_ids else {"type": "layers"}


def _history_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as docker writes it anew, whatever its order was."""
    written: dict[str, Any] = {"created": _time(row.get("created"))}
    for key in ("author", "created_by", "comment", "empty_layer"):
        if row.get(key):
            written[key] = row[key]
    return written


def _time(text: Any) -> str:
    """A time as Go gives it back: trailing zeros left out, UTC as ``Z``, a missing one as the year 1."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return _NEVER
    fraction = (found[2] or "")[:9].rstrip("0")
    zone = "Z" if found[3] in ("Z", "z", "+00:00", "-00:00") else found[3]
    return found[1].upper() + (f".{fraction}" if fraction else "") + zone
