"""The two halves of checking one layer, each of which may run in a process of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from msgspec import Struct

from layerscope.analysis.verify.added import check_added, check_tree
from layerscope.analysis.verify.content import FileReader, hash_layer, holds_sparse_files, name_changed_files
from layerscope.analysis.verify.findings import Findings
from layerscope.analysis.verify.metadata import MetadataCheck, Rules
from layerscope.analysis.verify.places import Places
from layerscope.errors import CorruptError
from layerscope.formats.tar.brief_header import brief_headers
from layerscope.formats.tar.split import FileEntry, Segment, read_entries
from layerscope.model.digest import DiffID
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory
from layerscope.model.verdict import Finding

TAR_RECORD = "the record of its tar"
"""How a verdict begins that couldn't be reached for want of it."""
NO_RECORD = f"{TAR_RECORD} is missing"
SPARSE = "its tar held a sparse file, which can't be rebuilt from the record; every file has its recorded checksum"
LOST = "its tar held a file with the name of a whiteout, whose bytes no engine keeps"
DELETED = "its tar held a file that a whiteout behind it deletes, whose bytes no engine keeps"


class LayerRecord(Struct, frozen=True):
    """A layer that can be checked: ``open_record`` gives its tar-split, which lies at ``path`` below the root."""

    diff_id: DiffID | None
    open_record: Callable[[], BinaryIO | None]
    path: str
    top: LayerDirectory
    rules: Rules
    below: LayerDirectory | None = None


class Part(Struct, frozen=True):
    """What one half found. ``damaged`` says why the record can't be used, "" if it can; ``denied``: see Findings."""

    findings: tuple[Finding, ...] = ()
    more: int = 0
    computed: str | None = None
    size_bytes: int = 0
    damaged: str = ""
    denied: int = 0


def check_content(
    layer: LayerRecord, *, checksums: bool = False, progress: Callable[[int], None] = lambda done: None
) -> Part:
    """Hash the layer; where its digest isn't the diff ID, name what was changed. Raises nothing."""
    record = layer.open_record()
    if record is None:
        return Part(damaged=NO_RECORD)
    findings = Findings()
    places = Places(layer.top)
    reader = FileReader(places)
    try:
        with record:
            hashed = hash_layer(
                read_entries(record),
                reader,
                findings,
                checksums=checksums,
                whole_tree=layer.rules.kind is LayerKind.SNAPSHOT,
                progress=progress,
            )
        damaged = LOST if hashed.lost else DELETED if hashed.deleted else ""
        if hashed.computed is not None and hashed.computed != layer.diff_id:
            damaged = _explain(layer, hashed.computed, reader, findings)
        else:  # nothing but a recorded checksum was changed, or nobody can tell
            findings.extend(hashed.differ.kept, hashed.differ.more)
    except CorruptError as error:
        return Part(findings.kept, findings.more, damaged=f"{TAR_RECORD} is damaged: {error}")
    finally:
        reader.close()
    return Part(
        findings.kept,
        findings.more,
        hashed.computed,
        hashed.size_bytes,
        damaged,
        denied=findings.denied,
    )


def _explain(layer: LayerRecord, computed: str, reader: FileReader, findings: Findings) -> str:
    """Name what makes another digest; why it can't be the recorded one, if nobody changed anything."""
    record, again = layer.open_record(), layer.open_record()
    if record is None or again is None:
        return NO_RECORD
    with record, again:
        if name_changed_files(read_entries(record), reader, findings):
            return ""
        if holds_sparse_files(read_entries(again)):
            return SPARSE
    recorded = f"the tar of diff ID {layer.diff_id or 'unknown'}"
    findings.put(Finding(layer.path, "record", recorded, f"one of {computed}: headers were changed"))
    return ""


def check_metadata(layer: LayerRecord) -> Part:
    """Compare every header with its inode, and the directory with all headers. Raises nothing."""
    record = layer.open_record()
    if record is None:
        return Part(damaged=NO_RECORD)
    findings = Findings()
    voidable, damaged = layer.rules.voidable(), ""
    check = MetadataCheck(Places(layer.top), layer.rules, findings, voidable)
    try:
        with record:
            check.take_all(brief_headers(_telling_root(read_entries(record), check), check.take_damaged))
    except CorruptError as error:
        damaged = f"{TAR_RECORD} is damaged: {error}"
    if voidable is not None:
        voidable.settle(findings)
    if damaged:
        return Part(findings.kept, findings.more, damaged=damaged)
    if layer.rules.kind is LayerKind.DIFF:
        check_added(layer.top, check.names, layer.rules, findings)
    else:
        check_tree(layer.top, layer.below, check.names, findings)
    return Part(findings.kept, findings.more, denied=findings.denied)


def _telling_root(entries: Iterable[Segment | FileEntry], check: MetadataCheck) -> Iterator[Segment | FileEntry]:
    """Tell whether the layer's top is named ``/`` or ``.``: a header's path is clean of both."""
    for entry in entries:
        if isinstance(entry, FileEntry) and entry.name[:1] == "/" and not posixpath.normpath(entry.name).strip("/"):
            check.at_root = True
        yield entry
