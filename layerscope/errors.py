"""Everything that layerscope raises on purpose.

    LayerscopeError
    ├── UsageError            a REF, path or option that fits nothing (exit 2)
    ├── RootError             the root is missing, not a root, or unreadable (exit 3)
    │   └── PermissionDenied  it is there, but this user may not read it (exit 3)
    ├── CorruptError          bytes that are not what their format says (exit 3)
    ├── UnsupportedError      understood, but not readable here (exit 3)
    └── CommitError           a write was refused or failed; nothing changed (exit 4)

A message says what was being done, where (path and offset), what was found against what was
expected, and what the user can do. It is one line: names in it are already escaped.
"""

from __future__ import annotations


class LayerscopeError(Exception):
    """The top of the family; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(LayerscopeError):
    """What the user asked for names nothing, or names two things."""

    exit_code = 2


class RootError(LayerscopeError):
    """The path is not a root that can be read."""

    exit_code = 3


class PermissionDenied(RootError):
    """The root is there, but this user has no right to read it."""


class CorruptError(LayerscopeError):
    """Stored bytes differ from what their format demands.

    Whoever can answer without them catches it, and the damage is a Problem beside the answer (exit 1). Where it gets
    out there is no answer: what was asked for is as unreadable as a root that can't be read.
    """

    exit_code = 3


class UnsupportedError(LayerscopeError):
    """The thing is recognised, but can't be read here."""

    exit_code = 3


class CommitError(LayerscopeError):
    """A write was refused or failed; nothing was changed."""

    exit_code = 4
