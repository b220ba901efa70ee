"""docker's own records of thin devices: small JSON files beside each other in one folder.

| file | keys |
| --- | --- |
| `<id>`, `base` | `device_id`, `size` (bytes), `transaction_id`, `initialized` (true for base only), `deleted` |
| `deviceset-metadata` | `next_device_id`, `BaseDeviceUUID`, `BaseDeviceFilesystem` (`ext4` or `xfs`) |
| `transaction-metadata` | `open_transaction_id`, `device_hash`, `device_id`: the last change begun |

Source: moby daemon/graphdriver/devmapper/deviceset.go; seen with 20.10.24.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from layerscope.errors import CorruptError

_MAX_DEVICE_ID = (1 << 24) - 1
_MAX_SIZE = 1 << 60
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class DeviceRecord(Struct, frozen=True):
    """One thin device as docker knows it: ``name`` is its cache ID (or ``base``), ``device_id`` the pool's number.

    ``transaction`` is that in which docker made it: one more than the pool's own record says. ``deleted``: docker has
    removed the layer, and will remove the device later.
    """

    name: str
    device_id: int
    size_bytes: int
    transaction: int
    deleted: bool


class _Device(msgspec.Struct):
    device_id: int
    size: int
    transaction_id: int = 0
    deleted: bool = False


class _DeviceSet(msgspec.Struct):
    BaseDeviceFilesystem: str = ""


class _Transaction(msgspec.Struct):
    open_transaction_id: int = 0
    device_hash: str = ""
    device_id: int = 0


def parse_device(data: bytes, name: str) -> DeviceRecord:
    """The record of the device ``name``. Raises CorruptError if it isn't one."""
    raw = _decoded(data, _Device)
    if not 0 <= raw.device_id <= _MAX_DEVICE_ID:
        raise CorruptError(f"device_id is {raw.device_id}, expected 0 to {_MAX_DEVICE_ID}")
    if not 0 < raw.size <= _MAX_SIZE:
        raise CorruptError(f"size is {raw.size} bytes, expected 1 to {_MAX_SIZE}")
    return DeviceRecord(name, raw.device_id, raw.size, raw.transaction_id, raw.deleted)


def parse_file_system_name(data: bytes) -> str:
    """What ``deviceset-metadata`` says is inside the devices ("" if it doesn't). Raises CorruptError."""
    return _decoded(data, _DeviceSet).BaseDeviceFilesystem


def parse_transaction(data: bytes) -> tuple[int, int]:
    """Of ``transaction-metadata``: number and device of the last change. Raises CorruptError."""
    raw = _decoded(data, _Transaction)
    return raw.open_transaction_id, raw.device_id


def _decoded(data: bytes, kind: type[_Struct]) -> _Struct:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptError(f"is no such record: {str(error).replace('`', '')}") from None
