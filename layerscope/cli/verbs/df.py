"""The verb ``df``: where every byte of a root is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.render.docker_form import size
from layerscope.cli.render.table import aligned, docker_table
from layerscope.cli.report import exit_code, tell
from layerscope.errors import UsageError

if TYPE_CHECKING:
    from layerscope.model.ledger import Ledger, LedgerEntry
    from layerscope.services.session import Session

_SHOWN = 10


@click.command("df")
@root_options(json=True)
@click.option("-v", "--verbose", is_flag=True, help="Every entry, not the largest only.")
@click.option("--docker", "as_docker", is_flag=True, help="What docker system df -v would print.")
@click.option("--prometheus", is_flag=True, help="Gauges for node_exporter's textfile collector.")
def df(options: Options, verbose: bool, as_docker: bool, prometheus: bool) -> int:
    """Where every byte of the root is: each in one class, with its owner and the reason; the sum is du's."""
    if options.json + as_docker + prometheus > 1:
        raise UsageError("--json, --docker and --prometheus are three different answers: give one of them")
    out = Output(options.ascii)
    with options.session() as session:
        if as_docker:
            out.lines(_docker_lines(session, out))
            _tell_other_count(session)
            return exit_code(session.problems())
        found = counted_ledger(session, options)
        if options.json:
            from layerscope.cli.render import ledger_json
            from layerscope.cli.render.document import parts
            from layerscope.services.docker_df import other_count

            shape = {**ledger_json.ledger(found), "docker_otherwise": ledger_json.other_count(other_count(session))}
            for part in parts(shape, out.terminal):
                out.write(part)
        elif prometheus:
            from layerscope.cli.render.prometheus import gauges

            out.lines(gauges(found))
        else:
            out.lines(_lines(found, out, verbose))
        return exit_code(found.problems)


def counted_ledger(session: Session, options: Options) -> Ledger:
    """The ledger of the root, with its progress on a terminal."""
    from layerscope.services.ledger import entries_at_most, ledger

    with Progress("counting") as progress:
        most = entries_at_most(session)
        return ledger(session, counted=lambda entries: progress.count(entries, most), cache=not options.no_cache)


def _lines(ledger: Ledger, out: Output, verbose: bool) -> Iterator[str]:
    rows = [["CLASS", "DISK", "APPARENT", "ENTRIES"]]
    rows += [[one.category, size(one.disk, 4), size(one.apparent, 4), str(one.count)] for one in ledger.classes]
    rows.append(["total", size(ledger.total_disk, 4), "", ""])
    yield from aligned(rows, frozenset({1, 2, 3}))
    yield ""
    shown = ledger.entries if verbose else ledger.entries[:_SHOWN]
    yield from _entry_lines(shown, out)
    left = len(ledger.entries) - len(shown)
    if left:
        yield f"and {left} more entries: layerscope df -v lists them"
    if ledger.vanished:
        yield f"{ledger.vanished} entries vanished while they were read"


def _entry_lines(entries: Iterable[LedgerEntry], out: Output) -> Iterator[str]:
    rows = [["DISK", "CLASS", "OWNER", "PATH", "REASON"]]
    for one in entries:
        reason = one.reason
        if one.cause:
            reason = f"{reason} (recorded as {size(one.stored)}, holds {size(one.measured)}: {one.cause})"
        cells = [size(one.disk, 4), one.category, out.text(one.owner), out.name(one.path), out.text(reason)]
        rows.append(cells)
    yield from aligned(rows, frozenset({0}), out.width)


def _docker_lines(session: Session, out: Output) -> Iterator[str]:
    from layerscope.cli.render.docker_df import tables
    from layerscope.cli.verbs.ps import shown_image
    from layerscope.services.docker_df import disk_usage

    usage = disk_usage(session)
    images = [shown_image(session, one.container, False) for one in usage.containers]
    first = True
    for heading, header, rows in tables(usage, images, time.time_ns()):
        if not first:
            yield ""
        first = False
        yield heading
        yield ""
        cells = [[out.text(cell).replace("\n", "\\n") for cell in row] for row in rows]
        yield from docker_table(header, cells)


def _tell_other_count(session: Session) -> None:
    from layerscope.services.docker_df import other_count

    found = other_count(session)
    if found is not None:
        many = "one image" if len(found.images) == 1 else f"{len(found.images)} images"
        tell(
            f"the root doesn't tell which docker it is of: what {many} share is counted as {found.counted_as} does; "
            f"{found.other} count less, layers only (df --json has both)"
        )
