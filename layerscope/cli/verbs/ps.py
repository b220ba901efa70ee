"""``ps``: what can be measured is being measured before the rest of the program is loaded (:mod:`services.ahead`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, ids_alone, root_options, whole_ids

if TYPE_CHECKING:
    from layerscope.model.container import Container
    from layerscope.services.ahead import Ahead
    from layerscope.services.session import Session


@click.command("ps")
@root_options(json=True)
@click.option("-a", "--all", "everything", is_flag=True, help="Accepted; all containers are always listed.")
@click.option("-s", "--size", is_flag=True, help="Accepted; sizes are always shown.")
@whole_ids
@ids_alone
def ps(options: Options, everything: bool, size: bool, no_trunc: bool, quiet: bool) -> int:
    """All containers, newest first, with size and virtual size, as docker ps -as."""
    if quiet and not options.json:
        return _listed(options, no_trunc, quiet=True)
    from layerscope.services.ahead import measured_ahead

    with measured_ahead(options.root) as ahead:
        return _listed(options, no_trunc, quiet, ahead)


def _listed(options: Options, no_trunc: bool, quiet: bool, ahead: Ahead | None = None) -> int:
    from layerscope.cli.output import Output
    from layerscope.cli.render import docker_form
    from layerscope.cli.report import exit_code

    out = Output(options.ascii)
    with options.session() as session:
        found = session.containers(options.json or not quiet, ahead)
        if options.json:
            from layerscope.cli.render import json

            out.array(map(json.container, found))
        else:
            now = time.time_ns()
            rows = [
                docker_form.ps_row(item, shown_image(session, item.container, no_trunc), now, no_trunc, out.ellipsis)
                for item in found
            ]
            out.table(docker_form.PS_HEADER, rows, 0 if quiet else None)
        return exit_code(session.problems())


def shown_image(session: Session, container: Container, full: bool) -> str:
    """The IMAGE cell: docker looks whether the name still means what it meant."""
    from layerscope.cli.render import docker_form
    from layerscope.errors import UsageError
    from layerscope.model.ref import Ref

    means = None
    if container.image and container.image_id is not None:
        try:
            subject = session.find(Ref(container.image, "image"))
        except UsageError:
            pass
        else:
            means = None if subject.image is None else subject.image.id
    return docker_form.shown_image(container.image, container.image_id, means, full)
