"""A layer that is a tar in an archive: its plain bytes against the diff ID, its stored ones against their name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable

from layerscope.analysis.verify.layer import Part
from layerscope.errors import CorruptError
from layerscope.formats.blocks.source import ByteSource
from layerscope.model.digest import DiffID
from layerscope.model.verdict import Finding

_PIECE = 1 << 20
_BLOB = re.compile(r"blobs/(sha256|sha384|sha512)/([0-9a-f]+)")


def check_tar(
    open_plain: Callable[[], ByteSource],
    open_stored: Callable[[], ByteSource],
    diff_id: DiffID | None,
    path: str,
    progress: Callable[[int], None],
) -> Part:
    """Hash the tar at ``path`` of the archive, and what is stored there if its name is a digest. Raises nothing."""
    findings = []
    try:
        size, plain = _hashed(open_plain(), "sha256", progress)
        computed = f"sha256:{plain}"
        if diff_id is not None and computed != diff_id:
            findings.append(Finding(path, "diff ID", diff_id, computed))
        name = _BLOB.fullmatch(path)
        if name is not None:
            _, stored = _hashed(open_stored(), name[1], lambda done: None)
            if stored != name[2]:
                findings.append(Finding(path, "digest", f"{name[1]}:{name[2]}", f"{name[1]}:{stored}"))
    except CorruptError as error:
        return Part((Finding(path, "tar", f"one of diff ID {diff_id}", f"what can't be unpacked: {error}"),))
    except OSError as error:
        return Part((Finding(path, "tar", f"one of diff ID {diff_id}", os.strerror(error.errno or 0)),))
    return Part(tuple(findings), computed=computed, size_bytes=size)


def _hashed(source: ByteSource, algorithm: str, progress: Callable[[int], None]) -> tuple[int, str]:
    digest, offset = hashlib.new(algorithm), 0
    while data := source.read_at(offset, _PIECE):
        digest.update(data)
        offset += len(data)
        progress(len(data))
    return offset, digest.hexdigest()
