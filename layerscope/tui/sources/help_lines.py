"""All keys and signs as lines for help, in as many columns as there is room for. Made from the key table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from layerscope.tui.glyphs import DOT_COLORS, MARK_LOOKS, Glyphs, Mark
from layerscope.tui.keys import KEYS
from layerscope.tui.sources.wrapping import wrapped

KEY_CELLS = 12
SIGN_CELLS = 3
GAP_CELLS = 3
_COLUMN = 50
_MOST_LINES = 3
_MARK_WORDS = {
    Mark.SAME: "unchanged since the base layer",
    Mark.WITHIN: "a directory with changes further down",
    Mark.ADDED: "added by that layer",
    Mark.MODIFIED: "copied up, content changed",
    Mark.COPIED: "copied up, same content",
    Mark.WHITEOUT: "removed by a whiteout; its bytes are still paid",
    Mark.OPAQUE: "opaque directory: hides what is below",
    Mark.HIDDEN: "hidden by an opaque directory or a parent",
}
_DOT_WORDS = {
    "running": "running",
    "paused": "paused, restarting",
    "created": "created, never started",
    "exited": "exited",
    "dead": "dead",
    "image": "image",
    "dangling": "image without a name",
    "problem": "something is wrong",
}


class HelpLine(NamedTuple):
    """One line of a column: a heading if ``sign`` is "", else what keys or a sign mean. ``color`` is a theme name."""

    sign: str
    text: str
    color: str = "accent"
    is_key: bool = False


def help_blocks(display: Callable[[str], str], keymap: Mapping[str, str], glyphs: Glyphs) -> list[list[HelpLine]]:
    """One block a group of keys, then the signs.

    Args:
        display: How a key is called on the screen.
        keymap: The user's keys by id, with commas between several.
        glyphs: The signs that are drawn.
    """
    blocks: dict[str, list[HelpLine]] = {}
    for key in KEYS:
        keys = keymap[key.id].split(",") if key.id in keymap else key.keys
        if "ctrl+space" in keys:  # which terminals send as the other
            keys = [name for name in keys if name != "ctrl+@"]
        names = " ".join(dict.fromkeys(display(name.strip()) for name in keys))
        blocks.setdefault(key.group, [HelpLine("", key.group)]).append(HelpLine(names, key.description, is_key=True))
    signs = [HelpLine("", "Signs in the tree")]
    signs += [HelpLine(glyphs.marks[mark], word, MARK_LOOKS[mark].color) for mark, word in _MARK_WORDS.items()]
    dots = [HelpLine("", "Signs in the list")]
    dots += [HelpLine(glyphs.dots[dot], word, DOT_COLORS[dot]) for dot, word in _DOT_WORDS.items()]
    return [*blocks.values(), signs, dots]


def in_columns(blocks: Sequence[Sequence[HelpLine]], width: int) -> list[list[HelpLine | None]]:
    """The blocks in columns of similar height, as rows of cells; a block stays in one column, long lines are broken."""
    columns = max(1, (width + GAP_CELLS) // (_COLUMN + GAP_CELLS))
    room = (width - GAP_CELLS * (columns - 1)) // columns
    blocks = [[line for whole in block for line in _broken(whole, room)] for block in blocks]
    lengths = [len(block) + 1 for block in blocks]
    height = max(max(lengths, default=1), -(-sum(lengths) // columns))
    filled = _fill(blocks, height)
    while len(filled) > columns:
        height += 1
        filled = _fill(blocks, height)
    tallest = max((len(column) for column in filled), default=0)
    return [[column[place] if place < len(column) else None for column in filled] for place in range(tallest)]


def _broken(line: HelpLine, room: int) -> list[HelpLine]:
    if not line.sign:
        return [line]
    texts = wrapped(line.text, room - (KEY_CELLS if line.is_key else SIGN_CELLS) - 1, _MOST_LINES, "")
    return [line._replace(text=text, sign=" " if number else line.sign) for number, text in enumerate(texts)]


def _fill(blocks: Sequence[Sequence[HelpLine]], height: int) -> list[list[HelpLine | None]]:
    columns: list[list[HelpLine | None]] = [[]]
    for block in blocks:
        column = columns[-1]
        if column and len(column) + 1 + len(block) > height:
            column = []
            columns.append(column)
        if column:
            column.append(None)
        column.extend(block)
    return columns
