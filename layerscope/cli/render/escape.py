"""Text out of a root, made fit for a terminal, for a pipe, for JSON.

A terminal obeys control characters, and shows text in an order that bidirectional overrides choose; names and commands
may hold both. On a terminal they are escaped; in a pipe the bytes go out as they are stored.
"""

from __future__ import annotations

import os

from layerscope.formats.escape import escape


def escaped_text(text: str) -> str:
    """Free text, such as a command, for a terminal: one line, nothing that it would obey; backslashes stay single."""
    return "\\".join(map(escape, text.split("\\")))


def bytes_of(text: str) -> bytes:
    """The bytes that ``text`` was read from: what surrogateescape kept comes out as it was stored."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        # A surrogate that no decoding made (JSON can spell one), or a locale that isn't UTF-8.
        return text.encode("utf-8", "surrogatepass")


def is_utf8(name: str) -> bool:
    """Whether the bytes of ``name`` are UTF-8."""
    if name.isascii():
        return True
    try:
        bytes_of(name).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def replaced(text: str) -> str:
    """``text`` with U+FFFD for whatever isn't Unicode text."""
    if text.isascii():
        return text
    return bytes_of(text).decode("utf-8", "replace")
