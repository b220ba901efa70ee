"""The verb that builds images of Dockerfiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from layerscope.cli.build_progress import BuildProgress
from layerscope.cli.options import Options
from layerscope.cli.output import Output
from layerscope.cli.report import exit_code
from layerscope.cli.verbs.lab import input_file, open_lab, writing

_FILE = click.Path(path_type=Path)
_MOST_BYTES = 4 << 20


@click.command("build")
@writing
@click.argument("context", metavar="CONTEXT", type=_FILE)
@click.option("-f", "--file", type=_FILE, metavar="FILE", help="The Dockerfile; - is standard input.")
@click.option("-t", "--tag", "names", multiple=True, metavar="NAME[:TAG]", help="The image's name; may be repeated.")
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME[=VALUE]", help="A value for an ARG.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for the image.")
@click.option("--target", metavar="STAGE", default="", help="Stop after this stage.")
@click.option("-q", "--quiet", is_flag=True, help="Print the id only.")
@click.option("--engine", metavar="20.10|23|24", default="24", show_default=True, help="The docker that would build.")
@click.option("--docker-version", metavar="S", help="What the image says made it.")
@click.option("--created", metavar="TIME", help="When, as 2024-01-02T03:04:05Z; without it each step says its own.")
@click.option("--passwd", type=_FILE, metavar="FILE", help="Users, for owner names (20.10 only).")
@click.option("--group", type=_FILE, metavar="FILE", help="Groups, for owner names (20.10 only).")
def build(
    options: Options, context: Path, file: Path | None, names: tuple[str, ...], allow_real_root: bool, **how: Any
) -> int:
    """Make an image of what a Dockerfile says of the files in CONTEXT; prints its id.

    RUN takes the file commands of layerscope sh; no program is run. With --no-cache every step is made anew.
    With SOURCE_DATE_EPOCH set, all is made at that time, no file of a layer is younger, and the same files give the
    same image.
    """
    from layerscope.services.lab.build import EPOCH, build_options, build_request
    from layerscope.services.lab.lab import commit_options

    source: Path | bytes | None = file
    if file == Path("-"):
        with input_file("-", "a Dockerfile") as given:
            source = given.read(_MOST_BYTES + 1)
    called = click.get_current_context()
    request = build_request(
        context,
        source,
        arguments=how["arguments"],
        labels=how["labels"],
        environment=os.environ,
        target=how["target"],
        use_cache=not (called.params.get("no_cache") or called.find_root().params.get("no_cache")),
    )
    commit = commit_options(
        how["engine"],
        docker_version=how["docker_version"],
        created=how["created"],
        passwd=how["passwd"],
        group=how["group"],
    )
    settings = build_options(commit, os.environ.get(EPOCH), how["created"])
    with (
        open_lab(options, allow_real_root) as opened,
        BuildProgress(quiet=how["quiet"], ascii_only=options.ascii) as progress,
    ):
        image, problems = opened.build(request, names, settings, progress)
        progress.line(f"Successfully built {image.removeprefix('sha256:')[:12]}")
        for name in names:
            progress.line(f"Successfully tagged {name if ':' in name.rpartition('/')[2] else f'{name}:latest'}")
    Output(options.ascii).line(image)
    return exit_code(problems)
