"""The JSON shapes: what fields a noun has in ``--json``, each always present, null for unknown.

Ids are given in full, sizes in bytes, times in UTC with the digits that the record has, modes as four octal digits.
Text that isn't Unicode has U+FFFD, and for paths the bytes beside it in ``path_base64``. Paths in a view begin with a
slash, those in the root don't.
"""

from __future__ import annotations

import math
import os
import re
import stat as modes
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.formats.gotime import format_rfc3339, parse_rfc3339

if TYPE_CHECKING:
    from layerscope.model.blame import Blame
    from layerscope.model.change import Change
    from layerscope.model.entry import Entry
    from layerscope.model.image import HistoryRow
    from layerscope.model.image import Image as ImageRecord
    from layerscope.model.owner import Owner
    from layerscope.model.problem import Problem
    from layerscope.model.root import RootSummary
    from layerscope.model.subject import ContainerUsage, ImageUsage, StackLevel

Shape = dict[str, Any]

COUNTED = ("added", "modified", "metadata", "deleted", "opaque")
"""The counts of a level, in the order in which they are told."""


def utc(text: str | None) -> str | None:
    """A recorded time in UTC with the digits that the record has; None for no time, Go's zero time, or garbage."""
    nanoseconds = parse_rfc3339(text)
    if text is None or nanoseconds is None:
        return None
    whole = format_rfc3339(nanoseconds - nanoseconds % 1_000_000_000)
    fraction = re.search(r"[.,](\d+)", text, re.ASCII)
    if whole is None or fraction is None:
        return whole
    return f"{whole[:-1]}.{fraction[1]}Z"


def base64(data: bytes) -> str:
    """Standard base64."""
    from base64 import b64encode  # here: hardly any path needs it

    return b64encode(data).decode("ascii")


def plain(value: Any) -> Any:
    """A record's own JSON, fit to be written again: text that isn't Unicode replaced, NaN and infinities null."""
    done: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any]] = [(done, 0, value)]
    while waiting:
        holder, key, item = waiting.pop()
        if isinstance(item, str):
            holder[key] = replaced(item)
        elif isinstance(item, float) and not math.isfinite(item):
            holder[key] = None
        elif isinstance(item, Mapping):
            names = {name: replaced(str(name)) for name in item}
            holder[key] = filled = dict.fromkeys(names.values())
            waiting.extend((filled, names[name], item[name]) for name in item)
        elif isinstance(item, (list, tuple)):
            holder[key] = room = [None] * len(item)
            waiting.extend((room, position, member) for position, member in enumerate(item))
        else:
            holder[key] = item
    return done[0]


def _path(path: str) -> Shape:
    """``path``, with ``path_base64`` where its bytes aren't UTF-8."""
    if is_utf8(path):
        return {"path": replaced(path)}  # in a locale that isn't UTF-8 the text differs from its bytes
    return {"path": replaced(path), "path_base64": base64(bytes_of(path))}


def _path_or_null(path: str | None) -> Shape:
    return {"path": None} if path is None else _path(path)


def problem(value: Problem) -> Shape:
    """Problem."""
    return {
        "severity": str(value.severity),
        **_path(value.path),
        "what": replaced(value.what),
        "effect": replaced(value.effect),
        "hint": replaced(value.hint),
    }


def info(value: RootSummary) -> Shape:
    """Info."""
    return {
        "root": replaced(value.root),
        "store": value.store,
        "driver": replaced(value.driver),
        "drivers": [replaced(driver) for driver in value.drivers],
        "engine": replaced(value.engine),
        "daemon": {"held": value.daemon.held, "evidence": replaced(value.daemon.evidence)},
        "xattr_prefix": value.xattr_prefix,
        "unseen": [replaced(text) for text in value.unseen],
        "counts": dict(value.counts),
        "features": [replaced(feature) for feature in value.features],
        "containerd_root": replaced(value.other_root) if value.other_root else None,
        "namespace": replaced(value.namespace) if value.namespace else None,
        "namespaces": [replaced(name) for name in value.namespaces],
        "problems": [problem(item) for item in value.problems],
    }


def image(value: ImageUsage) -> Shape:
    """Image."""
    record = value.image
    return {
        "id": record.id,
        "repo_tags": [replaced(tag) for tag in record.repo_tags],
        "repo_digests": [replaced(digest) for digest in record.repo_digests],
        "parent": record.parent,
        "created": utc(record.created),
        "size": record.size,
        "shared_size": value.shared_size,
        "unique_size": value.unique_size,
        "containers": value.containers,
        "dangling": value.dangling,
        "architecture": replaced(record.architecture),
        "os": replaced(record.os),
        "layers": list(record.chain_ids),
        "diff_ids": list(record.diff_ids),
        **_content(record),
        "problems": [problem(item) for item in record.problems],
    }


def _content(record: ImageRecord) -> Shape:
    """What only an image of a content store has."""
    if record.manifests is None:
        return {}
    return {
        "content_size": record.content_size,
        "unpacked_size": record.unpacked_size,
        "manifests": [
            {
                "digest": manifest.digest,
                "platform": replaced(manifest.platform),
                "attests": None if manifest.attests is None else replaced(manifest.attests),
                "available": manifest.available,
                "unpacked": manifest.unpacked,
                "content_size": manifest.content_size,
                "unpacked_size": manifest.unpacked_size,
            }
            for manifest in record.manifests
        ],
    }


def container(value: ContainerUsage) -> Shape:
    """Container."""
    record = value.container
    return {
        "id": replaced(record.id),
        "name": replaced(record.name),
        "image": replaced(record.image),
        "image_id": record.image_id,
        "command": replaced(record.command),
        "created": utc(record.created),
        "started_at": utc(record.started_at),
        "finished_at": utc(record.finished_at),
        "state": replaced(record.state),
        "unclean": record.unclean,
        "exit_code": record.exit_code,
        "driver": replaced(record.driver),
        "size_rw": value.size_rw,
        "size_root_fs": value.size_root_fs,
        "log_size": record.log_size,
        "log_path": None if record.log_path is None else replaced(record.log_path),
        "mounts": [
            {
                "type": replaced(mount.type),
                "name": replaced(mount.name),
                "source": replaced(mount.source),
                "destination": replaced(mount.destination),
                "rw": mount.rw,
            }
            for mount in record.mounts
        ],
        "labels": plain(record.labels),
        "mount_id": record.mount_id,
        "init_id": record.init_id,
        "chain_id": record.chain_id,
        "problems": [problem(item) for item in record.problems],
    }


def history_row(value: HistoryRow) -> Shape:
    """HistoryRow."""
    return {
        "created": utc(value.created),
        "created_by": replaced(value.created_by),
        "comment": replaced(value.comment),
        "author": replaced(value.author),
        "size": value.size,
        "empty_layer": value.empty_layer,
        "level": value.level,
        "diff_id": value.diff_id,
        "chain_id": value.chain_id,
        "cache_id": value.cache_id,
    }


def stack_level(value: StackLevel) -> Shape:
    """StackLevel."""
    level, counts = value.level, value.counts
    return {
        "level": level.number,
        "role": str(level.role),
        "chain_id": level.chain_id,
        "diff_id": level.diff_id,
        "cache_id": level.cache_id,
        **_path_or_null(level.path),
        "size": value.size,
        "created_by": replaced(level.created_by),
        **{name: None if counts is None else getattr(counts, name) for name in COUNTED},
        "disk": None if value.disk is None else asdict(value.disk),
    }


def change(value: Change) -> Shape:
    """Change."""
    return {
        "kind": str(value.kind),
        **_path("/" + value.path),
        "reason": str(value.reason),
        "size": value.size,
        "size_below": value.size_below,
        "level": value.level,
        "level_below": value.level_below,
    }


def _device(mode: int, device: int) -> str | None:
    if modes.S_ISCHR(mode) or modes.S_ISBLK(mode):
        return f"{os.major(device)}:{os.minor(device)}"
    return None


def entry(value: Entry, xattrs: Mapping[str, bytes]) -> Shape:
    """Entry. Its ``size`` is what lstat says, so that of a directory is the file system's business."""
    stat = value.stat
    target = value.target
    return {
        **_path("/" + value.path),
        "name": replaced(value.name),
        "type": value.type,
        "mode": f"{modes.S_IMODE(stat.st_mode):04o}",
        "uid": stat.st_uid,
        "gid": stat.st_gid,
        "size": stat.st_size,
        "mtime": format_rfc3339(stat.st_mtime_ns),
        "nlink": stat.st_nlink,
        "link_to": None if value.link_to is None else replaced("/" + value.link_to.removeprefix("/")),
        "target": None if target is None else replaced(target),
        **({} if target is None or is_utf8(target) else {"target_base64": base64(bytes_of(target))}),
        "rdev": _device(stat.st_mode, stat.st_rdev),
        "xattrs": {replaced(name): base64(xattrs[name]) for name in sorted(xattrs)},
        "level": value.level,
        "chain_id": value.chain_id,
        "cache_id": value.cache_id,
        "state": None if value.state is None else str(value.state),
        "hidden": value.hidden,
        "hidden_by": value.hidden_by,
    }


def blame(value: Blame) -> Shape:
    """Blame."""
    return {
        **_path("/" + value.path.removeprefix("/")),
        "visible": value.visible,
        "served_by": value.served_by,
        "paid_bytes": value.paid_bytes,
        "steps": [
            {
                "level": step.level,
                "role": str(step.role),
                "created_by": replaced(step.created_by),
                "event": str(step.event),
                "fields": [replaced(field) for field in step.fields],
                "size": step.size,
                "sha256": step.sha256,
            }
            for step in value.steps
        ],
    }


def owner(value: Owner) -> Shape:
    """Owner."""
    return {
        "kind": value.kind,
        "id": replaced(value.id),
        "names": [replaced(name) for name in value.names],
        "chain_id": value.chain_id,
        "diff_id": value.diff_id,
        "cache_id": value.cache_id,
        **_path_or_null(value.path),
        "claimed_by": None if value.claimed_by is None else replaced(value.claimed_by),
        "reason": replaced(value.reason),
    }


def explanation(path: str, text: str) -> Shape:
    """The answer of ``explain``: the path, and the text about it."""
    return {**_path(path), "text": replaced(text)}
