"""The items that are kept beside an image: configuration, manifests, signatures, each a file of its own.

The file is called by the item's key where that has only digits, small letters and full stops (whatever its last
character is), else ``=`` and the key's bytes in base64.
Source: containers/storage store.go ``makeBigDataBaseName``; seen with podman 4.3 and 5.8.
"""

from __future__ import annotations

import binascii
import re

from layerscope.hostfs import Directory
from layerscope.model.digest import is_file_name
from layerscope.stores.records.files import MISSING, Fault, read_bytes
from layerscope.stores.records.json_record import LIMIT

_PLAIN = re.compile(r"[0-9a-z.]*.", re.DOTALL)


def file_name(key: str) -> str:
    """The name of the file that holds the item ``key``. It may hold a slash, and then names no file."""
    if _PLAIN.fullmatch(key):
        return key
    return "=" + binascii.b2a_base64(key.encode("utf-8", "surrogateescape"), newline=False).decode()


def read_item(folder: Directory, key: str) -> bytes | Fault:
    """The bytes of the item ``key``; ``folder`` is that of the image or container."""
    name = file_name(key)
    return read_bytes(folder, name, LIMIT) if is_file_name(name) else MISSING
