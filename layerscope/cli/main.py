"""The command ``layerscope``: its verbs, each in a module that is imported only when it is called, and its end.

Whatever happens, it ends with an exit code and at most a few lines on standard error, never with a traceback.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from layerscope import __version__
from layerscope.cli.options import Options, root_options
from layerscope.cli.output import ReaderGone, discard, flush
from layerscope.cli.report import os_error, tell
from layerscope.errors import CommitError, LayerscopeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
PROGRAM = "layerscope"
COMPLETE_VARIABLE = "_LAYERSCOPE_COMPLETE"
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_READ_FAILED = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BARE_OVERLAY = "overlay:"


class Verb(NamedTuple):
    """Where a verb lives (a module of :mod:`layerscope.cli.verbs`), and what it is for."""

    module: str
    function: str
    summary: str


VERBS = {
    "info": Verb("records", "info", "What was found: store, drivers, whether a daemon holds it, problems."),
    "images": Verb("records", "images", "Images with their sizes; --tree draws the layers they share."),
    "ps": Verb("ps", "ps", "All containers with size and virtual size."),
    "history": Verb("records", "history", "How an image was made, with the layer of each step."),
    "inspect": Verb("records", "inspect", "The engine's own records of an image or container."),
    "stack": Verb("layers", "stack", "The layers of an image or container, drawn to scale."),
    "diff": Verb("layers", "diff", "What a container changed, or what differs between two."),
    "blame": Verb("layers", "blame", "The life of a path: what each layer did to it."),
    "explain": Verb("layers", "explain", "Why a path is seen or not."),
    "whose": Verb("layers", "whose", "Who owns a path, an id, or a line of mount(8)."),
    "blocks": Verb("blocks", "blocks", "The block map of a devicemapper device, and the way of one block's read."),
    "verify": Verb("verify", "verify", "Layers hashed against their diff IDs; --deep compares all metadata."),
    "doctor": Verb("doctor", "doctor", "What is damaged, what docker makes of it, how to repair it."),
    "find": Verb("find", "find", "Names in all layers, or in one stack; --deleted: what is gone and still stored."),
    "waste": Verb("waste", "waste", "Bytes stored for nothing, by cause, with the command and the remedy."),
    "df": Verb("df", "df", "Where every byte is: each in one class, with its owner; the sum is du's."),
    "reclaim": Verb("reclaim", "reclaim", "What comes back if things go, and what keeps the rest."),
    "scan": Verb("scan", "scan", "Everything that a root holds, in one file; what grew is told by diff-scan."),
    "diff-scan": Verb("scan", "diff_scan", "What grew between two scans: by class, by owner, path by path."),
    "ls": Verb("files", "ls", "A directory of the merged view, with the layer of each entry."),
    "cat": Verb("files", "cat", "The bytes of a file, or of the copy that one layer holds."),
    "extract": Verb("files", "extract", "Copy files out of the root."),
    "export": Verb("files", "export", "The merged view as a tar."),
    "layer": Verb("layer_tar", "layer", "Make the tar of a layer, or unpack one, outside any root."),
    "save": Verb("lab", "save", "Images as an archive, for docker load or as an OCI layout."),
    "lab": Verb("lab", "lab", "Make a lab root, in which the verbs below may write, or sweep it."),
    "create": Verb("lab", "create", "A container of an image, never started."),
    "sh": Verb("lab_files", "sh", "A small shell of file commands in a container."),
    "cp": Verb("lab_files", "cp", "Copy files into a container, or out of one."),
    "commit": Verb("lab", "commit", "An image of what a container has changed."),
    "build": Verb("build", "build", "An image of what a Dockerfile says, made of the files of a directory."),
    "import": Verb("lab", "import_tar", "An image of one layer, made of a tar."),
    "load": Verb("lab", "load", "The images of an archive."),
    "tag": Verb("lab", "tag", "One more name for an image."),
    "rm": Verb("lab", "rm", "Remove containers."),
    "rmi": Verb("lab", "rmi", "Remove names of images, and images."),
    "demo": Verb("start", "demo", "Open the terminal UI on a small ready root."),
    "completion": Verb("start", "completion", "The completion script for a shell."),
}
_OPEN = Verb("start", "open_ui", "Open the terminal UI.")


_HELP_NAMES = ("-h", "--help")


def _telling(*names: str, text: Callable[[click.Context], str], purpose: str) -> Callable[[_Decorated], _Decorated]:
    """An option that prints a text and ends.

    Click's own of this kind look for translations of their words, which takes as long as to read a root's records.
    """

    def show(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            click.echo(text(context))
            context.exit()

    return click.option(*names, is_flag=True, is_eager=True, expose_value=False, callback=show, help=purpose)


_help_option = _telling(*_HELP_NAMES, text=click.Context.get_help, purpose="Show this message and exit.")
_version_option = _telling(
    "--version", text=lambda context: f"{PROGRAM}, version {__version__}", purpose="Show the version and exit."
)


def _load(verb: Verb) -> click.Command:
    command: click.Command = getattr(import_module(f"layerscope.cli.verbs.{verb.module}"), verb.function)
    if not any(_HELP_NAMES[0] in parameter.opts for parameter in command.params):
        _help_option(command)
    return command


class Verbs(click.Group):
    """A group that knows its verbs by name alone; a first word that is no verb is a path to open."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the help text."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; its module is imported now."""
        return _load(VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb of the first word, or the command that opens the path which it is."""
        word = args[0]
        if word in VERBS:
            return word, self.get_command(ctx, word), args[1:]
        if ctx.resilient_parsing:
            return None, None, args
        if "/" not in word and not word.startswith(_BARE_OVERLAY) and not os.path.lexists(word):
            raise click.UsageError(_neither(word), ctx)
        return "open", _load(_OPEN), args

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing one."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Verbs, options, and files and folders for what looks like a path."""
        from click.shell_completion import CompletionItem

        if incomplete[:1] in ("/", ".", "~"):
            return [CompletionItem(incomplete, type="file")]
        verbs = [CompletionItem(name, help=v.summary) for name, v in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


def _neither(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, VERBS, 1)
    return f"{word!r} is neither a verb nor a path" + (f"; did you mean {near[0]!r}?" if near else "")


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    subcommand_metavar="[PATH | VERB …]",
    context_settings={"help_option_names": list(_HELP_NAMES), "max_content_width": 100},
)
@root_options()
@_version_option
@_help_option
def cli(options: Options) -> int:
    """Look into a docker data root on disk: image layers, container layers, and what each one changed.

    Without a verb the terminal UI opens, on PATH or on the first usual place that can be read.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return 0
    from layerscope.cli.verbs.start import open_root_in_ui

    return open_root_in_ui(options, options.root)


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line (without the program's name) and say how it ended, as an exit code."""
    code = _carried_out(arguments)
    try:
        flush()
    except ReaderGone:
        discard()
        return _BROKEN_PIPE
    except LayerscopeError as error:
        discard()
        tell(str(error))
        return error.exit_code
    return code


def _carried_out(arguments: Sequence[str]) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    try:
        if instruction:
            from layerscope.cli.completion import complete

            return complete(cli, instruction)
        with cli.make_context(PROGRAM, list(arguments)) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else PROGRAM
        tell(f"{error.format_message()} ({where} --help tells more)")
        return error.exit_code
    except click.ClickException as error:
        tell(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        discard()
        return _BROKEN_PIPE
    except LayerscopeError as error:
        tell(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno in _FULL:  # of what is read no disk can be full: it is the answer that had no room
            tell(f"cannot write: {error.strerror}")
            discard()
            return CommitError.exit_code
        tell(os_error(error))
        return _READ_FAILED
