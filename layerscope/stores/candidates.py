"""Where roots usually lie on this machine, for when nobody names one.

Sources: dockerd(8) ``--data-root`` and its older name ``graph``; containers-storage.conf(5) ``graphroot``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG_LIMIT = 1 << 20


def candidates(home: Path | str | None = None, system: Path | str = "/") -> Iterator[tuple[str, str | None]]:
    """Each place in turn, with why it can't be read (None if it can).

    docker's own configuration, docker's default, the user's own docker, then podman's graphroots. A configuration that
    can't be understood is yielded itself, with the reason. ``system`` stands in for the root directory.
    """
    seen: set[str] = set()
    for path, reason in _places(os.path.expanduser("~") if home is None else os.fspath(home), os.fspath(system)):
        if path not in seen:
            seen.add(path)
            yield path, reason or _why_not(path)


def _places(home: str, system: str) -> Iterator[tuple[str, str | None]]:
    yield from _docker_configured(os.path.join(system, "etc/docker/daemon.json"), system)
    yield os.path.join(system, "var/lib/docker"), None
    yield os.path.join(home, ".local/share/docker"), None
    yield from _podman_configured(os.path.join(system, "etc/containers/storage.conf"), system)
    yield from _podman_configured(os.path.join(system, "usr/share/containers/storage.conf"), system)
    yield os.path.join(system, "var/lib/containers/storage"), None
    yield from _podman_configured(os.path.join(home, ".config/containers/storage.conf"), system)
    yield os.path.join(home, ".local/share/containers/storage"), None


def _docker_configured(file: str, system: str) -> Iterator[tuple[str, str | None]]:
    settings, reason = _settings(file, _from_json, "JSON")
    if reason:
        yield file, reason
    for key in ("data-root", "graph"):
        yield from _placed(settings.get(key), system)


def _podman_configured(file: str, system: str) -> Iterator[tuple[str, str | None]]:
    settings, reason = _settings(file, _from_toml, "TOML")
    if reason:
        yield file, reason
    storage = settings.get("storage")
    yield from _placed(storage.get("graphroot") if isinstance(storage, dict) else None, system)


def _placed(value: object, system: str) -> Iterator[tuple[str, None]]:
    if isinstance(value, str) and value:
        yield os.path.join(system, os.path.expandvars(value).replace("\0", "").strip("/")), None


# Most machines have none of these files, and it takes longer to import what reads them than to look for them.
def _from_json(text: str) -> object:
    import json

    return json.loads(text)


def _from_toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


def _settings(file: str, parse: Callable[[str], object], form: str) -> tuple[Mapping[str, object], str]:
    """What a configuration file holds, nothing if there is none; and why it can't be used, if it can't."""
    try:
        with open(file, "rb") as opened:
            found = parse(opened.read(_CONFIG_LIMIT).decode())
    except FileNotFoundError:
        return {}, ""
    except UnicodeDecodeError:
        return {}, "is not UTF-8"
    except (ValueError, RecursionError) as error:
        return {}, f"is not {form}: {error}"
    except OSError as error:
        return {}, f"can't be read: {error.strerror}"
    return found if isinstance(found, dict) else {}, ""


def _why_not(path: str) -> str | None:
    try:
        with os.scandir(path) as entries:
            return None if next(entries, None) else "is empty"
    except OSError as error:
        return {
            "FileNotFoundError": "is not there",
            "NotADirectoryError": "is not a directory",
            "PermissionError": "can't be read without privilege",
        }.get(type(error).__name__, f"can't be read: {error.strerror}")
