"""A volume as its records tell it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from layerscope.model.problem import Problem


class Volume(Struct, frozen=True):
    """One volume of a store.

    ``path`` is where its files lie, relative to the root (None if they don't lie in it: another driver's volume);
    ``mountpoint`` the same below the opened root's own path, as docker prints it. ``options`` are those it was created
    with: a local volume that has a device among them is empty while it isn't in use. ``created`` is the ctime of its
    directory, RFC 3339 in whole seconds, since docker keeps nothing better: it changes when a root is copied.
    """

    name: str
    driver: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    path: str | None
    mountpoint: str
    created: str | None
    problems: tuple[Problem, ...] = ()
