"""Gauges of a ledger in the text form that node_exporter's textfile collector reads.

Source: Prometheus, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from layerscope.cli.render.escape import replaced
from layerscope.cli.render.ledger_json import every_class

if TYPE_CHECKING:
    from layerscope.model.ledger import Ledger


def gauges(ledger: Ledger) -> Iterator[str]:
    """The lines, sorted by class."""
    root = _label(ledger.root)
    found = sorted(every_class(ledger), key=lambda one: one.category)
    for name, help_, unit in (
        ("disk_bytes", "Bytes on disk in each class of the root, as du counts them.", "disk"),
        ("apparent_bytes", "Sizes of everything in each class of the root.", "apparent"),
        ("entries", "Names in each class of the root.", "count"),
    ):
        yield f"# HELP layerscope_{name} {help_}"
        yield f"# TYPE layerscope_{name} gauge"
        for one in found:
            yield f'layerscope_{name}{{root="{root}",class="{one.category}"}} {getattr(one, unit)}'
    for name, help_, value in (
        ("total_disk_bytes", "Bytes on disk of the whole root.", ledger.total_disk),
        ("unaccounted_disk_bytes", "Bytes on disk that nothing claims.", ledger.unaccounted_disk),
        ("vanished_entries", "Entries that vanished while the root was read.", ledger.vanished),
    ):
        yield f"# HELP layerscope_{name} {help_}"
        yield f"# TYPE layerscope_{name} gauge"
        yield f'layerscope_{name}{{root="{root}"}} {value}'


def _label(text: str) -> str:
    return replaced(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
