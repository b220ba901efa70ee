"""The signs for what a level did to a path: never colour alone, and one in plain ASCII for each."""

from __future__ import annotations

from layerscope.model.entry import EntryState

_MARKS = {
    EntryState.PLAIN: (" ", " "),
    EntryState.ADDED: ("+", "+"),
    EntryState.MODIFIED: ("~", "~"),
    EntryState.METADATA: ("↑", "^"),
    EntryState.UNCHANGED: ("↑", "^"),
    EntryState.WHITEOUT: ("✗", "x"),
    EntryState.OPAQUE: ("⊘", "o"),
}
_COVERED = ("╌", "-")
_COLORS = {
    EntryState.ADDED: "32",
    EntryState.MODIFIED: "33",
    EntryState.METADATA: "34",
    EntryState.UNCHANGED: "34",
    EntryState.WHITEOUT: "31",
    EntryState.OPAQUE: "35",
}
COUNT_STATES = {
    "added": EntryState.ADDED,
    "modified": EntryState.MODIFIED,
    "metadata": EntryState.METADATA,
    "deleted": EntryState.WHITEOUT,
    "opaque": EntryState.OPAQUE,
}
"""The state that each count of a level counts."""


def mark(state: EntryState | None, glyphs: bool = True, hidden: bool = False) -> str:
    """The sign of a state; ``hidden`` entries have a sign of their own, except whiteouts."""
    if hidden and state is not EntryState.WHITEOUT:
        return _COVERED[0 if glyphs else 1]
    return " " if state is None else _MARKS[state][0 if glyphs else 1]


def colored(text: str, state: EntryState | None, color: bool) -> str:
    """``text`` in the colour of a state, if colour is wanted."""
    code = _COLORS.get(state) if state is not None and color else None
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
