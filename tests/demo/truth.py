"""What a real engine says about the finished archive: the expected values of the tests.

The archive is unpacked by GNU tar, not by us, and an engine started on it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from dockerd import Engine

_EXPORTED = "web-1"


def ask(archive: Path, work: Path) -> dict[str, Any]:
    """Images, containers and `docker diff` of all, and every entry of `docker export` of one container."""
    root = work / "copy"
    root.mkdir(0o710)
    unpack = ["tar", "-xpf", str(archive), "-C", str(root), "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(unpack, check=True)
    with Engine(root, work) as engine:
        images = [_inspected(engine, "image", name) for name in _lines(engine, "images", "-aq", "--no-trunc")]
        containers = [_inspected(engine, "container", name) for name in _lines(engine, "ps", "-aq", "--no-trunc")]
        names = [container["Name"].removeprefix("/") for container in containers]
        return {
            "archive": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "engine": engine.docker("version", "--format={{.Server.Version}}"),
            "images": [{key: image[key] for key in ("Id", "RepoTags", "Size")} for image in images],
            "containers": [{key: c.get(key, 0) for key in ("Id", "Name", "SizeRw", "SizeRootFs")} for c in containers],
            "diff": {name: sorted(_lines(engine, "diff", name), key=_path_of) for name in names},
            "export": {_EXPORTED: _entries(engine.docker_bytes("export", _EXPORTED))},
        }


def _lines(engine: Engine, *words: str) -> list[str]:
    return list(dict.fromkeys(engine.docker(*words).splitlines()))


def _path_of(line: str) -> bytes:
    return os.fsencode(line[2:])


def _inspected(engine: Engine, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.docker("inspect", f"--type={kind}", "-s", name))[0]
    return found


def _entries(data: bytes) -> list[list[Any]]:
    """Path, type of tarfile, permission bits, time, link target, SHA-256 of a regular file."""
    entries = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            mode = member.mode & 0o7777
            entries.append([member.name, member.type.decode(), mode, int(member.mtime), member.linkname, digest])
    return sorted(entries, key=lambda entry: os.fsencode(entry[0]))


def write(truth: dict[str, Any], path: Path) -> None:
    """As JSON, one entry a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for key, value in truth.items():
        if isinstance(value, dict):
            inner = ",\n ".join(f"{json.dumps(name)}: {_rows(rows)}" for name, rows in value.items())
            parts.append(f"{json.dumps(key)}: {{\n {inner}}}")
        else:
            parts.append(f"{json.dumps(key)}: {_rows(value) if isinstance(value, list) else json.dumps(value)}")
    path.write_text("{" + ",\n".join(parts) + "}\n")


def _rows(values: list[Any]) -> str:
    return "[" + ",".join(f"\n  {json.dumps(value)}" for value in values) + "]"
