"""Starting the terminal UI. Light to import: everything else is imported when it starts."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from layerscope.tui.opening import Opener, open_aside

_SWITCH_SECONDS = 0.001


def run_app(root: Path | None, open_it: Opener, ascii: bool = False) -> int:
    """Show the root that ``open_it`` opens, and stay until the user quits; gives the exit code.

    ``root`` is where it looks (None: the usual places).
    """
    # Nothing of what the start makes ever goes away, so looking for garbage in it only takes time. The app turns it
    # on again with the first frame.
    gc.disable()
    # Threads read while keys are pressed: with the usual 5 ms a key could wait for several turns.
    sys.setswitchinterval(_SWITCH_SECONDS)
    opened = open_aside(open_it)
    from layerscope.tui.app import LayerscopeApp
    from layerscope.tui.settings import chosen_theme

    app = LayerscopeApp(root, open_it, opened, ascii_only=ascii, theme=chosen_theme(os.environ))
    app.run()
    return app.return_code or 0
