"""Names as one line of harmless text: file names are data, and a terminal obeys control characters.

| in a name | shown as |
| --- | --- |
| a backslash, newline, tab, carriage return | ``\\\\``, ``\\n``, ``\\t``, ``\\r`` |
| other control characters, and bytes that aren't UTF-8 (decoded with surrogateescape) | ``\\x1b`` |
| what has no glyph, changes direction or width of others, or looks like a blank | ``\\u202e`` |

What is shown can be read back without doubt.
"""

from __future__ import annotations

_SHORT = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def escape(text: str, *, ascii_only: bool = False) -> str:
    """``text`` with every character spelled out that a terminal would obey, swallow or draw with a doubtful width.

    With ``ascii_only`` everything beyond ASCII is spelled out too.
    """
    if text.isprintable() and "\\" not in text and (text.isascii() or not (ascii_only or _has_selector(text))):
        return text
    return "".join(_spell(character, ascii_only) for character in text)


def _has_selector(text: str) -> bool:
    return any(ord(character) in _VARIATION_SELECTORS for character in text)


def _spell(character: str, ascii_only: bool) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x80:
        return character if character.isprintable() else f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() and not ascii_only and code not in _VARIATION_SELECTORS:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
