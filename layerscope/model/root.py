"""What was found at a root, beside its images and containers."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from layerscope.model.problem import Problem


class Daemon(Struct, frozen=True):
    """Whether an engine holds the root now (None: can't be told), and how that is known."""

    held: bool | None
    evidence: str


class RootSummary(Struct, frozen=True):
    """A root in a few lines: the answer of ``info``.

    ``unseen`` says in plain words what this user can't see here; ``features`` what the root uses. Of a containerd
    store: ``other_root`` is where containerd's half lies, ``namespace`` the one that is read, of all ``namespaces``;
    each "" or empty where there is none.
    """

    root: str
    store: str
    driver: str
    drivers: tuple[str, ...]
    engine: str
    daemon: Daemon
    xattr_prefix: str
    unseen: tuple[str, ...]
    counts: Mapping[str, int]
    features: tuple[str, ...]
    problems: tuple[Problem, ...]
    other_root: str = ""
    namespace: str = ""
    namespaces: tuple[str, ...] = ()
