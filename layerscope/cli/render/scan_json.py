"""The JSON shapes of a scan that was made, and of what grew between two. Sizes are bytes, times RFC 3339 in UTC.

* Scan: ``file, format ("scan"|"parquet"), host, root, scanned_at, store, driver, drivers[], engine, total_disk (null:
  no data root), layers, entries (rows written), vanished, unreadable, problems[]``.
* ScanDifference: ``old{host, root, scanned_at, store, driver, total_disk}, new{…}, same_host, same_root, notes[],
  grown_disk (null where one has no ledger), classes[{class, old_disk, new_disk, grown_disk}], owners[{kind, owner,
  old_disk, new_disk, grown_disk}], layers[{change ("added"|"removed"), id, role, chain_id, diff_id, cache_id, path,
  names[], class, owner, entries, disk}], counts[{change, paths, grown_disk}], paths[{change
  ("added"|"removed"|"grown"|"shrunk"), path, inside, layer, class, kind, owner, type, old_disk, new_disk, grown_disk,
  old_size, new_size}]``.

``classes``, ``owners`` and ``paths`` are those whose bytes on disk differ, by how much, whether more or less, the
largest first; ``counts`` are of all paths, also of those that are ``changed`` in other ways. ``inside`` is the path in
the layer, null for what is no layer's, ``layer`` that layer's chain ID, or the container's ID. ``old_…`` is null for
what was added, ``new_…`` for what was removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from layerscope.cli.render.escape import replaced
from layerscope.cli.render.json import problem
from layerscope.cli.render.ledger_json import named
from layerscope.formats.gotime import format_rfc3339
from layerscope.model.file_type import file_type

if TYPE_CHECKING:
    from layerscope.model.scan import ScanHeader, ScanSummary
    from layerscope.model.scan_difference import LayerGrowth, PathGrowth, ScanDifference, SumGrowth

Shape = dict[str, Any]


def summary(value: ScanSummary, file: str, form: str) -> Shape:
    """Scan."""
    header = value.header
    return {
        "file": replaced(file),
        "format": form,
        **_header(header),
        "drivers": [replaced(driver) for driver in header.drivers],
        "engine": replaced(header.engine),
        "layers": value.layers,
        "entries": value.end.rows,
        "vanished": value.end.vanished,
        "unreadable": value.end.unreadable,
        "problems": [problem(one) for one in value.problems],
    }


def _header(header: ScanHeader) -> Shape:
    return {
        "host": replaced(header.host),
        "root": replaced(header.root),
        "scanned_at": format_rfc3339(header.scanned_at_ns),
        "store": replaced(header.store),
        "driver": replaced(header.driver),
        "total_disk": header.total_disk,
    }


def difference(value: ScanDifference) -> tuple[Shape, Iterator[Shape]]:
    """ScanDifference but its paths, and these, which may be many."""
    old, new = value.old, value.new
    known = old.total_disk is not None and new.total_disk is not None
    shape = {
        "old": _header(old),
        "new": _header(new),
        "same_host": old.host == new.host,
        "same_root": old.root == new.root,
        "notes": [replaced(note) for note in value.notes],
        "grown_disk": (new.total_disk or 0) - (old.total_disk or 0) if known else None,
        "classes": [{"class": replaced(one.category), **_sum(one)} for one in value.classes],
        "owners": [{"kind": replaced(one.kind), "owner": replaced(one.owner), **_sum(one)} for one in value.owners],
        "layers": [_layer(one) for one in value.layers],
        "counts": [
            {"change": str(one.growth), "paths": one.paths, "grown_disk": one.grown_disk} for one in value.counts
        ],
    }
    return shape, map(_path, value.paths)


def _sum(value: SumGrowth) -> Shape:
    return {"old_disk": value.old_disk, "new_disk": value.new_disk, "grown_disk": value.grown_disk}


def _layer(value: LayerGrowth) -> Shape:
    tree = value.tree
    return {
        "change": str(value.growth),
        "id": replaced(tree.id),
        "role": replaced(tree.role) or None,
        "chain_id": replaced(tree.chain_id) or None,
        "diff_id": replaced(tree.diff_id) or None,
        "cache_id": replaced(tree.cache_id) or None,
        **named(tree.path),
        "names": [replaced(name) for name in tree.names],
        "class": replaced(value.subject.category),
        "owner": replaced(value.subject.owner),
        "entries": value.entries,
        "disk": value.disk,
    }


def _path(value: PathGrowth) -> Shape:
    subject = value.subject
    return {
        "change": str(value.growth),
        **named(value.path),
        "inside": None if value.inside is None else replaced(value.inside),
        "layer": None if value.layer is None else replaced(value.layer),
        "class": replaced(subject.category),
        "kind": replaced(subject.kind),
        "owner": replaced(subject.owner),
        "type": file_type(value.mode),
        "old_disk": value.old_disk,
        "new_disk": value.new_disk,
        "grown_disk": value.grown_disk,
        "old_size": value.old_size,
        "new_size": value.new_size,
    }
