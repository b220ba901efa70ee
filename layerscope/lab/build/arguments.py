"""The arguments of a build: those that a Dockerfile declares by ARG, and those that the command line gives.

What the command line gives counts only where ARG declares the name; proxies count always, and leave no trace in the
history. An ARG before the first FROM holds for FROM alone, until a stage declares the name again.

Source: moby builder/dockerfile/buildargs.go, 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy")


class BuildArguments:
    """The arguments of one stage. ``given``: those of the command line."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._allowed: dict[str, str | None] = {}
        self._before: dict[str, str | None] = {}
        self._declared: set[str] = set()

    def for_stage(self) -> BuildArguments:
        """Those that a new stage begins with; what it declares is told to all."""
        stage = BuildArguments(self._given)
        stage._before = dict(self._before)
        stage._declared = self._declared
        return stage

    def declare(self, name: str, value: str | None, before_stages: bool = False) -> None:
        """ARG: ``value`` counts if the command line gives none."""
        self._allowed[name] = value
        self._declared.add(name)
        if before_stages:
            self._before[name] = value

    @property
    def allowed(self) -> dict[str, str]:
        """What instructions may use."""
        return self._values(self._allowed)

    @property
    def before_stages(self) -> dict[str, str]:
        """What FROM may use."""
        return self._values(self._before)

    def leaves_trace(self, name: str) -> bool:
        """Whether an argument is written into the history."""
        return name in self._allowed or name not in PROXIES

    @property
    def unused(self) -> list[str]:
        """What the command line gave and no stage declared."""
        return sorted(name for name in self._given if name not in self._declared and name not in PROXIES)

    def _values(self, source: Mapping[str, str | None]) -> dict[str, str]:
        found: dict[str, str] = {}
        names: Iterable[str] = (*source, *PROXIES)
        for name in names:
            value = self._given.get(name)
            if value is None:
                value = source.get(name)
            if value is None:
                value = self._before.get(name)
            if value is not None:
                found[name] = value
        return found
