"""Which telling of the story this is: another one after any change of its texts or of what makes files of them."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable

from layerscope.errors import RootError


@cache
def edition() -> str:
    """The SHA-256 of all that this package is made of, in hexadecimal digits.

    Raises:
        RootError: it can't be read.
    """
    digest = sha256()
    try:
        for path, file in sorted(_files(resources.files("layerscope.demo"), "")):
            digest.update(path.encode() + b"\0" + sha256(file.read_bytes()).digest())
    except OSError as error:
        raise RootError(f"cannot read layerscope/demo ({error.strerror}): install layerscope again") from None
    return digest.hexdigest()


def _files(folder: Traversable, path: str) -> list[tuple[str, Traversable]]:
    """All files but what Python left there, with their paths."""
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else _files(entry, f"{path}{entry.name}/")
        else:
            found.append((f"{path}{entry.name}", entry))
    return found
