"""The terminal UI on a root of podman's."""

from __future__ import annotations

from pathlib import Path

from one_screen import NO_SETTINGS, press, settled, shown

from layerscope.tui.app import LayerscopeApp
from layerscope.tui.screens.explore import ExploreScreen


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
