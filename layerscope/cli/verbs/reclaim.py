"""The verb ``reclaim``: what comes back if things go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.reference import RefType
from layerscope.cli.render.docker_form import size
from layerscope.cli.render.table import aligned
from layerscope.cli.report import exit_code, tell
from layerscope.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerscope.model.reclaim import Reclaim

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kKmMgGtTpP]?)(i?)[bB]?")
_POWERS = "kmgtp"
_SHOWN = 20


class _ThingType(RefType):
    """A REF, or a word for many things."""

    name = "thing"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from click.shell_completion import CompletionItem

        from layerscope.services.reclaim import GROUPS

        words = [CompletionItem(word, help=told) for word, told in GROUPS.items() if word.startswith(incomplete)]
        return words + super().shell_complete(ctx, param, incomplete)


@click.command("reclaim")
@root_options(json=True)
@click.argument("things", type=_ThingType(), nargs=-1, metavar="[THING]…")
@click.option("--free", metavar="SIZE", help="What to remove so that this much comes back (10GB, 512MiB).")
@click.option("-v", "--volumes", is_flag=True, help="Anonymous volumes of containers too, as docker rm -v.")
def reclaim(options: Options, things: tuple[str, ...], free: str | None, volumes: bool) -> int:
    """What would come back if THINGs went, and what keeps the rest; nothing is removed.

    A THING is an image, a container, volume:NAME, log:CONTAINER, or one of stopped-containers, dangling-images,
    unused-images, unused-volumes, anonymous-volumes, build-cache, unused-layers, orphans, logs. Without one the best
    candidates.
    """
    from layerscope.cli.verbs.df import counted_ledger
    from layerscope.services.reclaim import reclaim as answer_to

    wanted = None if free is None else _bytes(free)
    out = Output(options.ascii)
    with options.session() as session:
        counted = counted_ledger(session, options)
        found = answer_to(session, things, wanted, volumes, counted)
        if options.json:
            from layerscope.cli.render import ledger_json
            from layerscope.cli.render.document import parts

            for part in parts(ledger_json.reclaim(found), out.terminal):
                out.write(part)
        else:
            out.lines(_lines(found, out))
        if not found.enough:
            tell(f"all of it together frees {size(found.frees_disk, 4)}, which is less than {free}")
        return max(exit_code(counted.problems), 0 if found.enough else 1)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--free takes a size such as 500MB or 10GiB, not {text!r}")
    number, unit, binary = match.groups()
    power = _POWERS.index(unit.lower()) + 1 if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def _lines(found: Reclaim, out: Output) -> Iterator[str]:
    most = "at most " if found.at_most else ""
    if found.asked or found.wanted is not None:
        yield f"frees {most}{size(found.frees_disk, 4)} ({found.frees_disk} bytes on disk)"
    if found.wanted is not None:
        if found.exact:
            yield "nothing else frees enough and less" if found.enough else "that is everything there is"
        else:
            yield f"the best found in a second; no choice can free less than {size(found.bound, 4)}"
    if found.candidates:
        yield ""
        rows = [["FREES", "KIND", "NAME", "COMMAND"]]
        for one in found.candidates[:_SHOWN] if found.wanted is None else found.candidates:
            rows.append([size(one.frees_disk, 4), one.thing.kind, out.name(one.name), out.name(one.command)])
        yield from aligned(rows, frozenset({0}), out.width)
        if found.wanted is None and len(found.candidates) > _SHOWN:
            yield f"and {len(found.candidates) - _SHOWN} more"
    if found.kept:
        yield ""
        rows = [["KEPT", "PATH", "BECAUSE OF"]]
        rows += [[size(one.disk, 4), out.name(one.path), out.text(", ".join(one.because))] for one in found.kept]
        yield from aligned(rows, frozenset({0}), out.width)
    if found.commands and (found.asked or found.wanted is not None):
        yield ""
        yield from (out.name(command) for command in found.commands)
