"""Identifiers, each a type of its own, and how chain IDs are made.

Source: OCI image spec, config.md, "Layer ChainID"; moby layer/layer.go ``CreateChainID``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from hashlib import sha256
else:
    # As the library's own ``random`` does it: hashlib loads OpenSSL, which takes longer than to hash a root's records.
    try:
        from _sha2 import sha256  # Python 3.12 and newer
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

DiffID = NewType("DiffID", str)
"""``sha256:<hex>`` of a layer's uncompressed tar."""
ChainID = NewType("ChainID", str)
"""``sha256:<hex>`` naming a layer together with everything below it."""
ImageID = NewType("ImageID", str)
"""``sha256:<hex>`` of the image's config (graph drivers) or of its manifest or index (containerd store)."""
CacheID = NewType("CacheID", str)
"""The storage driver's own name of one layer's directory, dataset or device."""
ContainerID = NewType("ContainerID", str)
"""64 hexadecimal digits."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


def is_digest(text: object) -> bool:
    """Whether ``text`` is ``sha256:`` and 64 lowercase hexadecimal digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def is_hex64(text: object) -> bool:
    """Whether ``text`` is 64 lowercase hexadecimal digits."""
    return isinstance(text, str) and _HEX64.fullmatch(text) is not None


def is_file_name(text: object) -> bool:
    """Whether ``text`` may be used as one component of a path: not empty, no slash, no NUL, not ``.`` or ``..``."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= 255
        and text not in (".", "..")
        and "/" not in text
        and "\0" not in text
    )


def digest_of(data: bytes) -> str:
    """``sha256:<hex>`` of ``data``."""
    return "sha256:" + sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The hexadecimal part of a ``sha256:<hex>``."""
    return digest.removeprefix("sha256:")


def chain_id(parent: ChainID | None, diff_id: DiffID) -> ChainID:
    """The chain ID of a layer ``diff_id`` on top of ``parent`` (None for a base layer)."""
    if parent is None:
        return ChainID(diff_id)
    return ChainID(digest_of(f"{parent} {diff_id}".encode()))


def chain_ids(diff_ids: Iterable[DiffID]) -> tuple[ChainID, ...]:
    """The chain IDs of a stack, base first, one for each of ``diff_ids`` (base first)."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        chain.append(chain_id(chain[-1] if chain else None, diff_id))
    return tuple(chain)
