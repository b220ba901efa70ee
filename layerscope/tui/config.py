"""The user's own files: where they lie, and how they are read.

``$XDG_CONFIG_HOME/layerscope`` or ``~/.config/layerscope`` holds ``themes/*.toml`` and ``keys.toml``. They belong to
the user, so links are followed; but only regular files of a sane size are read, so nothing there can hang the start.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerscope.errors import UsageError
from layerscope.tui.text import escape

MAX_BYTES = 64 * 1024
"""More than any theme or key file needs."""


def config_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of layerscope's settings; it need not exist. A relative XDG_CONFIG_HOME is ignored, as XDG says."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "layerscope"
    home = environment.get("HOME", "")
    return Path(home if os.path.isabs(home) else "/") / ".config" / "layerscope"


def read_toml(path: Path) -> dict[str, Any]:
    """The table in the TOML file ``path``.

    Raises:
        UsageError: one line with the path, for anything that isn't a readable TOML file of at most ``MAX_BYTES``.
    """
    try:
        return tomllib.loads(_read_regular(path).decode())
    except OSError as error:
        raise UsageError(f"cannot read {escape(str(path))}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, nested too deeply
        what = "nested too deeply" if isinstance(error, RecursionError) else escape(str(error))
        raise UsageError(f"cannot read {escape(str(path))}: not a TOML file: {what}") from error


def _read_regular(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"cannot read {escape(str(path))}: not a regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"cannot read {escape(str(path))}: larger than {MAX_BYTES} bytes")
    return content
