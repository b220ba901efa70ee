"""The verbs that change files in a container: ``cp`` and ``sh``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from layerscope.cli.options import Options
from layerscope.cli.output import Output
from layerscope.cli.reference import RefType, find_subject, path_of
from layerscope.cli.report import exit_code, tell
from layerscope.cli.sink import sink
from layerscope.cli.verbs.lab import input_file, open_lab, refuse_below, writing
from layerscope.errors import UsageError
from layerscope.model.ref import Ref


@click.command("cp")
@writing
@click.argument("source", metavar="SRC", type=RefType("container", path="needed"))
@click.argument("target", metavar="DEST", type=RefType("container", path="needed"))
def cp(options: Options, source: str, target: str, allow_real_root: bool) -> int:
    """Copy into a container or out of one: CONTAINER:/PATH on one side, a local path or - (a tar) on the other.

    A local path begins with /, ./ or ../. SRC/. means what is in a directory.
    """
    local, remote = _is_local(source), _is_local(target)
    if local and remote:
        raise UsageError("both sides are local: one must be CONTAINER:/PATH")
    if not local and not remote:
        for side in (source, target):
            if ":/" not in side and os.path.lexists(side):
                raise UsageError(f"{side!r} is taken for a container; write ./{side} for the file here")
        raise UsageError("one side must be a local path, which begins with /, ./ or ../, or is -")
    return _copy_in(options, source, target, allow_real_root) if local else _copy_out(options, source, target)


def _is_local(side: str) -> bool:
    return side == "-" or side in (".", "..") or side.startswith(("/", "./", "../"))


def _copy_in(options: Options, source: str, target: str, allow_real_root: bool) -> int:
    ref = Ref.parse(target)
    if ref.cut is not None or ref.path is None:
        raise UsageError(f"{target!r}: expected CONTAINER:/PATH")
    name = f"container:{ref.name}"
    if source != "-" and not os.path.lexists(source):
        raise UsageError(f"cannot copy {source}: there is no such file or directory")
    with open_lab(options, allow_real_root) as lab:
        if source == "-":
            lab.copy_in(input_file("-", "a tar"), name, ref.path)
        else:
            contents = source == "." or source.endswith("/.")
            lab.copy_in(Path(source), name, ref.path, contents_only=contents)
    return 0


def _copy_out(options: Options, source: str, target: str) -> int:
    with options.session() as session:
        subject = find_subject(session, source, path="needed")
        if target == "-":
            out = Output(options.ascii)
            if out.terminal:
                raise UsageError("a tar is not for a terminal: use a pipe")
            from layerscope.services.lab.lab import copy_to_tar

            told = copy_to_tar(session, subject, sink(out.write))
        else:
            refuse_below(Path(target), session.path)
            told = session.extract(subject, path_of(subject), Path(target))
        return exit_code([*told, *session.problems()])


@click.command("sh")
@writing
@click.argument("container", type=RefType("container"))
@click.option("-c", "script", metavar="SCRIPT", help="Commands to carry out; without it those of standard input.")
@click.option("-e", "stop", is_flag=True, help="Stop at the first command that fails.")
def sh(options: Options, container: str, script: str | None, stop: bool, allow_real_root: bool) -> int:
    """Change files in CONTAINER with a small shell: help lists its commands. Nothing in the container is run."""
    out = Output(options.ascii)
    with (
        open_lab(options, allow_real_root) as lab,
        lab.overlay(container) as overlay,
        _umask(0o022),
    ):
        shell = lab.shell(overlay, sink(out.write), tell, is_terminal=out.terminal)
        if script is not None:
            return shell.run(script, stop)
        if sys.stdin is None:
            raise UsageError("standard input is closed: give the commands with -c")
        if sys.stdin.isatty():
            from layerscope.cli.shell_session import interact

            return interact(shell, lab.container(container).name or container)
        return shell.run(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), stop)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """The umask of a shell in a container."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
