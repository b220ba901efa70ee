"""How things look right now: theme, glyphs and colour or none, as one value that widgets ask for.

:class:`LookApp` is the base of the app: it offers the themes, switches everything to ASCII on request, and hands the
:class:`Look` out. Widgets take it by :func:`look_of` each time they draw, never keep it: the theme may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.segment import Segment
from rich.style import Style
from textual.app import ReturnType
from textual.filter import LineFilter
from textual.theme import BUILTIN_THEMES

from layerscope.model.problem import Problem
from layerscope.tui.glyphs import ASCII, MARK_LOOKS, UNICODE, Glyphs, Mark
from layerscope.tui.key_order import KeyOrderApp
from layerscope.tui.keys import load_keymap
from layerscope.tui.text import cell_len, escape
from layerscope.tui.theme import (
    DEFAULT_THEME,
    Palette,
    load_palettes,
    ramp_color,
    shipped_palettes,
    textual_theme,
    variables,
)

if TYPE_CHECKING:
    from textual.binding import Binding
    from textual.color import Color
    from textual.notifications import SeverityLevel
    from textual.widget import Widget


@lru_cache(maxsize=2048)
def _style(
    color: str | None, ground: str | None, bold: bool, italic: bool, strike: bool, underline: bool, reverse: bool
) -> Style:
    # None, not False: what isn't asked for is inherited from the row.
    return Style(
        color=color,
        bgcolor=ground,
        bold=bold or None,
        italic=italic or None,
        strike=strike or None,
        underline=underline or None,
        reverse=reverse or None,
    )


class Look(Struct, frozen=True):
    """Theme and signs of this moment. ``no_color``: Textual turns all colours to greys, so attributes must do more."""

    palette: Palette
    glyphs: Glyphs
    no_color: bool = False

    def style(
        self,
        color: str | None = None,
        *,
        ground: str | None = None,
        bold: bool = False,
        italic: bool = False,
        strike: bool = False,
        underline: bool = False,
        reverse: bool = False,
    ) -> Style:
        """A style from theme names; what isn't given is inherited from the row it is drawn on."""
        front = None if color is None else self.palette[color]
        back = None if ground is None else self.palette[ground]
        return _style(front, back, bold, italic, strike, underline, reverse)

    def layer_style(self, level: int, levels: int, *, bold: bool = False, italic: bool = False) -> Style:
        """The style of things that belong to level ``level`` (1 = base) of a stack of ``levels``."""
        return _style(ramp_color(self.palette, level, levels), None, bold, italic, False, False, False)

    def sign_style(self, mark: Mark) -> Style:
        """The style of the mark's sign."""
        return self.style(MARK_LOOKS[mark].color, bold=True)

    def mark_style(self, mark: Mark, *, bold: bool = False) -> Style:
        """The mark's colour, struck through for what is gone."""
        looks = MARK_LOOKS[mark]
        return self.style(looks.color, bold=bold, strike=looks.strike)

    def name_style(self, mark: Mark, *, bold: bool = False) -> Style:
        """The style of a name with that mark: struck through for what is gone."""
        looks = MARK_LOOKS[mark]
        return self.style(looks.name_color, bold=bold, strike=looks.strike)

    def text(self, name: str) -> str:
        """``name`` (data from a root) as it may be drawn."""
        return escape(name, ascii_only=self.glyphs.ascii_only)


@lru_cache(maxsize=1)
def default_look() -> Look:
    """The look outside a :class:`LookApp`: the default theme with Unicode signs."""
    return Look(shipped_palettes()[DEFAULT_THEME], UNICODE)


def look_of(widget: Widget) -> Look:
    """The look of the app that ``widget`` lives in."""
    app = widget.app
    return app.look if isinstance(app, LookApp) else default_look()


def copy_path(widget: Widget, path: str) -> None:
    """Put a path on the clipboard, and tell so. One that isn't printable is copied as it is shown: wherever it is
    pasted, it may be taken for keys that were pressed."""
    widget.app.copy_to_clipboard(path if path.isprintable() else escape(path))
    widget.notify(f"copied {look_of(widget).text(path)}", markup=False)


class LookApp(KeyOrderApp[ReturnType]):
    """An app with layerscope's themes, signs and the user's keys.

    ``start_problems`` tells which of the user's themes and keys could not be used (paths are host paths);
    ``user_keys`` are the keys that the user has changed, by id.
    """

    def __init__(self, *, ascii_only: bool = False, theme: str = DEFAULT_THEME, settings: Path | None = None) -> None:
        """Args:
        ascii_only: draw with ASCII alone.
        theme: the name of a theme; an unknown one gives the default.
        settings: the folder of the user's themes and keys (None: the usual one).
        """
        super().__init__()
        self._palettes, self.start_problems = load_palettes(settings and settings / "themes")
        self._glyphs = ASCII if ascii_only else UNICODE
        self._ascii_filter = _AsciiFilter() if ascii_only else None
        self._look: Look | None = None
        self._told_last = ("", "")
        for palette in self._palettes.values():
            self.register_theme(textual_theme(palette))
        self.theme = theme if theme in self._palettes else DEFAULT_THEME
        # Textual's own themes lack our colours.
        for name in BUILTIN_THEMES.keys() - self._palettes.keys():
            self.unregister_theme(name)
        self.set_class(ascii_only, "-ascii")
        keymap, key_problems = load_keymap(settings and settings / "keys.toml")
        self.start_problems += key_problems
        self.user_keys = keymap
        self.set_keymap(keymap)

    @property
    def palettes(self) -> dict[str, Palette]:
        """The themes on offer, by name."""
        return self._palettes

    @property
    def look(self) -> Look:
        """Theme and signs of this moment."""
        look = self._look
        if look is None or look.palette.name != self.theme:
            palette = self._palettes.get(self.theme) or self._palettes[DEFAULT_THEME]
            look = self._look = Look(palette, self._glyphs, self.no_color)
        return look

    def copy_to_clipboard(self, text: str) -> None:
        """Put ``text`` on the clipboard, which takes nothing but UTF-8: other bytes are escaped."""
        super().copy_to_clipboard("".join(escape(sign) if "\ud800" <= sign <= "\udfff" else sign for sign in text))

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a message for some seconds. Told again, it doesn't pile up: it is shown once, and nothing before it."""
        if (title, message) == self._told_last:
            self.clear_notifications()
        self._told_last = (title, message)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    def tell(self, problem: Problem) -> None:
        """Show ``problem`` for some seconds."""
        self.notify(escape(problem.what), title=escape(problem.effect), severity="warning", markup=False)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our names for any theme that lacks them, so that no stylesheet fails."""
        return variables(shipped_palettes()[DEFAULT_THEME])

    def get_key_display(self, binding: Binding) -> str:
        """A key as the footer names it, in words where Textual has a sign and only ASCII may be drawn."""
        modifiers, key = binding.parse_key()
        name = self._glyphs.key_names.get(key)
        return super().get_key_display(binding) if name is None else "+".join((*modifiers, name))

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's filters, and the one that keeps its own widgets' signs within ASCII."""
        filters = super().get_line_filters()
        return filters if self._ascii_filter is None else [*filters, self._ascii_filter]


_ASCII_SIGNS = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺▁▔‾⎺⎽–—", "-"),
    **dict.fromkeys("│┃║╎╏┆┇┊┋▏▎▍▌▐▕▊▋▉", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬▗▖▝▘▛▜▙▟", "+"),
    **dict.fromkeys("█■▪", "#"),
    **dict.fromkeys("▇▆▅▄▃▂▀", " "),  # the ends of scrollbars
    **dict.fromkeys("•●◉⬤·∙", "*"),
    **dict.fromkeys("▶▸►→❯›", ">"),
    **dict.fromkeys("◀◂◄←❮‹", "<"),
    **dict.fromkeys("▲▴↑⌃", "^"),
    **dict.fromkeys("▼▾↓⌄", "v"),
    "…": "~",
    "✓": "x",
    "✔": "x",
    "⏎": "<",
    "⌫": "<",
}


@lru_cache(maxsize=4096)
def _ascii(text: str) -> str:
    return "".join(
        character if character.isascii() else _ASCII_SIGNS.get(character, "?" * cell_len(character))
        for character in text
    )


class _AsciiFilter(LineFilter):
    """Replaces whatever isn't ASCII on the screen, cell for cell; our own widgets draw ASCII themselves."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]
