"""The verbs that build: lab roots, containers and images made without a daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.reference import RefType
from layerscope.cli.report import exit_code, tell
from layerscope.cli.sink import sink, written_aside
from layerscope.errors import CommitError, UsageError

if TYPE_CHECKING:
    from layerscope.services.lab.lab import Lab

_REAL_ROOT = click.option(
    "--allow-real-root", is_flag=True, help="Write to a root that is no lab, if no daemon holds it."
)
_FILE = click.Path(path_type=Path)


def writing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options about the root and ``--allow-real-root``."""
    return root_options()(_REAL_ROOT(function))


def open_lab(options: Options, allow_real_root: bool) -> Lab:
    """The root of the options, open for writing."""
    from layerscope.services.lab.lab import open_lab as opened

    return opened(Path(options.root) if options.root else None, allow_real_root=allow_real_root)


def input_file(name: str, what: str) -> BinaryIO:
    """A file to be read; ``-`` is standard input."""
    if name == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(f"{what} is not typed at a terminal: name a file, or use a pipe")
        return sys.stdin.buffer
    try:
        return open(name, "rb")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None


# ---------------------------------------------------------------------- labs
@click.group("lab", subcommand_metavar="VERB …")
def lab() -> None:
    """Roots of our own, in docker's layout: the only ones that are written to."""


@lab.command("new")
@click.argument("directory", metavar="DIR", type=_FILE)
@click.option("--empty", is_flag=True, help="Without the small image to begin with.")
def new(directory: Path, empty: bool) -> int:
    """Make a lab root at DIR, and print where it is."""
    from layerscope.services.lab.lab import new_lab

    new_lab(directory, empty=empty)
    out = Output()
    out.line(out.name(str(directory)))
    return 0


@lab.command("sweep")
@writing
def sweep(options: Options, allow_real_root: bool) -> int:
    """Remove what interrupted work left, and print what went."""
    out = Output(options.ascii)
    with open_lab(options, allow_real_root) as opened:
        out.lines(out.name(path) for path in opened.sweep())
    return 0


@lab.command("chown")
@root_options()
def chown(options: Options) -> int:
    """Give a lab that an ordinary user made to root, owners and marks included: then dockerd can run it."""
    with open_lab(options, False) as opened:
        opened.give_to_root()
    return 0


# ---------------------------------------------------------------------- containers
@click.command("create")
@writing
@click.argument("image", type=RefType("image"))
@click.argument("command", nargs=-1)
@click.option("--name", metavar="N", default="", help="The container's name; without it one is made up.")
@click.option("--network", metavar="MODE", default="default", show_default=True, help="As docker calls it.")
def create(
    options: Options, image: str, command: tuple[str, ...], name: str, network: str, allow_real_root: bool
) -> int:
    """Make a container of IMAGE, not started; prints its id. What it is to run may follow after --."""
    with open_lab(options, allow_real_root) as opened:
        Output(options.ascii).line(opened.create(image, name, command, network))
    return 0


@click.command("commit")
@writing
@click.argument("container", type=RefType("container"))
@click.argument("name", metavar="[NAME[:TAG]]", default="")
@click.option("-m", "--message", default="", metavar="TEXT", help="A line for the history.")
@click.option("-a", "--author", default="", metavar="TEXT", help="Who made it.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile: CMD, ENV …")
@click.option("--engine", metavar="20.10|23|24", default="24", show_default=True, help="The docker that would commit.")
@click.option("--docker-version", metavar="S", help="What the image says made it.")
@click.option("--created", metavar="TIME", help="When, as 2024-01-02T03:04:05Z; now without it.")
@click.option("--passwd", type=_FILE, metavar="FILE", help="Users, for owner names (20.10 only).")
@click.option("--group", type=_FILE, metavar="FILE", help="Groups, for owner names (20.10 only).")
def commit(options: Options, container: str, name: str, allow_real_root: bool, **how: Any) -> int:
    """Make an image of what CONTAINER has changed; prints its id."""
    from layerscope.services.lab.lab import commit_options

    with open_lab(options, allow_real_root) as opened:
        made = opened.commit(container, name, options=commit_options(how.pop("engine"), **how))
    Output(options.ascii).line(made.image)
    return exit_code(made.problems)


@click.command("rm")
@writing
@click.argument("containers", nargs=-1, required=True, type=RefType("container"), metavar="CONTAINER…")
def rm(options: Options, containers: tuple[str, ...], allow_real_root: bool) -> int:
    """Remove containers with their writable layers; prints each."""
    out = Output(options.ascii)
    with open_lab(options, allow_real_root) as opened:

        def remove(name: str) -> None:
            opened.remove(name)
            out.line(out.name(name))

        return _each(containers, remove)


def _each(names: tuple[str, ...], act: Callable[[str], None]) -> int:
    """Do the same with several things; one that fails doesn't keep the others."""
    code = 0
    for name in names:
        try:
            act(name)
        except (UsageError, CommitError) as error:
            tell(str(error))
            code = max(code, error.exit_code)
    return code


# ---------------------------------------------------------------------- images
@click.command("import")
@writing
@click.argument("tar", metavar="TAR")
@click.argument("name", metavar="[NAME[:TAG]]", default="")
@click.option("-m", "--message", metavar="TEXT", help="A line for the history.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile: CMD, ENV …")
@click.option("--created", metavar="TIME", help="When, as 2024-01-02T03:04:05Z; now without it.")
@click.option("--docker-version", metavar="S", help="What the image says made it.")
def import_tar(
    options: Options,
    tar: str,
    name: str,
    message: str | None,
    changes: tuple[str, ...],
    created: str | None,
    docker_version: str | None,
    allow_real_root: bool,
) -> int:
    """Make an image of one layer out of TAR (- is standard input); prints its id."""
    from layerscope.services.lab.lab import IMPORTED, import_maker

    maker = import_maker(created, IMPORTED if message is None else message, docker_version)
    with open_lab(options, allow_real_root) as opened, input_file(tar, "a tar") as file:
        image, problems = opened.import_tar(file, tar, name, maker=maker, changes=changes)
    Output(options.ascii).line(image)
    return exit_code(problems)


@click.command("load")
@writing
@click.argument("archive", metavar="TAR")
def load(options: Options, archive: str, allow_real_root: bool) -> int:
    """Load the images of TAR: of docker save, or an OCI layout (also a folder); - is standard input."""
    if archive != "-" and not os.path.lexists(archive):
        raise UsageError(f"cannot read {archive}: there is no such file or directory")
    out = Output(options.ascii)
    with open_lab(options, allow_real_root) as opened:
        loaded = opened.load(input_file("-", "an archive") if archive == "-" else Path(archive), archive)
    for image in loaded:
        for reference in image.names:
            out.line(f"Loaded image: {reference.text}")
        if not image.names:
            out.line(f"Loaded image ID: {image.id}")
        for lost in image.lost:
            tell(f"{lost} has lost its name to it")
    return exit_code([problem for image in loaded for problem in image.problems])


@click.command("save")
@root_options()
@click.argument("images", nargs=-1, required=True, type=RefType("image"), metavar="IMAGE…")
@click.option("-o", "--output", metavar="TAR", help="Where to write it; - is standard output, the default in a pipe.")
@click.option("--format", "form", type=click.Choice(["docker", "oci"]), default="docker", show_default=True)
def save(options: Options, images: tuple[str, ...], output: str | None, form: Any) -> int:
    """Images as an archive, the same bytes each time."""
    from layerscope.services.lab.lab import save as saved

    out = Output(options.ascii)
    if output in (None, "-") and out.terminal:
        raise UsageError("a tar is not for a terminal: name a file with -o, or use a pipe")
    with options.session() as session:
        if output is None or output == "-":
            saved(session, images, sink(out.write), form)
        else:
            for path in session.paths:
                refuse_below(Path(output), path)
            with written_aside(Path(output)) as file:
                saved(session, images, file, form)
    return 0


def refuse_below(target: Path, root: Path) -> None:
    """Refuse to write below the root that is being read.

    Raises:
        CommitError: it is there.
    """
    try:
        below = target.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise CommitError(f"cannot write to {target}: {error}") from None
    if below:
        raise CommitError(f"cannot write to {target}: it is below the root that is being read")


@click.command("tag")
@writing
@click.argument("image", type=RefType("image"))
@click.argument("name", metavar="NAME[:TAG]")
def tag(options: Options, image: str, name: str, allow_real_root: bool) -> int:
    """Give IMAGE one more name."""
    with open_lab(options, allow_real_root) as opened:
        opened.tag(image, name)
    return 0


@click.command("rmi")
@writing
@click.argument("images", nargs=-1, required=True, type=RefType("image"), metavar="IMAGE…")
@click.option("-f", "--force", is_flag=True, help="Also with several names, or containers that use it.")
def rmi(options: Options, images: tuple[str, ...], force: bool, allow_real_root: bool) -> int:
    """Remove names of images, and images that lose their last one, as docker does."""
    out = Output(options.ascii)
    with open_lab(options, allow_real_root) as opened:

        def remove(name: str) -> None:
            out.lines(f"{done.word.capitalize()}: {done.what}" for done in opened.remove_image(name, force))

        return _each(images, remove)
