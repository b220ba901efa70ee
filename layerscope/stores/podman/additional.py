"""Additional image stores: roots of the same layout whose images and layers an engine uses without writing to them.

Which they are is no part of a root, but of ``storage.conf``: ``additionalimagestores`` and ``imagestore``. That file is
looked for where it belongs to the root: of a root ``X/var/lib/containers/storage`` below ``X/etc/containers`` (else
``X/usr/share/containers``), of one ``X/…/.local/share/containers/storage`` in ``…/.config/containers``; the paths in it
are taken below ``X``. Source: containers-storage.conf(5); containers/storage types/options.go; seen with podman 4.3.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct

from layerscope.hostfs import Directory
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault, read_bytes, shown

_CONFIG_LIMIT = 1 << 20
_SYSTEM = ("var", "lib", "containers", "storage")
_USER = (".local", "share", "containers", "storage")
_MOST = 16


class OtherRoot(Struct, frozen=True):
    """One additional store; paths below it are shown with ``path`` before them."""

    directory: Directory
    path: Path


def find_others(path: Path) -> tuple[tuple[OtherRoot, ...], tuple[Problem, ...]]:
    """The additional stores of the root at ``path``, and what is wrong with those that can't be opened."""
    found: list[OtherRoot] = []
    problems: list[Problem] = []
    real = Path(os.path.realpath(path))
    for top, inside in list(dict.fromkeys(_named(real, problems)))[:_MOST]:
        place = top / inside
        if place == real:
            continue
        try:
            machine = Directory.open_root(top)
            try:
                # No link on the way is followed: it could lead out of a mounted disk.
                found.append(OtherRoot(machine.descend(inside).as_root(str(place)), place))
            finally:
                machine.close()
        except OSError as error:
            what = f"names the image store {shown(place, 200)}, which can't be opened: {error.strerror}"
            problems.append(Problem("storage.conf", what, "images of it are missing", severity=Severity.WARNING))
    return tuple(found), tuple(problems)


def _named(root: Path, problems: list[Problem]) -> Iterator[tuple[Path, str]]:
    """What the configuration of the root at ``root`` names: the machine's root directory, and the path below it."""
    for top, folder in _configurations(root):
        settings = _settings(top, folder, problems)
        if settings is None:
            continue
        storage = settings.get("storage")
        options = storage.get("options") if isinstance(storage, dict) else None
        others = options.get("additionalimagestores") if isinstance(options, dict) else None
        values = [*(others if isinstance(others, list) else ())]
        if isinstance(storage, dict):
            values.append(storage.get("imagestore"))
        for value in values:
            if isinstance(value, str) and value.startswith("/") and "\0" not in value:
                parts = PurePosixPath(value).parts[1:]
                if parts and ".." not in parts:
                    yield top, "/".join(parts)
        return


def _configurations(root: Path) -> Iterator[tuple[Path, str]]:
    """Where the machine's own root directory is, and a folder below it that may hold its configuration."""
    parts = root.parts
    if parts[-4:] == _SYSTEM:
        top = Path(*parts[:-4])
        yield top, "etc/containers"
        yield top, "usr/share/containers"
    elif parts[-4:] == _USER:
        home = Path(*parts[:-4])
        top = home.parent.parent if home.parent.name == "home" else home.parent if home.name == "root" else Path("/")
        yield top, f"{home.relative_to(top)}/.config/containers"
        yield top, "etc/containers"
        yield top, "usr/share/containers"


def _settings(top: Path, folder: str, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        machine = Directory.open_root(top)
    except OSError:
        return None
    try:
        data = read_bytes(machine.descend(folder), "storage.conf", _CONFIG_LIMIT)
    finally:
        machine.close()
    if isinstance(data, Fault):
        return None
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        what = f"can't be understood: {shown(error)}"
        problems.append(Problem(f"{folder}/storage.conf", what, "additional image stores are not looked for"))
        return None
