"""The verbs ``scan`` and ``diff-scan``: everything that a root holds in one file, and what grew between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerscope import __version__
from layerscope.cli.completers import files
from layerscope.cli.options import Options, root_options
from layerscope.cli.output import Output
from layerscope.cli.progress import Progress
from layerscope.cli.render.docker_form import short_id, size
from layerscope.cli.render.table import aligned
from layerscope.cli.report import exit_code, tell
from layerscope.cli.sink import written_aside
from layerscope.errors import UsageError
from layerscope.formats.gotime import format_rfc3339

if TYPE_CHECKING:
    from layerscope.model.scan import ScanHeader, ScanSink, ScanSummary
    from layerscope.model.scan_difference import PathGrowth, ScanDifference

_NATIVE, _PARQUET = "scan", "parquet"
_SHOWN = 20
_UNKNOWN_TIME = "?"


@click.command("scan")
@root_options(json=True)
@click.option(
    "-o", "--output", metavar="FILE", required=True, shell_complete=files, help="Where to; - is standard output."
)
@click.option(
    "--format",
    "form",
    type=click.Choice([_NATIVE, _PARQUET]),
    default=_NATIVE,
    show_default=True,
    help="parquet needs layerscope[parquet].",
)
@click.option("--host", metavar="NAME", help="The machine that the root is from, if it isn't this one.")
def scan(options: Options, output: str, form: str, host: str | None) -> int:
    """Write the ledger, and every entry of the root and of all layers, into FILE.

    diff-scan tells what grew between two such files. FILE is complete, or it isn't there.
    """
    from layerscope.services.scan.root import refuse_below
    from layerscope.services.scan.root import scan as scanned

    out = Output(options.ascii)
    if output == "-" and out.terminal:
        raise UsageError("a scan is not for a terminal: name a file with -o, or use a pipe")
    if output == "-" and options.json:
        raise UsageError("-o - and --json would both write to standard output: give one of them")
    with options.session() as session, _Progress() as progress:

        def written(write: Callable[[bytes], object]) -> ScanSummary:
            sink = _sink(form, write)
            return scanned(
                session,
                sink,
                host=host or "",
                version=__version__,
                cache=not options.no_cache,
                counting=progress.count,
                progress=progress.tell,
            )

        if output == "-":
            summary = written(out.write)
        else:
            target = Path(output)
            refuse_below(session, target)
            with written_aside(target) as file:
                summary = written(file.write)
        progress.clear()
        if options.json:
            out.document(_summary(summary, output, form))
        elif output != "-":
            out.line(_summary_line(summary, out.name(output)))
        return exit_code(summary.problems)


class _Progress(ExitStack):
    """Entries while the ledger is made, then bytes with their rate, which begins anew."""

    def __init__(self) -> None:
        super().__init__()
        self._counting = self.enter_context(Progress("counting"))
        self._scanning: Progress | None = None

    def count(self, entries: int) -> None:
        self._counting.count(entries, None)

    def tell(self, done: int, total: int) -> None:
        if self._scanning is None:
            self._scanning = self.enter_context(Progress("scanned"))
        self._scanning.tell(done, total)

    def clear(self) -> None:
        self._counting.clear()


def _sink(form: str, write: Callable[[bytes], object]) -> ScanSink:
    if form == _PARQUET:
        from layerscope.formats.scan.parquet import ParquetWriter

        return ParquetWriter(write)
    from layerscope.formats.scan.writer import ScanWriter

    return ScanWriter(write)


def _summary(summary: ScanSummary, output: str, form: str) -> dict[str, Any]:
    from layerscope.cli.render import scan_json

    return scan_json.summary(summary, output, form)


def _summary_line(summary: ScanSummary, name: str) -> str:
    total = summary.header.total_disk
    disk = "" if total is None else f", {size(total, 4)} on disk"
    return f"{name}: {summary.end.rows} entries, {summary.layers} layers{disk}"


# ---------------------------------------------------------------------- diff-scan
@click.command("diff-scan")
@click.argument("old", type=click.Path(path_type=Path), shell_complete=files)
@click.argument("new", type=click.Path(path_type=Path), shell_complete=files)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=_SHOWN,
    metavar="N",
    show_default=True,
    help="How many owners, layers and paths; 0: all of them.",
)
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII characters only.")
def diff_scan(old: Path, new: Path, as_json: bool, limit: int, ascii_only: bool) -> int:
    """What grew between two files that scan wrote: by class, by owner, and path by path."""
    from layerscope.services.scan.difference import diff_scans

    out = Output(ascii_only)
    with diff_scans(old, new, limit or None) as found:
        for note in found.notes:
            tell(f"note: {note}")
        if as_json:
            _write_difference(found, out)
        else:
            out.lines(_lines(found, out))
    return 0


def _write_difference(found: ScanDifference, out: Output) -> None:
    """One document whose last field is a list that is written as it comes."""
    from layerscope.cli.render import scan_json
    from layerscope.cli.render.document import document, element

    shape, paths = scan_json.difference(found)
    out.write(document(shape, out.terminal).removesuffix(b"\n}\n") + b',\n  "paths": [')
    try:
        for number, path in enumerate(paths):
            out.write((b",\n" if number else b"\n") + element(path, out.terminal))
    finally:
        out.write(b"\n  ]\n}\n")


def _lines(found: ScanDifference, out: Output) -> Iterator[str]:
    arrow = "→" if out.glyphs else "->"
    yield f"{_when(found.old, out)} {arrow} {_when(found.new, out)}"
    old, new = found.old.total_disk, found.new.total_disk
    if old is not None and new is not None:
        yield f"{signed(new - old)}: {size(old, 4)} {arrow} {size(new, 4)}"
    if not (found.classes or found.owners or found.layers or found.counts):
        yield "nothing differs"
    if found.classes:
        yield ""
        rows = [["GROWN", "OLD", "NEW", "CLASS"]]
        rows += [[signed(x.grown_disk), size(x.old_disk, 4), size(x.new_disk, 4), x.category] for x in found.classes]
        yield from _table(rows, out)
    if found.owners:
        yield ""
        rows = [["GROWN", "OLD", "NEW", "KIND", "OWNER"]]
        for one in found.owners:
            cells = [signed(one.grown_disk), size(one.old_disk, 4), size(one.new_disk, 4)]
            rows.append([*cells, out.text(one.kind), out.text(one.owner)])
        yield from _table(rows, out)
    if found.layers:
        yield ""
        rows = [["DISK", "ENTRIES", "LAYER", "ID", "CLASS", "OWNER"]]
        for layer in found.layers:
            subject = layer.subject
            cells = [size(layer.disk, 4), str(layer.entries), layer.growth, out.name(short_id(layer.tree.id))]
            rows.append([*cells, out.text(subject.category), out.text(subject.owner)])
        yield from _table(rows, out, frozenset({0, 1}))
    yield from _path_lines(found, out)


def _path_lines(found: ScanDifference, out: Output) -> Iterator[str]:
    if found.counts:
        yield ""
        sums = {count.growth: f" ({signed(count.grown_disk)})" if count.grown_disk else "" for count in found.counts}
        yield f"paths: {', '.join(f'{count.paths} {count.growth}{sums[count.growth]}' for count in found.counts)}"
    rows = [["GROWN", "CHANGE", "CLASS", "OWNER", "PATH"]]
    for path in found.paths:
        rows.append(_path_cells(path, out))
        if len(rows) > _SHOWN * 50:  # no table is that long: columns are as wide as those of each part
            yield from _table(rows, out)
            rows = []
    if len(rows) > 1:
        yield from _table(rows, out)


def _path_cells(path: PathGrowth, out: Output) -> list[str]:
    subject = path.subject
    shown = path.inside if path.inside is not None else path.path
    return [
        signed(path.grown_disk),
        path.growth,
        out.text(subject.category),
        out.text(subject.owner),
        out.name(shown),
    ]


def _table(rows: list[list[str]], out: Output, right: frozenset[int] = frozenset({0, 1, 2})) -> Iterator[str]:
    numbers = right if rows and rows[0][1] != "CHANGE" else frozenset({0})
    yield from aligned(rows, numbers, out.width)


def _when(header: ScanHeader, out: Output) -> str:
    moment = format_rfc3339(header.scanned_at_ns // 10**9 * 10**9) or _UNKNOWN_TIME
    return f"{out.text(header.host)} {out.name(header.root)} {moment}"


def signed(grown: int) -> str:
    """A size with its sign, ``+1.2GB``."""
    return f"{'-' if grown < 0 else '+'}{size(abs(grown), 4)}"
