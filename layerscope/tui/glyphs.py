"""Every sign that the terminal UI draws, twice: for terminals with Unicode, and in plain ASCII (``--ascii``).

A sign means the same in both sets and is as wide; within one group (changes, dots) no two signs are alike, so colour
is never the only difference. All signs are one cell wide unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct, field

from layerscope.model.entry import EntryState


class Mark(StrEnum):
    """What a row of a file tree says about its path, seen from the levels below."""

    SAME = "same"
    WITHIN = "within"
    ADDED = "added"
    MODIFIED = "modified"
    COPIED = "copied"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque"
    HIDDEN = "hidden"


class MarkLook(Struct, frozen=True):
    """How a mark is drawn: the theme colours of its sign and of the name, whether the name is struck through."""

    color: str
    name_color: str
    strike: bool
    word: str


MARK_LOOKS: Mapping[Mark, MarkLook] = MappingProxyType(
    {
        Mark.SAME: MarkLook("foreground", "foreground", False, "unchanged"),
        Mark.WITHIN: MarkLook("muted", "foreground", False, "changes further down"),
        Mark.ADDED: MarkLook("added", "added", False, "added"),
        Mark.MODIFIED: MarkLook("modified", "modified", False, "modified"),
        Mark.COPIED: MarkLook("copied", "copied", False, "copied up, same content"),
        Mark.WHITEOUT: MarkLook("whiteout", "whiteout", True, "removed by whiteout"),
        Mark.OPAQUE: MarkLook("opaque", "opaque", False, "opaque directory"),
        Mark.HIDDEN: MarkLook("hidden", "hidden", True, "hidden"),
    }
)

_MARK_OF_STATE = {
    EntryState.PLAIN: Mark.SAME,
    EntryState.ADDED: Mark.ADDED,
    EntryState.MODIFIED: Mark.MODIFIED,
    EntryState.METADATA: Mark.COPIED,
    EntryState.UNCHANGED: Mark.COPIED,
    EntryState.WHITEOUT: Mark.WHITEOUT,
    EntryState.OPAQUE: Mark.OPAQUE,
}


def mark_of(state: EntryState | None, *, hidden: bool = False, changes_within: bool = False) -> Mark:
    """The mark of an entry: a whiteout is one even though it is hidden, other hidden copies are just that.

    ``changes_within`` tells that a directory holds changes further down; it shows only where the directory itself has
    none to tell. A state that is not known (None) is drawn like one that is the same.
    """
    if hidden and state is not EntryState.WHITEOUT:
        return Mark.HIDDEN
    mark = Mark.SAME if state is None else _MARK_OF_STATE[state]
    plain = mark is Mark.SAME or state is EntryState.UNCHANGED
    return Mark.WITHIN if changes_within and plain else mark


class Glyphs(Struct, frozen=True):
    """One set of signs. ``guide_*`` are two cells wide, ``bar_parts`` eighths of a cell from nothing to seven."""

    ascii_only: bool
    marks: Mapping[Mark, str]
    dots: Mapping[str, str]
    guide_branch: str
    guide_last: str
    guide_line: str
    guide_cut: str
    arrow_open: str
    arrow_closed: str
    ellipsis: str
    rule: str
    rule_vertical: str
    stripe: str
    bracket_top: str
    bracket_middle: str
    bracket_bottom: str
    bar_full: str
    bar_parts: Sequence[str]
    separator: str
    pointer: str
    link: str
    up: str
    down: str
    logo: str
    checked: str
    unchecked: str
    border: str
    key_names: Mapping[str, str] = field(default_factory=dict)
    guide_gap: str = "  "


_DOT_SIGNS = {
    "running": ("●", "*"),
    "paused": ("◐", "="),
    "restarting": ("↻", "%"),
    "created": ("◌", "."),
    "removing": ("◍", ","),
    "exited": ("○", "o"),
    "dead": ("✗", "x"),
    "image": ("◆", "#"),
    "dangling": ("◇", "?"),
    "orphan": ("▣", "!"),
    "problem": ("▲", "&"),
    "unknown": ("·", "-"),
}

DOT_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "running": "added",
        "paused": "modified",
        "restarting": "modified",
        "created": "muted",
        "removing": "muted",
        "exited": "muted",
        "dead": "whiteout",
        "image": "copied",
        "dangling": "whiteout",
        "orphan": "whiteout",
        "problem": "warning",
        "unknown": "muted",
    }
)
"""The theme colour of each status dot: docker's words for a container's state, and the kinds of other things."""

_MARK_SIGNS = {
    Mark.SAME: (" ", " "),
    Mark.WITHIN: ("·", "."),
    Mark.ADDED: ("+", "+"),
    Mark.MODIFIED: ("~", "~"),
    Mark.COPIED: ("↑", "^"),
    Mark.WHITEOUT: ("✗", "x"),
    Mark.OPAQUE: ("⊘", "o"),
    Mark.HIDDEN: ("╌", "-"),
}

UNICODE = Glyphs(
    ascii_only=False,
    marks={mark: signs[0] for mark, signs in _MARK_SIGNS.items()},
    dots={name: signs[0] for name, signs in _DOT_SIGNS.items()},
    guide_branch="├─",
    guide_last="└─",
    guide_line="│ ",
    guide_cut="… ",
    arrow_open="▾",
    arrow_closed="▸",
    ellipsis="…",
    rule="─",
    rule_vertical="│",
    stripe="▌",
    bracket_top="╮",
    bracket_middle="│",
    bracket_bottom="╯",
    bar_full="█",
    bar_parts=("", "▏", "▎", "▍", "▌", "▋", "▊", "▉"),
    separator="·",
    pointer="▶",
    link="→",
    up="▲",
    down="▼",
    logo="▞",
    checked="■",
    unchecked="□",
    border="round",
    key_names={"enter": "enter"},  # the sign for it is tiny in many fonts, and the texts call it enter
)

ASCII = Glyphs(
    ascii_only=True,
    marks={mark: signs[1] for mark, signs in _MARK_SIGNS.items()},
    dots={name: signs[1] for name, signs in _DOT_SIGNS.items()},
    guide_branch="|-",
    guide_last="`-",
    guide_line="| ",
    guide_cut="~ ",
    arrow_open="v",
    arrow_closed=">",
    ellipsis="~",
    rule="-",
    rule_vertical="|",
    stripe="|",
    bracket_top="\\",
    bracket_middle="|",
    bracket_bottom="/",
    bar_full="#",
    bar_parts=("", "", "", "", "#", "#", "#", "#"),
    separator="-",
    pointer=">",
    link=">",
    up="^",
    down="v",
    logo="%",
    checked="x",
    unchecked=".",
    border="ascii",
    key_names={"up": "up", "down": "down", "left": "left", "right": "right", "enter": "enter", "backspace": "bksp"},
)


def dot_of(state: str) -> str:
    """The name of the status dot for docker's word ``state``; "unknown" for a word that docker doesn't use."""
    return state if state in DOT_COLORS else "unknown"


def guides(lasts: Sequence[bool], glyphs: Glyphs, *, cut: bool = False) -> str:
    """The lines in front of a tree row, two cells for each of ``lasts``.

    ``lasts`` says for the row's ancestors (outermost first) and the row itself whether it is the last of its siblings;
    with ``cut`` there are further levels to the left that are not shown.
    """
    if not lasts:
        return ""
    lines = [glyphs.guide_gap if last else glyphs.guide_line for last in lasts[:-1]]
    lines.append(glyphs.guide_last if lasts[-1] else glyphs.guide_branch)
    return (glyphs.guide_cut if cut else "") + "".join(lines)


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """A bar of ``share`` (0 to 1) of ``width`` cells, without padding; anything above 0 shows at least a sliver."""
    share = min(max(share, 0.0), 1.0)
    full, eighths = divmod(round(share * max(width, 0) * 8), 8)
    drawn = glyphs.bar_full * full + glyphs.bar_parts[eighths]
    if not drawn and share > 0 and width > 0:
        return glyphs.bar_parts[1] or glyphs.bar_full
    return drawn
