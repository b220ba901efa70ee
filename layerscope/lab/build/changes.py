"""Dockerfile instructions that change an image's ``Config`` and nothing else: those of ``--change``, and of a build.

Source: moby builder/dockerfile/dispatchers.go, builder.go ``BuildFromConfig``; github.com/moby/buildkit
frontend/dockerfile/instructions/parse.go; seen with 20.10.24.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from layerscope.errors import UsageError
from layerscope.lab.build.words import environment, name_values, resolve, split_words, string_list
from layerscope.lab.container.run_config import RunConfig, in_order

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_HOST_PORTS = re.compile(r"(?:(\d{1,5})(?:-(\d{1,5}))?)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
_HEALTH_FLAGS = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "retries": "Retries"}
_SHORTEST = 10**6
_MOST_DIGITS = 11
_MOST_PORTS = 65535


def changed(config: Mapping[str, Any], changes: Sequence[str]) -> RunConfig:
    """``config`` after some instructions, in docker's order of keys; ``config`` itself stays.

    Raises:
        UsageError: an instruction that can't change a config, or a mistake in one.
    """
    state = ConfigState(in_order(config))
    for line in "\n".join(changes).replace("\\\n", "").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            word, _, rest = line.strip().partition(" ")
            if word.upper() not in CHANGES:
                raise UsageError(f"{word!r:.80} is not a valid change command; valid are {', '.join(CHANGES)}")
            state.apply(word.upper(), rest.strip())
    return in_order(state.config)


class ConfigState:
    """A config that is being changed by one instruction after the other.

    ``arguments``: further variables for substitution (a build's ARG), which those of ``Env`` win over.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.arguments: dict[str, str] = {}
        self._cmd_given = False

    def apply(self, instruction: str, text: str) -> None:
        """Carry out one of :data:`INSTRUCTIONS`.

        Raises:
            UsageError: it isn't right.
        """
        if not text:
            raise UsageError(f"{instruction} requires at least one argument")
        INSTRUCTIONS[instruction](self, text)

    def resolve(self, word: str) -> str:
        """A word with its variables."""
        return resolve(word, {**self.arguments, **environment(self.config.get("Env"))})

    # ------------------------------------------------------------------ the instructions
    def _env(self, text: str) -> None:
        variables = list(self.config.get("Env") or ())
        for name, value in [(self.resolve(n), self.resolve(v)) for n, v in name_values(text, "ENV")]:
            places = [place for place, old in enumerate(variables) if old.partition("=")[0] == name]
            if places:
                variables[places[0]] = f"{name}={value}"
            else:
                variables.append(f"{name}={value}")
        self.config["Env"] = variables

    def _label(self, text: str) -> None:
        pairs = {self.resolve(name): self.resolve(value) for name, value in name_values(text, "LABEL")}
        self.config["Labels"] = {**(self.config.get("Labels") or {}), **pairs}

    def _cmd(self, text: str) -> None:
        self.config["Cmd"] = self._command(text)
        self.config.pop("ArgsEscaped", None)
        self._cmd_given = True

    def _entrypoint(self, text: str) -> None:
        self.config["Entrypoint"] = self._command(text)
        if not self._cmd_given:
            self.config["Cmd"] = None

    def _command(self, text: str) -> list[str]:
        listed = string_list(text)
        return listed if listed is not None else [*(self.config.get("Shell") or _SHELL), text]

    def _user(self, text: str) -> None:
        self.config["User"] = self.resolve(_only_word(text, "USER"))

    def _workdir(self, text: str) -> None:
        path = self.resolve(text)
        if not path:
            raise UsageError("WORKDIR: the path is empty")
        current = self.config.get("WorkingDir") or "/"
        self.config["WorkingDir"] = path if path.startswith("/") else _clean(f"/{current}/{path}")

    def _volume(self, text: str) -> None:
        names = string_list(text)
        names = split_words(text) if names is None else names
        volumes = dict(self.config.get("Volumes") or {})
        for name in names:
            volume = self.resolve(name).strip()
            if not volume:
                raise UsageError("VOLUME specified can not be an empty string")
            volumes[volume] = {}
        self.config["Volumes"] = volumes

    def _expose(self, text: str) -> None:
        ports = dict(self.config.get("ExposedPorts") or {})
        for word in split_words(text):
            for port in _ports(self.resolve(word)):
                ports[port] = {}
        self.config["ExposedPorts"] = ports

    def _stop_signal(self, text: str) -> None:
        word = self.resolve(_only_word(text, "STOPSIGNAL"))
        if not re.fullmatch(r"\d{1,2}|(SIG)?[A-Z][A-Z0-9+-]{1,11}", word, re.IGNORECASE):
            raise UsageError(f"STOPSIGNAL: {word!r:.80} is no signal")
        self.config["StopSignal"] = word

    def _on_build(self, text: str) -> None:
        trigger = text.split(None, 1)[0].upper()
        if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
            raise UsageError(f"{trigger} isn't allowed as an ONBUILD trigger")
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), text]

    def _healthcheck(self, text: str) -> None:
        health: dict[str, Any] = {}
        words = text.split(None, 1)
        while words and words[0].startswith("--"):
            name, _, value = words[0][2:].partition("=")
            if name not in _HEALTH_FLAGS:
                raise UsageError(f"HEALTHCHECK: unknown flag --{name:.40}")
            health[_HEALTH_FLAGS[name]] = _count(value) if name == "retries" else _duration(value, name)
            words = words[1].split(None, 1) if len(words) > 1 else []
        if not words:
            raise UsageError("HEALTHCHECK requires at least one argument")
        kind, rest = words[0].upper(), words[1] if len(words) > 1 else ""
        if kind == "NONE" and not rest:
            self.config["Healthcheck"] = {"Test": ["NONE"]}
            return
        if kind != "CMD" or not rest:
            raise UsageError(f"HEALTHCHECK: expected NONE, or CMD with a command, not {words[0]!r:.40}")
        listed = string_list(rest)
        if listed == []:
            raise UsageError("HEALTHCHECK: there is no command after CMD")
        test = ["CMD", *listed] if listed is not None else ["CMD-SHELL", rest]
        self.config["Healthcheck"] = {"Test": test, **health}


INSTRUCTIONS: dict[str, Callable[[ConfigState, str], None]] = {
    "CMD": ConfigState._cmd,
    "ENTRYPOINT": ConfigState._entrypoint,
    "ENV": ConfigState._env,
    "EXPOSE": ConfigState._expose,
    "HEALTHCHECK": ConfigState._healthcheck,
    "LABEL": ConfigState._label,
    "ONBUILD": ConfigState._on_build,
    "STOPSIGNAL": ConfigState._stop_signal,
    "USER": ConfigState._user,
    "VOLUME": ConfigState._volume,
    "WORKDIR": ConfigState._workdir,
}
"""What changes a config and nothing else."""

CHANGES = tuple(name for name in INSTRUCTIONS if name != "STOPSIGNAL")
"""What ``--change`` takes; docker leaves one out."""


def _only_word(text: str, instruction: str) -> str:
    if len(split_words(text)) != 1:
        raise UsageError(f"{instruction} requires exactly one argument")
    return text


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _ports(text: str) -> list[str]:
    """The ports of a word such as ``80/tcp``; the host's before a colon say nothing of an image, but must be right."""
    host, _, inner = text.rpartition(":")
    found = _PORT.fullmatch(inner)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if found is None or not 0 <= first <= last <= _MOST_PORTS or not _is_host(host, last - first):
        raise UsageError(f"EXPOSE: {text!r:.80} is no port, or range of ports, such as 80/tcp")
    return [f"{port}/{(found[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def _is_host(text: str, more: int) -> bool:
    """Whether it is nothing, a port or range of them, or an address before such; ``more`` than one is as many here."""
    address, _, ports = text.rpartition(":")
    found = _HOST_PORTS.fullmatch(ports)
    if found is None:
        return False
    try:
        if address:
            ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    first, last = int(found[1] or 0), int(found[2] or found[1] or 0)
    return first <= last <= _MOST_PORTS and (not more or not ports or last - first == more)


def _duration(text: str, name: str) -> int:
    """Nanoseconds of a Go duration such as ``1m30s``; 0, docker's own, for none."""
    if not text:
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"HEALTHCHECK: --{name}={text!r:.40} is no duration such as 30s")
    nanoseconds = sum(round(float(number) * _UNITS[unit]) for number, unit in parts)
    if not _SHORTEST <= nanoseconds < 1 << 63:
        raise UsageError(f"HEALTHCHECK: --{name}={text!r:.40} is shorter than 1ms, or longer than a clock can tell")
    return nanoseconds


def _count(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS and 1 <= int(text) < 1 << 31):
        raise UsageError(f"HEALTHCHECK: --retries={text!r:.40} is no number of at least 1")
    return int(text)
