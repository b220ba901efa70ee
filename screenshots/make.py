"""Make the pictures of the README: the real program on the demo root, at several sizes and themes.

    .venv/bin/python screenshots/make.py [NAME…]

Writes ``screenshots/NAME.svg``. The same root and keys give the same picture.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from layerscope.services.demo import demo_root
from layerscope.tui.app import LayerscopeApp

HERE = Path(__file__).parent
DARK, LIGHT = "layerscope-dark", "layerscope-light"
TO_NGINX = ("3", "slash", *"nginx.conf", "enter", "escape")


@dataclass(frozen=True)
class Picture:
    """One picture: its size in cells, its theme, and the keys that lead there."""

    size: tuple[int, int]
    theme: str
    keys: tuple[str, ...]


PICTURES = {
    "explore-120x40": Picture((120, 40), DARK, ("down", "down")),
    "explore-120x40-light": Picture((120, 40), LIGHT, ("down", "down")),
    "explore-80x24": Picture((80, 24), DARK, ("down", "down")),
    "explore-200x55": Picture((200, 55), DARK, ("down", "down")),
    "cut-120x40": Picture((120, 40), DARK, ("down", "down", "2", "down", "down", "down", "down")),
}


async def take(name: str, picture: Picture, root: Path) -> None:
    """Drive the program to where the picture is, and keep the screen."""
    app = LayerscopeApp(root, theme=picture.theme)
    async with app.run_test(size=picture.size) as pilot:
        await settle(app, pilot)
        for key in picture.keys:
            await pilot.press(key)
            await settle(app, pilot)
        app.save_screenshot(f"{name}.svg", str(HERE))


async def settle(app: LayerscopeApp, pilot: object) -> None:
    """Wait until nothing is being read any more."""
    for _ in range(3):
        await app.workers.wait_for_complete()
        await pilot.pause(0.15)  # type: ignore[attr-defined]


def main() -> None:
    """Make the named pictures, or all."""
    wanted = sys.argv[1:] or list(PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(demo_root(), Path(folder, "demo"))
        os.chdir(folder)
        for name in wanted:
            asyncio.run(take(name, PICTURES[name], Path("demo")))
            print(f"screenshots/{name}.svg")
        os.chdir("/")


if __name__ == "__main__":
    main()
