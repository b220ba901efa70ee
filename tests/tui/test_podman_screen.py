"""The terminal UI on a root of podman's."""

from __future__ import annotations

from pathlib import Path

import podman_roots
import pytest
from one_screen import NO_SETTINGS, lines, press, settled, shown

from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.explore import ExploreScreen
from layerscope.tui.widgets.entities.list import EntityList


async def test_images_containers_and_files_are_shown(podman_samples: dict[str, Path]) -> None:
    app = LayerscopeApp(podman_samples["overlay"], settings=NO_SETTINGS, live=False)
    async with app.run_test(size=(200, 55)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen, ExploreScreen)
        text = shown(app.screen)
        for word in ("run1", "fromcommit", "localhost/demo/base", "podman"):
            assert word in text, word
        await press(pilot, "down", "down", "tab", "down", "tab", "down")
        assert isinstance(app.screen, ExploreScreen)
        assert "busybox" in shown(app.screen) or "etc" in shown(app.screen)
        await press(pilot, "q")
    assert app.return_code == 0


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
async def test_names_keep_their_last_part_and_tag(podman_samples: dict[str, Path], size: tuple[int, int]) -> None:
    """Every name that podman lists, whole or without its beginning, cut at a slash."""
    table = [line.split() for line in podman_roots.truth_lines("overlay", "images")[1:]]
    names = {f"{repository}:{tag}" for repository, tag, *_ in table if repository != "<none>"}
    first = {name for name in names if ":also" in name or name.rpartition(":")[0] + ":also" not in names}
    assert len(first) > 2
    app = LayerscopeApp(podman_samples["overlay"], settings=NO_SETTINGS, live=False)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        if size[0] == 80:
            await press(pilot, "1")
        words = {word for line in lines(app.screen.query_one(EntityList)) for word in line.split()}
        forms = {
            name: {name, name.removeprefix("localhost/"), *(f"…/{part}" for part in _ends(name))} for name in names
        }
        found = {name for name in names if forms[name] & words}
        assert first <= found, (first - found, words)
        if size[0] >= 120:
            plain = {name for name in found if {name, name.removeprefix("localhost/")} & words}
            assert first <= plain


def _ends(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[place:]) for place in range(1, len(parts))]
