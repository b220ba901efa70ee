"""Starting costs what textual costs, and what needs no screen doesn't import it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    """What is loaded in a fresh interpreter after ``code``."""
    code = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "name", ["text", "config", "glyphs", "theme", "keys", "widgets.rows.tree_rows", "widgets.rows.cursor"]
)
def test_what_needs_no_screen_does_not_import_textual(name: str):
    assert "textual" not in modules_after(f"import layerscope.tui.{name}")


def test_widgets_import_no_more_of_textual_than_its_app_does():
    ours = modules_after(
        "import layerscope.tui.look\n"
        "import layerscope.tui.widgets.rows.tree_view\n"
        "import layerscope.tui.widgets.frame.pane, layerscope.tui.widgets.frame.states"
    )
    textuals = modules_after("import textual.app, textual.scroll_view")
    assert {name for name in ours - textuals if name.startswith("textual")} == set()
    assert "humanize" not in ours
    assert "watchfiles" not in ours
