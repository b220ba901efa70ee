"""The verb ``blocks``: the block map of a thin device, and the way that the read of one block takes."""

from __future__ import annotations

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.reference import RefType, find_subject
from layerscope.cli.report import exit_code

_MOST_DIGITS = 20


def block_number(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """A block number, decimal or after ``0x`` hexadecimal."""
    if text is None:
        return None
    digits = text.lower()
    try:
        if len(digits) > _MOST_DIGITS or not digits.isalnum():
            raise ValueError
        return int(digits, 16 if digits.startswith("0x") else 10)
    except ValueError:
        raise click.BadParameter(f"{text[:40]!r} is no block number: write 1103 or 0x44f") from None


@click.command("blocks")
@root_options(json=True)
@click.argument("ref", type=RefType())
@click.argument("number", metavar="[N]", required=False, callback=block_number)
def blocks(options: Options, ref: str, number: int | None) -> int:
    """The block map of REF's device (devicemapper); with N, which level owns that block and where its data lies."""
    from layerscope.cli.render import block_map as render
    from layerscope.services.blocks import device_blocks, read_block

    out = Output(options.ascii)
    with options.session() as session:
        subject = find_subject(session, ref, needs="layers")
        if number is None:
            found, problems = device_blocks(session, subject)
            if options.json:
                out.document(render.device_blocks_shape(found))
            else:
                out.lines(render.device_blocks_lines(found))
        else:
            read, problems = read_block(session, subject, number)
            if options.json:
                out.document(render.block_read_shape(read))
            else:
                out.lines(render.block_read_lines(read, out.name))
        return exit_code([*problems, *session.problems()])
