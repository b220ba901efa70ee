"""The small shell at a terminal: a prompt, a history that stays, completion of commands and paths."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from layerscope.cli.output import flush
from layerscope.cli.report import tell
from layerscope.errors import UsageError

_HISTORY_LINES = 1000
_DELIMITERS = " \t\n\"'\\<>;|&"


class Runs(Protocol):
    """What is needed of a shell."""

    directory: str
    ended: bool

    def run(self, script: str, stop_on_error: bool = False) -> int:
        """Carry out a line."""

    def completions(self, text: str, first: bool) -> list[str]:
        """What a word may become."""


def interact(shell: Runs, name: str) -> int:
    """Read commands from the terminal until exit or the end of input; the status of the last one."""
    history = _history_file()
    _prepare(shell, history)
    status = 0
    try:
        while not shell.ended:
            try:
                line = input(f"{name}:{shell.directory}# ")
                status = shell.run(line)
            except EOFError:
                print()
                break
            except KeyboardInterrupt:
                print()
            except UsageError as error:
                tell(str(error))
                status = 2
            flush()
    finally:
        _keep(history)
    return status


def _history_file() -> Path:
    given = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~"), ".local", "state")
    return folder / "layerscope" / "sh_history"


def _prepare(shell: Runs, history: Path) -> None:
    try:
        import readline
    except ImportError:  # a Python without it: no history and no completion
        return
    with suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY_LINES)
    readline.set_completer_delims(_DELIMITERS)
    found: list[str] = []

    def complete(text: str, number: int) -> str | None:
        if number == 0:
            found[:] = shell.completions(text, not readline.get_line_buffer()[: readline.get_begidx()].strip())
        return found[number] if number < len(found) else None

    readline.set_completer(complete)
    is_editline = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_editline else "tab: complete")


def _keep(history: Path) -> None:
    readline = sys.modules.get("readline")
    if readline is not None:
        with suppress(OSError):
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(history)
