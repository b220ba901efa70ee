"""The tables that copy docker's: ``images``, ``ps -as``, ``history``, cell by cell in docker's own words.

Source: docker/cli cli/command/formatter/{image,container,displayutils}.go, cli/command/image/formatter_history.go;
moby container/state.go ``String``, daemon/list.go ``refreshImage``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from layerscope.cli.render.table import ELLIPSIS, ellipsis
from layerscope.formats.gotime import parse_rfc3339
from layerscope.formats.units import human_duration, human_size

if TYPE_CHECKING:
    from layerscope.model.container import Container
    from layerscope.model.image import HistoryRow, Image
    from layerscope.model.subject import ContainerUsage, ImageUsage

IMAGES_HEADER = (
    "REPOSITORY",
    "TAG",
    "IMAGE ID",
    "CREATED",
    "SIZE",
    "SHARED SIZE",
    "UNIQUE SIZE",
    "CONTAINERS",
)
PS_HEADER = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "SIZE")
HISTORY_HEADER = ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT", "LEVEL", "LAYER")

NONE = "<none>"
MISSING = "<missing>"
UNKNOWN = "?"
_NOT_KNOWN_TIME = "N/A"
_COMMAND_WIDTH = 20
_CREATED_BY_WIDTH = 45
_QUOTED = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_SECOND = 1_000_000_000
_DIGEST = re.compile(r"@[a-z0-9+._-]+:[0-9a-fA-F]{32,}")


def short_id(text: str) -> str:
    """An id cut to 12 characters, without its algorithm. Source: moby pkg/stringid ``TruncateID``."""
    return text.partition(":")[2][:12] if ":" in text else text[:12]


def size(size_bytes: int | None, digits: int = 3) -> str:
    """A size in docker's form, ``?`` if unknown."""
    return UNKNOWN if size_bytes is None else human_size(size_bytes, digits)


def since(recorded: str | None, now_ns: int) -> str:
    """``5 minutes ago``; ``N/A`` for a time that isn't known. docker's API tells whole seconds, cut off."""
    moment = parse_rfc3339(recorded)
    if moment is None:
        return _NOT_KNOWN_TIME
    return f"{human_duration(now_ns - moment + moment % _SECOND)} ago"


def quote(text: str) -> str:
    """A Go string literal. Source: Go strconv ``Quote``."""
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(character: str) -> str:
    if character in _QUOTED:
        return _QUOTED[character]
    if character == " " or character.isprintable():
        return character
    number = ord(character)
    if number < 0x20 or number == 0x7F:
        return f"\\x{number:02x}"
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def status(container: Container, now_ns: int) -> str:
    """The STATUS of ``docker ps``, with "(unclean)" where the record outlived its daemon."""
    words = _status(container, now_ns)
    return f"{words} (unclean)" if container.unclean else words


def _status(container: Container, now_ns: int) -> str:
    code = UNKNOWN if container.exit_code is None else container.exit_code

    def ago(recorded: str | None) -> str:
        moment = parse_rfc3339(recorded)
        return "" if moment is None else human_duration(now_ns - moment)

    match container.state:
        case "paused":
            return f"Up {ago(container.started_at)} (Paused)"
        case "restarting":
            return f"Restarting ({code}) {ago(container.finished_at)} ago"
        case "running":
            health = _health(container)
            return f"Up {ago(container.started_at)}" + (f" ({health})" if health else "")
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
        case "created":
            return "Created"
        case "exited":
            return f"Exited ({code}) {ago(container.finished_at)} ago" if container.finished_at else ""
        case other:
            return other


def _health(container: Container) -> str:
    state = container.config.get("State")
    health = state.get("Health") if isinstance(state, Mapping) else None
    word = health.get("Status") if isinstance(health, Mapping) else None
    if word in ("", None, "none"):
        return ""
    return "health: starting" if word == "starting" else str(word)


def shown_image(typed: str, image_id: str | None, typed_means: str | None, full: bool) -> str:
    """The IMAGE of ``docker ps``: the name as typed while it still means the same image, else its id.

    Args:
        typed: the name given when the container was made.
        image_id: the image that it meant then.
        typed_means: the image that it means now.
        full: leave digests and ids uncut, as ``--no-trunc`` does.
    """
    image = typed if image_id is None or typed_means == image_id else image_id
    if not image:
        return "<no image>"
    if full:
        return image
    if image_id is not None and short_id(image) == short_id(image_id):
        return short_id(image)
    return _DIGEST.sub("", image).removeprefix("docker.io/").removeprefix("library/")


def ps_row(value: ContainerUsage, image: str, now_ns: int, full: bool = False, sign: str = ELLIPSIS) -> list[str]:
    """One line of ``docker ps -as``; ``image`` is its IMAGE cell. PORTS is empty: no record tells them offline.

    ``sign`` ends a command that is cut.
    """
    container = value.container
    command = container.command
    written = size(value.size_rw)
    return [
        container.id if full else short_id(container.id),
        image,
        quote(command if full else ellipsis(command, _COMMAND_WIDTH, sign)),
        since(container.created, now_ns),
        status(container, now_ns),
        "",
        container.name,
        f"{written} (virtual {size(value.size_root_fs)})" if value.size_root_fs != 0 else written,
    ]


def image_names(image: Image) -> list[tuple[str, str]]:
    """Repository and tag of each line that ``docker images`` has for an image."""
    names = [_parted(name) for name in image.repo_tags]
    tagged = {repository for repository, _ in names}
    by_digest = {name.partition("@")[0]: None for name in image.repo_digests}
    names += [(repository, NONE) for repository in by_digest if repository not in tagged]
    return names or [(NONE, NONE)]


def _parted(name: str) -> tuple[str, str]:
    """A name that is no reference, as a layout may bring it along, has neither."""
    repository, _, tag = name.rpartition(":")
    return (repository, tag) if repository else (NONE, NONE)


def image_rows(value: ImageUsage, now_ns: int, full: bool = False) -> Iterator[list[str]]:
    """The lines of one image: one for each of its names."""
    image = value.image
    for repository, tag in image_names(image):
        yield [
            repository,
            tag,
            image.id if full else short_id(image.id),
            since(image.created, now_ns),
            size(image.size),
            size(value.shared_size),
            size(value.unique_size),
            str(value.containers),
        ]


def history_ids(image: Image, rows: int, image_by_id: Callable[[str], Image | None]) -> list[str]:
    """The IMAGE cells of ``docker history``: the image, its parents as far as recorded, then ``<missing>``."""
    ids: list[str] = []
    current: Image | None = image
    while current is not None and len(ids) < rows:
        ids.append(current.id)
        current = None if current.parent is None else image_by_id(current.parent)
    return ids + [MISSING] * (rows - len(ids))


def history_rows(
    rows: Sequence[HistoryRow], ids: Sequence[str], now_ns: int, full: bool = False, sign: str = ELLIPSIS
) -> Iterator[list[str]]:
    """The lines of ``docker history``, newest first, each followed by its level and layer; ``sign`` as in ps_row."""
    for row, identity in zip(rows, ids, strict=True):
        command = row.created_by.replace("\t", " ")
        layer = row.cache_id or row.chain_id or ""
        yield [
            identity if full else short_id(identity),
            since(row.created, now_ns),
            command if full else ellipsis(command, _CREATED_BY_WIDTH, sign),
            size(row.size),
            row.comment,
            "" if row.level is None else str(row.level),
            layer if full else short_id(layer),
        ]
