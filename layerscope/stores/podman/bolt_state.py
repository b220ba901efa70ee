"""podman's state before 4.8, and of roots that were made then: ``libpod/bolt_state.db``, a bolt database.

| bucket | content |
| --- | --- |
| `ctr` / container ID | ``config`` and ``state`` (JSON as in ``db.sql``), ``pod``, ``netns``; bucket ``dependencies`` |
| `pod` / pod ID | ``config``, ``state`` (JSON); bucket ``containers`` |
| `vol` / volume name | ``config``, ``state`` (JSON); bucket ``vol-dependencies`` |
| `runtime-config` | ``graph-root``, ``run-root``, ``graph-driver-name``, ``volume-path``, … (text) |
| `id-registry`, `name-registry`, `all-ctrs`, `allPods`, `allVolumes`, `exit-code` … | what follows from the others |

Source: podman libpod/boltdb_state.go, boltdb_state_internal.go; seen with 4.3.1.
"""

from __future__ import annotations

import os

from layerscope.errors import CorruptError
from layerscope.formats.boltdb import Bucket, Database

_SETTINGS = {
    b"graph-root": "GraphRoot",
    b"run-root": "RunRoot",
    b"graph-driver-name": "GraphDriver",
    b"volume-path": "VolumeDir",
}
_KINDS = {"container": (b"ctr", b"config"), "state": (b"ctr", b"state"), "pod": (b"pod", b"config")}
_ALL = {**_KINDS, "volume": (b"vol", b"config"), "volume state": (b"vol", b"state")}


def read_bolt(data: bytes) -> tuple[dict[str, dict[str, bytes]], dict[str, str], list[str]]:
    """The JSON records by kind (those of ``_ALL``) and key, the settings, and what is wrong.

    Raises:
        CorruptError: neither of its two newest states can be read at all.
    """
    wrong: list[str] = []
    try:
        database = Database.checked(data)
        if database.is_older:
            wrong.append("was cut while it was written; the state before that is shown")
    except CorruptError as error:
        database = Database.parse(data)
        wrong.append(f"is damaged: {error}; what can be reached is shown")
    records: dict[str, dict[str, bytes]] = {}
    for kind, (bucket, key) in _ALL.items():
        records[kind] = _members(database, bucket, key, wrong)
    settings: dict[str, str] = {}
    try:
        found = database.root.bucket(b"runtime-config")
        for key, value in found.items() if found else ():
            if key in _SETTINGS and isinstance(value, bytes) and value:
                settings[_SETTINGS[key]] = os.fsdecode(value)
    except CorruptError as error:
        _tell(wrong, str(error))
    return records, settings, wrong


def _members(database: Database, bucket: bytes, key: bytes, wrong: list[str]) -> dict[str, bytes]:
    """The value of ``key`` in each bucket inside ``bucket``, by that bucket's name; a damaged one costs itself."""
    found: dict[str, bytes] = {}
    try:
        folder = database.root.bucket(bucket)
        for name, value in folder.items() if folder else ():
            if not isinstance(value, Bucket):
                continue
            try:
                record = value.get(key)
            except CorruptError as error:
                _tell(wrong, str(error))
                continue
            if record is not None:
                found[name.decode("utf-8", "replace")] = record
    except CorruptError as error:
        _tell(wrong, str(error))
    return found


def _tell(wrong: list[str], what: str) -> None:
    told = f"is damaged: {what}"
    if told not in wrong:
        wrong.append(told)
