"""Blobs of a content store: their bytes against their digests, and an unpacked snapshot against the tar of its layer.

The tar is kept whole, compressed, so each file of the snapshot is compared with the very bytes that it was made from.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from layerscope.analysis.verify.added import check_added, check_tree
from layerscope.analysis.verify.findings import Findings, said
from layerscope.analysis.verify.layer import Part
from layerscope.analysis.verify.members import Members, sparse_members, strict_members
from layerscope.analysis.verify.metadata import MetadataCheck, Rules
from layerscope.analysis.verify.places import Places
from layerscope.errors import CorruptError, UnsupportedError
from layerscope.formats.blocks.compression import decompressed
from layerscope.formats.whiteout import NAME_PREFIX
from layerscope.model.digest import DiffID
from layerscope.model.level import LayerKind
from layerscope.model.tree import LayerDirectory
from layerscope.model.verdict import Finding

_PIECE = 1 << 20
_SLACK = 64 << 20


class BlobRecord(Struct, frozen=True):
    """One blob: ``open_blob`` gives its file, which lies at ``path`` (as problems tell it). ``digest`` is its name.

    ``size``: its bytes by its record; None if nothing tells. A file that is far longer isn't read: there is no end to
    how long a sparse one can be made.
    """

    digest: str
    path: str
    open_blob: Callable[[], BinaryIO]
    size: int | None = None


class _Hashed(io.RawIOBase):
    """A stream whose digest and length are taken while it is read."""

    def __init__(self, source: BinaryIO, algorithm: str, told: Callable[[int], None] = lambda done: None) -> None:
        self._source = source
        self._told = told
        self.hash = hashlib.new(algorithm)
        self.length = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> Any:
        data = self._source.read(size)
        self.hash.update(data)
        self.length += len(data)
        self._told(len(data))
        return data

    def finish(self) -> None:
        """Read what is left."""
        while self.read(_PIECE):
            pass


def check_blob(blob: BlobRecord, *, progress: Callable[[int], None] = lambda done: None) -> Part:
    """Hash a blob. Raises nothing."""
    try:
        with blob.open_blob() as file:
            if overlong := _overlong(blob, file):
                return Part(overlong)
            hashed = _Hashed(file, blob.digest.partition(":")[0], progress)
            hashed.finish()
    except OSError as error:
        return Part((Finding(blob.path, "blob", f"a file of digest {blob.digest}", said(error)),), size_bytes=0)
    return Part(tuple(_digest_findings(blob, hashed)), size_bytes=hashed.length)


def _overlong(blob: BlobRecord, file: BinaryIO) -> tuple[Finding, ...]:
    length = os.fstat(file.fileno()).st_size
    if blob.size is None or length <= blob.size + _SLACK:
        return ()
    return (Finding(blob.path, "length", f"{blob.size} bytes", f"{length} bytes"),)


def _digest_findings(blob: BlobRecord, hashed: _Hashed) -> Iterator[Finding]:
    found = f"{blob.digest.partition(':')[0]}:{hashed.hash.hexdigest()}"
    if found != blob.digest:
        yield Finding(blob.path, "digest", blob.digest, found)


def check_snapshot(
    blob: BlobRecord,
    diff_id: DiffID | None,
    top: LayerDirectory,
    rules: Rules,
    deep: bool,
    *,
    below: LayerDirectory | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Part:
    """Hash a layer's blob, compressed and plain, and compare it with its snapshot (``top``). Raises nothing.

    ``deep`` compares metadata, too, and looks for what the tar doesn't name; ``below`` is what a whole tree was made
    from, None for a base.
    """
    try:
        try:
            return _compared(strict_members, blob, diff_id, top, rules, deep, below, progress)
        except UnsupportedError:
            return _compared(sparse_members, blob, diff_id, top, rules, deep, below, lambda done: None)
    except OSError as error:
        return Part((Finding(blob.path, "blob", f"a file of digest {blob.digest}", said(error)),))
    except (CorruptError, UnsupportedError) as error:
        return replace(_check_packed(blob, diff_id), damaged=f"its files were not compared: {error}")


def _compared(
    members: Callable[[BinaryIO], Members],
    blob: BlobRecord,
    diff_id: DiffID | None,
    top: LayerDirectory,
    rules: Rules,
    deep: bool,
    below: LayerDirectory | None,
    progress: Callable[[int], None],
) -> Part:
    findings, voidable = Findings(), rules.voidable()
    missed = findings if voidable is None else voidable
    check = MetadataCheck(Places(top), rules, findings, voidable) if deep else None
    places = Places(top)
    with blob.open_blob() as file:
        if overlong := _overlong(blob, file):
            return Part(overlong)
        packed = _Hashed(file, blob.digest.partition(":")[0], progress)
        _, plain = decompressed(packed)  # type: ignore[arg-type]
        tar = _Hashed(plain, "sha256")
        for header, content in members(tar):  # type: ignore[arg-type]
            if voidable is not None:
                voidable.take(header)
            if check is not None:
                check.take(header)
            if header.type == "0" and header.size and not _is_mark(header.path, rules):
                _compare(places, header.path, header.size, content, missed)
        tar.finish()
        packed.finish()
    for finding in _digest_findings(blob, packed):
        findings.put(finding)
    computed = f"sha256:{tar.hash.hexdigest()}"
    if diff_id is not None and computed != diff_id:
        findings.put(Finding(blob.path, "diff ID", diff_id, computed))
    if check is not None:
        check.finish()
    if voidable is not None:
        voidable.settle(findings)
    if check is not None:
        if rules.kind is LayerKind.DIFF:
            check_added(top, check.names, rules, findings)
        else:
            check_tree(top, below, check.names, findings)
    return Part(findings.kept, findings.more, computed, tar.length, denied=findings.denied)


def _check_packed(blob: BlobRecord, diff_id: DiffID | None) -> Part:
    """Both digests of a layer's blob, whatever its tar is."""
    whole = check_blob(blob)
    try:
        with blob.open_blob() as file:
            tar = _Hashed(decompressed(file)[1], "sha256")
            tar.finish()
    except (OSError, CorruptError):
        return whole
    computed = f"sha256:{tar.hash.hexdigest()}"
    wrong = (Finding(blob.path, "diff ID", diff_id, computed),) if diff_id is not None and computed != diff_id else ()
    return Part((*whole.findings, *wrong), computed=computed, size_bytes=tar.length)


def _is_mark(path: str, rules: Rules) -> bool:
    return (rules.device_marks or rules.carries_out) and path.rpartition("/")[2].startswith(NAME_PREFIX)


def _compare(places: Places, path: str, size: int, content: Iterator[bytes], findings: Findings) -> None:
    """A file of the snapshot with the tar's bytes of it."""
    try:
        place, last = places.split(path)
        with place.directory.open(last) as file:
            length = os.fstat(file.fileno()).st_size
            if length != size:
                findings.add(path, "length", f"{size} bytes", f"{length} bytes")
                return
            for chunk in content:
                if file.read(len(chunk)) != chunk:
                    findings.add(path, "content", "the bytes of its compressed tar", "others")
                    return
    except OSError as error:
        findings.fail(path, "file", f"{size} bytes", error)
