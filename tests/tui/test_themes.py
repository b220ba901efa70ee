"""Shipped themes hold what they promise to people who see colours differently; broken ones cost only themselves.

Colour vision: Machado, Oliveira and Fernandes 2009, severity 1.0, applied to linear sRGB. Difference: CIE76 (Euclidean
in CIELAB, D65), the metric under which the promised distance of 21 is meant. Contrast: WCAG 2.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
from pathlib import Path

import pytest
from textual.color import Color

from layerscope.errors import LayerscopeError, UsageError
from layerscope.tui import theme as themes
from layerscope.tui.look import LookApp
from layerscope.tui.theme import CHANGE_COLORS, COLOR_NAMES, Palette

SHIPPED = {
    "layerscope-dark": True,
    "layerscope-light": False,
    "layerscope-high-contrast": True,
    "layerscope-high-contrast-light": False,
}
CHECKOUT_THEMES = Path(__file__).resolve().parents[2] / "themes"

# Machado et al. 2009, table of matrices at severity 1.0.
VISION = {
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
# IEC 61966-2-1: linear sRGB to XYZ, D65.
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)


def linear(color: str) -> tuple[float, ...]:
    codes = (int(color[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return tuple(code / 12.92 if code <= 0.04045 else ((code + 0.055) / 1.055) ** 2.4 for code in codes)


def times(matrix, vector):
    return tuple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def lab(light) -> tuple[float, float, float]:
    def curve(t: float) -> float:
        return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    x, y, z = (curve(value / white) for value, white in zip(times(TO_XYZ, light), WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: str, other: str, vision: str | None = None) -> float:
    seen = []
    for color in (one, other):
        light = linear(color)
        if vision is not None:
            light = tuple(min(1.0, max(0.0, value)) for value in times(VISION[vision], light))
        seen.append(lab(light))
    return math.dist(*seen)


def luminance(color: str) -> float:
    return sum(weight * light for weight, light in zip((0.2126, 0.7152, 0.0722), linear(color), strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture(params=sorted(SHIPPED))
def palette(request: pytest.FixtureRequest) -> Palette:
    return themes.shipped_palettes()[request.param]


def test_measures_against_published_values():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WebAIM's well-known near miss
    assert lab(linear("#ff0000")) == pytest.approx((53.24, 80.09, 67.20), abs=0.02)
    assert difference("#000000", "#ffffff") == pytest.approx(100, abs=0.01)


def test_all_four_ship():
    found = themes.shipped_palettes()
    assert {name: palette.dark for name, palette in found.items()} == SHIPPED
    for palette in found.values():
        assert (luminance(palette["background"]) < 0.2) == palette.dark


@pytest.mark.parametrize("vision", [*VISION, None])
def test_change_colors_stay_apart(palette: Palette, vision: str | None):
    worst = min(
        (difference(palette[one], palette[other], vision), one, other)
        for one, other in itertools.combinations(CHANGE_COLORS, 2)
    )
    assert worst[0] >= 21, worst


def test_text_contrasts_with_the_ground(palette: Palette):
    least = 7.0 if "high-contrast" in palette.name else 4.5
    names = (*CHANGE_COLORS, "foreground", "hidden", "muted", "primary", "secondary", "accent", "warning", "error")
    for name, ground in itertools.product(names, ("background", "surface")):
        assert contrast(palette[name], palette[ground]) >= least, (name, ground)


def test_text_can_be_read_under_the_cursor(palette: Palette):
    least = 4.5 if "high-contrast" in palette.name else 3.5
    for name, ground in itertools.product((*CHANGE_COLORS, "foreground", "muted"), ("cursor", "cursor-blurred")):
        assert contrast(palette[name], palette[ground]) >= least, (name, ground)


def test_layer_ramp_grows_in_contrast_and_can_be_read(palette: Palette):
    contrasts = [contrast(color, palette["background"]) for color in palette.ramp]
    assert contrasts[0] >= 4.5  # level numbers are written in these colours
    assert all(upper > lower for lower, upper in itertools.pairwise(contrasts))


@pytest.mark.parametrize("levels", [1, 2, 3, 8, 16, 43, 64, 128])
def test_ramp_fits_stacks_of_any_height(palette: Palette, levels: int):
    colors = [themes.ramp_color(palette, level, levels) for level in range(1, levels + 1)]
    assert colors[0] == palette.ramp[0]
    if levels > 1:
        assert colors[-1] == palette.ramp[-1]
    if levels == len(palette.ramp):
        assert colors == list(palette.ramp)
    contrasts = [contrast(color, palette["background"]) for color in colors]
    if levels <= 64:
        assert all(upper > lower for lower, upper in itertools.pairwise(contrasts))
    else:  # the steps are as small as one of a channel's 256, so neighbours may be a hair out of order
        assert all(upper > lower * 0.99 for lower, upper in itertools.pairwise(contrasts))
        assert all(upper > lower for lower, upper in zip(contrasts, contrasts[3:], strict=False))


def test_ramp_takes_levels_outside_the_stack():
    palette = themes.shipped_palettes()["layerscope-dark"]
    assert themes.ramp_color(palette, 0, 8) == palette.ramp[0]
    assert themes.ramp_color(palette, 99, 8) == palette.ramp[-1]
    assert themes.ramp_color(palette, 1, 0) == palette.ramp[0]


def test_themes_folder_is_the_packages_own_before_the_checkouts(tmp_path: Path):
    package = tmp_path / "site" / "layerscope"
    package.mkdir(parents=True)
    with pytest.raises(LayerscopeError, match="cannot find the themes"):
        themes.themes_folder(package)
    (tmp_path / "site" / "themes").mkdir()
    assert themes.themes_folder(package) == tmp_path / "site" / "themes"
    (package / "themes").mkdir()
    assert themes.themes_folder(package) == package / "themes"


def test_user_theme_extends_a_shipped_one(tmp_path: Path):
    (tmp_path / "mine.toml").write_text(
        'extends = "layerscope-light"\n[colors]\naccent = "#F0A"\n[layers]\nramp = ["#111111", "#222222"]\n'
    )
    found, problems = themes.load_palettes(tmp_path)
    assert problems == []
    assert found["mine"]["accent"] == "#ff00aa"
    assert found["mine"].ramp == ("#111111", "#222222")
    assert not found["mine"].dark
    assert found["mine"]["added"] == found["layerscope-light"]["added"]


def test_user_theme_takes_the_place_of_a_shipped_one_only_if_it_is_whole(tmp_path: Path):
    mine = tmp_path / "layerscope-dark.toml"
    mine.write_text('extends = "layerscope-dark"\n[colors]\naccent = "#ffffff"\n')
    assert themes.load_palettes(tmp_path)[0]["layerscope-dark"]["accent"] == "#ffffff"
    mine.write_text("dark = maybe")
    found, problems = themes.load_palettes(tmp_path)
    assert found["layerscope-dark"] == themes.shipped_palettes()["layerscope-dark"]
    assert len(problems) == 1


BROKEN = {
    "not toml": ("dark = ", "not a TOML file"),
    "not utf-8": (b"\xff\xfe", "not a TOML file"),
    "too deep": ("a = " + "[" * 20_000, "not a TOML file"),
    "too large": ("#" * 70_000, "larger than 65536 bytes"),
    "empty": ("", "dark is missing, expected true or false"),
    "dark is text": ('dark = "yes"', "dark is yes, expected true or false"),
    "huge number": ("dark = 0x" + "f" * 50_000, "dark is a number, expected"),
    "colors missing": ("dark = true", "colors.foreground is missing (21 in all)"),
    "colors not a table": ("dark = true\ncolors = 1", "colors is 1, expected a table"),
    "unknown top": ("dark = true\n[color]", "color is unknown, did you mean colors?"),
    "misspelt": ('extends = "layerscope-dark"\n[colors]\naded = "#fff"', "colors.aded is unknown, did you mean added?"),
    "bad color": ('extends = "layerscope-dark"\n[colors]\nadded = "red"', "colors.added is red, expected a colour"),
    "color is a list": ('extends = "layerscope-dark"\n[colors]\nadded = [[1]]', "colors.added is a list"),
    "escape in a value": ('extends = "layerscope-dark"\n[colors]\nadded = "\\u001b[2J"', "colors.added is \\x1b[2J,"),
    "extends nothing": ('extends = "nord"', "extends is nord, expected one of layerscope-dark, "),
    "ramp of one": ('extends = "layerscope-dark"\n[layers]\nramp = ["#fff"]', "expected a list of 2 to 32 colours"),
    "ramp with text": ('extends = "layerscope-dark"\n[layers]\nramp = ["#fff", "top"]', "layers.ramp[1] is top"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_user_theme_costs_only_itself(case: str, tmp_path: Path):
    content, expected = BROKEN[case]
    (tmp_path / "bad.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    shutil.copy(CHECKOUT_THEMES / "layerscope-light.toml", tmp_path / "good.toml")
    found, problems = themes.load_palettes(tmp_path)
    assert set(found) == {*SHIPPED, "good"}
    (problem,) = problems
    assert expected in problem.what
    assert str(tmp_path / "bad.toml") in problem.what
    assert problem.what.isprintable()
    assert len(problem.what) < 400


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    found, problems = themes.load_palettes(tmp_path)
    assert set(found) == set(SHIPPED)
    assert [problem.path for problem in problems] == [str(tmp_path / f"{n}.toml") for n in ("folder", "gone", "pipe")]


def test_theme_names_are_plain(tmp_path: Path):
    path = tmp_path / "my\x1btheme.toml"
    path.write_text('extends = "layerscope-dark"')
    with pytest.raises(UsageError, match=r"my\\x1btheme.toml: the file's name is the theme's"):
        themes.load_palette(path, themes.shipped_palettes())


def test_no_folder_is_no_problem(tmp_path: Path):
    assert themes.load_palettes(tmp_path / "none")[1] == []


async def test_app_offers_our_themes_only_and_follows_a_change(tmp_path: Path):
    (tmp_path / "themes").mkdir()
    (tmp_path / "themes" / "mine.toml").write_text('extends = "layerscope-light"')
    (tmp_path / "themes" / "bad.toml").write_text("nonsense")
    app: LookApp[None] = LookApp(settings=tmp_path, theme="mine")
    assert [problem.path for problem in app.start_problems] == [str(tmp_path / "themes" / "bad.toml")]
    async with app.run_test() as pilot:
        assert set(app.available_themes) == {*SHIPPED, "mine"}
        assert app.look.palette.name == "mine"
        for name in SHIPPED:
            app.theme = name
            await pilot.pause()
            assert app.look.palette.name == name
            for color in COLOR_NAMES:
                assert Color.parse(app.theme_variables[color]).hex.lower() == app.look.palette[color], color


def test_unknown_theme_gives_the_default(tmp_path: Path):
    assert LookApp(settings=tmp_path, theme="nord").theme == themes.DEFAULT_THEME
