"""Make the pictures of the README: the real program on the demo root, at several sizes and themes.

    .venv/bin/python screenshots/make.py [NAME…]

Writes ``screenshots/NAME.svg``. The same root and keys give the same picture.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from layerscope.services.demo import demo_root
from layerscope.tui.app import LayerscopeApp

HERE = Path(__file__).parent
DARK, LIGHT = "layerscope-dark", "layerscope-light"


@dataclass(frozen=True)
class Picture:
    """One picture: its size in cells, its theme, and the keys that lead there."""

    size: tuple[int, int]
    theme: str
    keys: tuple[str, ...]


PICTURES = {
    "explore-120x40": Picture((120, 40), DARK, ("down", "down")),
    "explore-120x40-light": Picture((120, 40), LIGHT, ("down", "down")),
    "explore-80x24": Picture((80, 24), DARK, ("1", "down", "down", "enter", "3")),
    "explore-200x55": Picture((200, 55), DARK, ("down", "down")),
    "commit-120x40": Picture((120, 40), DARK, ("down", "down", "c")),
    "disk-120x40": Picture((120, 40), DARK, ("f3", "down", "right", "2", "down", "space", "1")),
    "cut-120x40": Picture((120, 40), DARK, ("down", "down", "2", "down", "down", "down", "down")),
}


async def take(name: str, picture: Picture, root: Path) -> None:
    """Drive the program to where the picture is, and keep the screen."""
    app = LayerscopeApp(root, theme=picture.theme, live=False, shown_path="demo")
    async with app.run_test(size=picture.size) as pilot:
        await settle(app, pilot)
        for key in picture.keys:
            await pilot.press(key)
            await settle(app, pilot)
        app.save_screenshot(f"{name}.svg", str(HERE))


async def settle(app: LayerscopeApp, pilot: Pilot[int]) -> None:
    """Wait until nothing is being read any more (at most some seconds), and the last frame is drawn."""
    for _ in range(3):
        await pilot.pause(0.15)
        for _ in range(100):  # an open dialog is waited for by a worker that runs on
            if not any(worker.is_running for worker in app.workers):
                break
            await pilot.pause(0.02)


def main() -> None:
    """Make the named pictures, or all."""
    wanted = sys.argv[1:] or list(PICTURES)
    for name in wanted:
        asyncio.run(take(name, PICTURES[name], demo_root()))
        print(f"screenshots/{name}.svg")


if __name__ == "__main__":
    main()
