#!/usr/bin/env python3
"""What a real engine says about the demo's root: the expected values of the tests.

    python tests/demo_answers.py        as root, with docker's engine 20.10 installed

The root is made by layerscope; a dockerd is started on a copy of it, and its own answers, none of layerscope's, are
written to ``tests/data/demo/truth.json``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
TRUTH = TESTS / "data" / "demo" / "truth.json"
_EXPORTED = "web-1"


def demo_copy(engine: Any) -> None:
    """Put a demo of its own where the engine's root is to be."""
    from layerscope.services.demo import demo_root

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(engine.home / "cache"))
        demo_root().rename(engine.root)


def ask(engine: Any) -> dict[str, Any]:
    """Everything that is the same each time an engine is started on that root."""
    images = engine.get("/images/json?all=1")
    identities = sorted(image["Id"] for image in images)
    listed = {c["Names"][0].removeprefix("/"): c for c in engine.get("/containers/json?all=1&size=1")}
    names = sorted(listed)
    return {
        "images": [_image(engine.get(f"/images/{identity}/json")) for identity in identities],
        "history": {identity: _history(engine, identity) for identity in identities},
        "containers": [_container(engine.get(f"/containers/{name}/json?size=1"), listed[name]) for name in names],
        "volumes": [_picked(volume, "Name", "Driver", "Labels") for volume in engine.get("/volumes")["Volumes"]],
        "diff": {name: [f"{letter} {path}" for letter, path in engine.diff(name)] for name in names},
        "export": {_EXPORTED: entries_of(engine.export(_EXPORTED))},
    }


def _picked(answer: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: answer[key] for key in keys}


def _image(answer: dict[str, Any]) -> dict[str, Any]:
    tags = sorted(answer["RepoTags"])
    return {
        **_picked(answer, "Id", "Created", "Size"),
        "RepoTags": tags,
        "Layers": answer["RootFS"]["Layers"],
        "Config": {key: value for key, value in sorted(answer["Config"].items()) if value},
        "LastTagTime": answer["Metadata"]["LastTagTime"],
    }


def _history(engine: Any, identity: str) -> list[list[Any]]:
    rows = engine.get(f"/images/{identity}/history")
    return [[row["Created"], row["CreatedBy"], row["Size"], row["Comment"], row["Tags"] or []] for row in rows]


def _container(answer: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    return {
        **_picked(answer, "Id", "Name", "Created", "Path", "Args", "Image"),
        "Command": listed["Command"],
        "ShownImage": listed["Image"],
        "State": _picked(answer["State"], "Status", "ExitCode", "StartedAt"),
        "Hostname": answer["Config"]["Hostname"],
        "Labels": answer["Config"]["Labels"],
        "Mounts": [_picked(mount, "Type", "Name", "Destination", "RW") for mount in answer["Mounts"]],
        "SizeRw": answer.get("SizeRw", 0),
        "SizeRootFs": answer["SizeRootFs"],
    }


def entries_of(tar: bytes) -> list[list[Any]]:
    """Path, type of tarfile, mode, owner, time, link target or device, SHA-256 of a regular file; sorted by path."""
    entries = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            target = f"{member.devmajor}:{member.devminor}" if member.ischr() or member.isblk() else member.linkname
            owner = f"{member.uid}:{member.gid}"
            mode = member.mode & 0o7777
            entries.append([member.name, member.type.decode(), mode, owner, int(member.mtime), target, digest])
    return sorted(entries, key=lambda entry: os.fsencode(entry[0]))


def _text(truth: dict[str, Any]) -> str:
    """As JSON, one entry a line."""
    parts = []
    for key, value in truth.items():
        if isinstance(value, dict):
            inner = ",\n ".join(f"{json.dumps(name)}: {_rows(rows)}" for name, rows in value.items())
            parts.append(f"{json.dumps(key)}: {{\n {inner}}}")
        else:
            parts.append(f"{json.dumps(key)}: {_rows(value) if isinstance(value, list) else json.dumps(value)}")
    return "{" + ",\n".join(parts) + "}\n"


def _rows(values: list[Any]) -> str:
    return "[" + ",".join(f"\n  {json.dumps(value)}" for value in values) + "]"


def main() -> None:
    sys.path[:0] = [str(TESTS.parent), str(TESTS / "live")]
    from engine import Engine

    engine = Engine()
    try:
        demo_copy(engine)
        engine.start()
        truth = {"engine": engine.get("/version")["Version"], **ask(engine)}
    finally:
        engine.remove()
    TRUTH.write_text(_text(truth))
    print(f"{TRUTH}: {len(truth['images'])} images, {len(truth['containers'])} containers")


if __name__ == "__main__":
    main()
