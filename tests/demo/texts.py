"""The texts that were written by hand, each a file of `texts/`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "texts"


def text(name: str) -> str:
    return (_FOLDER / name).read_text()
