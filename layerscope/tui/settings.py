"""Which theme the user wants: ``LAYERSCOPE_THEME``, else ``theme`` in ``settings.toml`` of the settings folder.

theme = "layerscope-light"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from layerscope.errors import UsageError
from layerscope.tui.config import config_folder, read_toml
from layerscope.tui.theme import DEFAULT_THEME

VARIABLE = "LAYERSCOPE_THEME"


def chosen_theme(environment: Mapping[str, str], folder: Path | None = None) -> str:
    """The name of the theme; what can't be read or isn't a text counts as not given."""
    if environment.get(VARIABLE):
        return environment[VARIABLE]
    try:
        name = read_toml((config_folder(environment) if folder is None else folder) / "settings.toml").get("theme")
    except UsageError:
        return DEFAULT_THEME
    return name if isinstance(name, str) else DEFAULT_THEME
