"""Themes: colours with meanings, one TOML file each.

    dark = true                 whether the ground is dark
    extends = "layerscope-dark" optional, a shipped theme whose values are taken where this file has none
    [colors]                    the names of COLOR_NAMES, each "#rrggbb"
    [layers]
    ramp = ["#…", …]            2 to 32 colours, base first

A theme is named after its file. Shipped themes lie in ``themes/``; the user's own in ``themes/`` of the settings
folder, where a file of the same name takes a shipped theme's place. Stylesheets use the names as variables: $added.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from layerscope.errors import LayerscopeError, UsageError
from layerscope.model.problem import Problem, Severity
from layerscope.tui.config import config_folder, read_toml
from layerscope.tui.text import escape

if TYPE_CHECKING:
    from textual.theme import Theme

DEFAULT_THEME = "layerscope-dark"

CHANGE_COLORS = ("added", "modified", "copied", "whiteout", "opaque")
"""Colours that tell one kind of change from another."""

COLOR_NAMES = (
    *("foreground", "background", "surface", "panel", "primary", "secondary", "accent", "warning", "error", "success"),
    *CHANGE_COLORS,
    *("hidden", "muted", "faint", "frame", "cursor", "cursor-blurred"),
)
"""Every theme has exactly these."""

_COLOR = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RAMP_LENGTH = range(2, 33)
_MAX_USER_THEMES = 100
_PACKAGE = Path(__file__).resolve().parents[1]


class Palette(Struct, frozen=True):
    """One theme: ``colors`` by the names of COLOR_NAMES, ``ramp`` base first, all as ``#rrggbb``."""

    name: str
    dark: bool
    colors: Mapping[str, str]
    ramp: tuple[str, ...]

    def __getitem__(self, name: str) -> str:
        """The colour of that name."""
        return self.colors[name]


def themes_folder(package: Path = _PACKAGE) -> Path:
    """Where the shipped themes lie: inside the package when installed, else at the top of the checkout.

    Raises:
        LayerscopeError: neither is there.
    """
    for folder in (package / "themes", package.parent / "themes"):
        if folder.is_dir():
            return folder
    raise LayerscopeError(f"cannot find the themes: no folder {package}/themes, expected one; install layerscope again")


def parse_palette(name: str, table: Mapping[str, Any], parents: Mapping[str, Palette] | None = None) -> Palette:
    """The theme ``name`` from its file's ``table``; ``parents`` are the themes that it may extend.

    Raises:
        UsageError: one line that says which value is wrong and what was expected.
    """
    _refuse_unknown(table, ("dark", "extends", "colors", "layers"), "")
    parent = _parent(table, parents or {})
    dark = table.get("dark", parent.dark if parent else None)
    if not isinstance(dark, bool):
        raise UsageError(f"dark is {_shown(dark)}, expected true or false")
    given = _subtable(table, "colors")
    _refuse_unknown(given, COLOR_NAMES, "colors.")
    colors = dict(parent.colors) if parent else {}
    colors |= {key: _color(f"colors.{key}", value) for key, value in given.items()}
    missing = [key for key in COLOR_NAMES if key not in colors]
    if missing:
        raise UsageError(f"colors.{missing[0]} is missing ({len(missing)} in all), or set extends to a shipped theme")
    layers = _subtable(table, "layers")
    _refuse_unknown(layers, ("ramp",), "layers.")
    ramp = layers.get("ramp", list(parent.ramp) if parent else None)
    if not isinstance(ramp, list) or len(ramp) not in _RAMP_LENGTH:
        raise UsageError(f"layers.ramp is {_shown(ramp)}, expected a list of 2 to 32 colours, base first")
    return Palette(name, dark, colors, tuple(_color(f"layers.ramp[{n}]", value) for n, value in enumerate(ramp)))


def _parent(table: Mapping[str, Any], parents: Mapping[str, Palette]) -> Palette | None:
    if "extends" not in table:
        return None
    wanted = table["extends"]
    if not isinstance(wanted, str) or wanted not in parents:
        raise UsageError(f"extends is {_shown(wanted)}, expected one of {', '.join(sorted(parents)) or 'no theme'}")
    return parents[wanted]


def _subtable(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{key} is {_shown(value)}, expected a table [{key}]")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key[:64], known, 1)
            raise UsageError(f"{prefix}{_shown(key)} is unknown" + (f", did you mean {near[0]}?" if near else ""))


def _color(key: str, value: object) -> str:
    if not isinstance(value, str) or not _COLOR.fullmatch(value):
        raise UsageError(f"{key} is {_shown(value)}, expected a colour such as #5fe3b4")
    digits = value[1:].lower()
    return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    if isinstance(value, int) and value.bit_length() > 64:  # repr refuses what is too long
        return "a number"
    text = escape(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 40 else text[:39] + "…"


def load_palette(path: Path, parents: Mapping[str, Palette] | None = None) -> Palette:
    """The theme in the file ``path``. Raises UsageError, one line that begins with what was being read."""
    table = read_toml(path)
    try:
        if not _NAME.fullmatch(path.stem):
            raise UsageError("the file's name is the theme's, expected letters, digits, dots and dashes")
        return parse_palette(path.stem, table, parents)
    except UsageError as error:
        raise UsageError(f"cannot use theme {escape(str(path))}: {error}") from error


@lru_cache(maxsize=1)
def shipped_palettes() -> Mapping[str, Palette]:
    """The themes that come with layerscope, by name. Raises LayerscopeError if one is damaged."""
    return {path.stem: load_palette(path) for path in sorted(themes_folder().glob("*.toml"))}


def load_palettes(folder: Path | None = None) -> tuple[dict[str, Palette], list[Problem]]:
    """All themes by name, the user's in ``folder`` (default: the settings folder's) over the shipped ones.

    A theme of the user's that can't be used costs only itself and is told as a problem (its path is a host path).
    """
    folder = config_folder() / "themes" if folder is None else folder
    shipped = shipped_palettes()
    palettes, problems = dict(shipped), []
    for path in _user_files(folder):
        try:
            palettes[path.stem] = load_palette(path, shipped)
        except UsageError as error:
            hint = f"see {themes_folder() / DEFAULT_THEME}.toml for a whole one"
            problems.append(Problem(str(path), str(error), "this theme is not offered", hint, Severity.WARNING))
    return palettes, problems


def _user_files(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml"))
    except OSError:  # mostly: there is none
        return []
    return [folder / name for name in names[:_MAX_USER_THEMES]]


def variables(palette: Palette) -> dict[str, str]:
    """The theme's names as stylesheet variables, and Textual's own variables expressed in them."""
    colors = palette.colors
    return {
        **{name: colors[name] for name in COLOR_NAMES},  # Textual's own too: it rounds what it isn't told twice
        "text-muted": colors["muted"],
        "foreground-muted": colors["muted"],
        "border": colors["primary"],
        "border-blurred": colors["frame"],
        "block-cursor-background": colors["cursor"],
        "block-cursor-foreground": colors["foreground"],
        "block-cursor-blurred-background": colors["cursor-blurred"],
        "footer-background": colors["surface"],
        "footer-foreground": colors["foreground"],
        "footer-key-foreground": colors["accent"],
        "footer-description-foreground": colors["muted"],
        "scrollbar": colors["faint"],
        "scrollbar-hover": colors["primary"],
        "scrollbar-active": colors["primary"],
        "scrollbar-background": colors["background"],
        "scrollbar-background-hover": colors["background"],
        "scrollbar-background-active": colors["background"],
        "scrollbar-corner-color": colors["background"],
    }


def textual_theme(palette: Palette) -> Theme:
    """The theme as Textual takes it."""
    from textual.theme import Theme

    base = {name: palette.colors[name] for name in COLOR_NAMES[:10]}
    return Theme(name=palette.name, dark=palette.dark, variables=variables(palette), **base)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _interpolate(ramp: tuple[str, ...], level: int, levels: int) -> str:
    if levels <= 1:
        return ramp[0]
    place = (min(max(level, 1), levels) - 1) * (len(ramp) - 1) / (levels - 1)
    lower = min(int(place), len(ramp) - 2)
    share = place - lower
    below, above = (_linear(color) for color in ramp[lower : lower + 2])
    # Mixed as light, not as code values: luminance, and with it contrast, then runs straight from stop to stop.
    return "#" + "".join(f"{_code(a + (b - a) * share):02x}" for a, b in zip(below, above, strict=True))


def ramp_color(palette: Palette, level: int, levels: int) -> str:
    """The colour of level ``level`` (1 = base) in a stack of ``levels``.

    With as many levels as the ramp has colours each gets its own; other heights are spread over the ramp. A level
    outside the stack gets the colour of the nearer end.
    """
    return _interpolate(palette.ramp, level, levels)


def _linear(color: str) -> list[float]:
    codes = (int(color[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return [code / 12.92 if code <= 0.04045 else ((code + 0.055) / 1.055) ** 2.4 for code in codes]


def _code(light: float) -> int:
    return round(255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055))
