"""The verb ``layer``: layer tars outside any root, made as docker's commit makes them, and unpacked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerscope.cli.output import Output
from layerscope.cli.report import exit_code, line, tell
from layerscope.cli.sink import written_aside
from layerscope.errors import CommitError, UsageError
from layerscope.model.problem import Problem, Severity

if TYPE_CHECKING:
    from layerscope.services.layer_tar import Packed

_PREFIX = click.option(
    "--xattr-prefix", type=click.Choice(["trusted", "user"]), help="Whose marks; without it, what this user can set."
)


@click.group("layer", subcommand_metavar="VERB …")
def layer() -> None:
    """Make the tar of a layer, or unpack one, outside any root."""


@layer.command("pack")
@click.argument("upper", metavar="UPPERDIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="TAR", help="Where to write the tar; - is standard output. Without it, nowhere."
)
@click.option("--engine", metavar="20.10|23|24", default="24", show_default=True, help="The docker that would commit.")
@click.option("--passwd", type=click.Path(path_type=Path), metavar="FILE", help="Users, for owner names (20.10 only).")
@click.option("--group", type=click.Path(path_type=Path), metavar="FILE", help="Groups, for owner names (20.10 only).")
@_PREFIX
def pack(
    upper: Path, output: str | None, engine: str, passwd: Path | None, group: Path | None, xattr_prefix: str | None
) -> int:
    """Make the layer tar that docker's commit would make of UPPERDIR, and print its diff ID."""
    from layerscope.services.layer_tar import pack_directory

    out = Output()

    def made(write: Callable[[bytes], object] | None = None) -> Packed:
        return pack_directory(upper, engine=engine, passwd=passwd, group=group, xattr_prefix=xattr_prefix, write=write)

    if output is None:
        packed = made()
    elif output == "-":
        if out.terminal:
            raise UsageError("a tar is not for a terminal: name a file with -o, or use a pipe")
        packed = made(out.write)
    else:
        target = Path(output)
        _refuse_inside(target, upper)
        with written_aside(target) as file:
            packed = made(file.write)
    if output == "-":
        tell(packed.diff_id)
    else:
        out.line(packed.diff_id)
    return _told(packed.problems)


@layer.command("unpack")
@click.argument("tar", metavar="TAR", type=click.Path(path_type=Path, allow_dash=True))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@_PREFIX
def unpack(tar: Path, directory: Path, xattr_prefix: str | None) -> int:
    """Unpack the layer tar TAR (- is standard input) into DIR, as docker's overlay2 would; print its diff ID.

    DIR must be empty or not there yet. TAR may be compressed. Without privilege, owners and modes that can't be set are
    kept in the attribute user.containers.override_stat, and in a file beside DIR.
    """
    from layerscope.services.layer_tar import unpack_tar

    out = Output()
    if str(tar) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("no tar comes from a terminal: name a file, or use a pipe")
        unpacked = unpack_tar(sys.stdin.buffer, directory, xattr_prefix=xattr_prefix)
    else:
        try:
            file = open(tar, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise UsageError(f"cannot read {tar}: {error.strerror}") from None
        with file:
            unpacked = unpack_tar(file, directory, xattr_prefix=xattr_prefix)
    out.line(unpacked.diff_id)
    if unpacked.hides_everything_below:
        tell("note: the tar has an opaque mark at its top: it hides everything below, but the kernel ignores it there")
    return _told(unpacked.problems)


def _told(problems: tuple[Problem, ...]) -> int:
    for problem in problems:
        if problem.severity is Severity.NOTE:
            tell(line(problem))
    return exit_code(problems)


def _refuse_inside(target: Path, upper: Path) -> None:
    try:
        inside = target.resolve().is_relative_to(upper.resolve())
    except (OSError, RuntimeError) as error:
        raise CommitError(f"cannot write to {target}: {error}") from None
    if inside:
        raise CommitError(f"cannot write to {target}: it is in the directory that is being packed")
