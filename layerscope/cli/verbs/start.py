"""The verbs that start something: the terminal UI, the demo, completion in a shell."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from layerscope.cli.options import Options, root_is_typed, root_options
from layerscope.cli.output import Output
from layerscope.errors import UsageError


def open_root_in_ui(options: Options, path: str | Path | None) -> int:
    """Open the terminal UI.

    Raises:
        UsageError: there is no terminal.
    """
    _demand_terminal()
    from layerscope.tui.run import run_app

    options = options._replace(root=None if path is None else str(path))
    return run_app(None if path is None else Path(path), options.session, ascii=options.ascii) or 0


def _demand_terminal() -> None:
    if sys.stdin is None or sys.stdout is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the terminal UI needs a terminal; layerscope --help lists the verbs that don't")


@click.command("open", hidden=True)
@root_options()
@click.argument("path")
def open_ui(options: Options, path: str) -> int:
    """Open the terminal UI on PATH."""
    if root_is_typed(click.get_current_context()):
        raise UsageError("give the root once: as PATH or with --root")
    return open_root_in_ui(options, path)


@click.command("demo")
@root_options()
@click.option("--path", "path_only", is_flag=True, help="Only print where the ready root is.")
def demo(options: Options, path_only: bool) -> int:
    """Open the terminal UI on a small ready root that shows what there is to see."""
    if not path_only:
        _demand_terminal()
    from layerscope.services.demo import demo_root

    if path_only:
        Output(options.ascii).line(str(demo_root()))
        return 0
    return open_root_in_ui(options, demo_root())


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for SHELL.

    \b
    bash:  source <(layerscope completion bash)
    zsh:   source <(layerscope completion zsh)
    fish:  layerscope completion fish | source
    """
    from layerscope.cli.completion import script

    Output().line(script(shell).rstrip("\n"))
    return 0
