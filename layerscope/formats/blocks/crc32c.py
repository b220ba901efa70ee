"""CRC-32C (Castagnoli) as the kernel computes it: what thin-pool and ext4 metadata carry.

All ones at the start and, as the kernel's ``crc32c(~0, …)`` has it, **no inversion at the end**: ``b"123456789"`` gives
0x1CF96D7C here, and 0xE3069283 inverted.

Source: RFC 3720 appendix B.4; Linux lib/crc32.c ``__crc32c_le``.
"""

from __future__ import annotations

from fastcrc import crc32

_ONES = 0xFFFFFFFF


def crc32c(data: bytes | bytearray | memoryview, seed: int = _ONES) -> int:
    """The check value of ``data``, not inverted; ``seed`` is the value of what came before it."""
    return crc32.iscsi(data, seed ^ _ONES) ^ _ONES
