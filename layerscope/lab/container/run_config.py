"""``Config``: what a container runs, in image configs and container records; its order of keys, and how two are merged.

| key | when there is nothing |
| --- | --- |
| Hostname Domainname User Image WorkingDir | ``""`` |
| AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce | false |
| Env Cmd Volumes Entrypoint OnBuild Labels | null |
| ExposedPorts Healthcheck ArgsEscaped NetworkDisabled MacAddress StopSignal StopTimeout Shell | left out |

Sources: moby api/types/container/config.go; daemon/commit.go ``merge``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerscope.formats.gojson import sorted_object

RunConfig = dict[str, Any]

_TEXT, _FLAG, _NULL, _OMITTED = "", False, None, "omitted"
_KEYS: dict[str, Any] = {
    "Hostname": _TEXT,
    "Domainname": _TEXT,
    "User": _TEXT,
    "AttachStdin": _FLAG,
    "AttachStdout": _FLAG,
    "AttachStderr": _FLAG,
    "ExposedPorts": _OMITTED,
    "Tty": _FLAG,
    "OpenStdin": _FLAG,
    "StdinOnce": _FLAG,
    "Env": _NULL,
    "Cmd": _NULL,
    "Healthcheck": _OMITTED,
    "ArgsEscaped": _OMITTED,
    "Image": _TEXT,
    "Volumes": _NULL,
    "WorkingDir": _TEXT,
    "Entrypoint": _NULL,
    "NetworkDisabled": _OMITTED,
    "MacAddress": _OMITTED,
    "OnBuild": _NULL,
    "Labels": _NULL,
    "StopSignal": _OMITTED,
    "StopTimeout": _OMITTED,
    "Shell": _OMITTED,
}
_HEALTH = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def in_order(config: Mapping[str, Any]) -> RunConfig:
    """``config`` with docker's keys in docker's order; keys that docker doesn't know are left out."""
    ordered: RunConfig = {}
    for key, nothing in _KEYS.items():
        value = config.get(key)
        if key == "Healthcheck" and isinstance(value, Mapping):
            value = {name: value[name] for name in _HEALTH if value.get(name)}
        elif isinstance(value, Mapping):
            value = sorted_object(value)
        if nothing is not _OMITTED:
            ordered[key] = nothing if value is None else value
        elif value or (key == "StopTimeout" and value is not None) or (key == "Healthcheck" and value is not None):
            ordered[key] = value
    return ordered


def merged(own: Mapping[str, Any], below: Mapping[str, Any]) -> RunConfig:
    """``own`` with what it leaves open taken from ``below``; neither is changed."""
    config = dict(own)
    for key in ("User", "WorkingDir", "StopSignal"):
        if not config.get(key) and below.get(key):
            config[key] = below[key]
    for key in ("ExposedPorts", "Volumes"):
        if config.get(key):
            config[key] = {**(below.get(key) or {}), **config[key]}
        elif below.get(key) is not None:
            config[key] = below[key]
    config["Env"] = _merged_environment(config.get("Env") or [], below.get("Env"))
    config["Labels"] = {**(below.get("Labels") or {}), **(config.get("Labels") or {})}
    if not config.get("Entrypoint"):
        if not config.get("Cmd"):
            config["Cmd"] = below.get("Cmd")
        if config.get("Entrypoint") is None:
            config["Entrypoint"] = below.get("Entrypoint")
    if below.get("Healthcheck") is not None:
        health = dict(config.get("Healthcheck") or {})
        for key in _HEALTH:
            if not health.get(key) and below["Healthcheck"].get(key):
                health[key] = below["Healthcheck"][key]
        config["Healthcheck"] = health
    return in_order(config)


def started(config: Mapping[str, Any]) -> RunConfig:
    """``config`` as a container has it: an entry point of one empty word, which undoes the image's, is none."""
    return {**config, "Entrypoint": None} if config.get("Entrypoint") == [""] else dict(config)


def _merged_environment(own: list[str], below: list[str] | None) -> list[str] | None:
    """Own variables first, then those of ``below`` that have other names."""
    if not own:
        return below
    names = {variable.partition("=")[0] for variable in own}
    return [*own, *(variable for variable in below or () if variable.partition("=")[0] not in names)]
