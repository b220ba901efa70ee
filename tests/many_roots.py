"""A root of many images and containers, each image of two small layers: records as an engine writes them."""

from __future__ import annotations

import hashlib
import json
from base64 import b32encode
from pathlib import Path

CREATED = "2024-01-02T03:04:05.123456789Z"
STARTED = "2024-01-02T03:05:00Z"


def digest(text: str) -> str:
    """A name's own 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, files: dict[str, str]) -> None:
    """Text files in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def make_root(root: Path, count: int) -> None:
    """``count`` images ``bench/image<n>:1`` and containers ``box<n>``, box0 the oldest, on one base layer."""
    (root / "volumes").mkdir(parents=True)
    base = _layer(root, digest("base"), [], "etc/hosts")
    records = root / "image/overlay2"
    bottom = f"sha256:{digest('tar of the base')}"
    write(records / "layerdb/sha256" / bottom[7:], {"cache-id": digest("base"), "diff": bottom, "size": "1"})
    names: dict[str, dict[str, str]] = {}
    for number in range(count):
        own = digest(f"layer {number}")
        short = _layer(root, own, [base], f"app/file{number}")
        diff = f"sha256:{digest(f'tar {number}')}"
        chain = f"sha256:{digest(f'{bottom} {diff}')}"
        layer = {"cache-id": own, "diff": diff, "size": "2", "parent": bottom}
        write(records / "layerdb/sha256" / chain[7:], layer)
        history = [{"created": CREATED, "created_by": text} for text in ("RUN base", f"RUN layer {number}")]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": ["/bin/sh"]},
            "history": history,
            "rootfs": {"type": "layers", "diff_ids": [bottom, diff]},
        }
        text = json.dumps(config)
        image = f"sha256:{digest(text)}"
        write(records / "imagedb/content/sha256", {image[7:]: text})
        name = f"bench/image{number}"
        names[name] = {f"{name}:1": image}
        _container(root, number, image, f"{name}:1", chain, [short, base])
    write(records, {"repositories.json": json.dumps({"Repositories": names})})


def _layer(root: Path, own: str, lower: list[str], file: str) -> str:
    """A directory of the driver with one file; its short name."""
    short = b32encode(bytes.fromhex(digest(own)))[:26].decode()
    path = root / "overlay2" / own / "diff" / file
    path.parent.mkdir(parents=True)
    path.write_text("x")
    write(root / "overlay2" / own, {"link": short})
    if lower:
        write(root / "overlay2" / own, {"lower": ":".join(f"l/{name}" for name in lower)})
    (root / "overlay2/l").mkdir(exist_ok=True)
    (root / "overlay2/l" / short).symlink_to(f"../{own}/diff")
    return short


def _container(root: Path, number: int, image: str, typed: str, chain: str, lower: list[str]) -> None:
    own = digest(f"container {number}")
    mount = digest(f"mount {number}")
    init = _layer(root, f"{mount}-init", lower, "etc/hosts")
    _layer(root, mount, [init, *lower], "var/log")
    mounts = {"mount-id": mount, "init-id": f"{mount}-init", "parent": chain}
    write(root / "image/overlay2/layerdb/mounts" / own, mounts)
    minutes, seconds = divmod(number, 60)
    config = {
        "ID": own,
        "Name": f"/box{number}",
        "Created": f"2024-01-02T03:{5 + minutes:02}:{seconds:02}Z",
        "Path": "/bin/sh",
        "Args": [],
        "Config": {"Image": typed, "Labels": {}},
        "Image": image,
        "Driver": "overlay2",
        "State": {"StartedAt": STARTED, "FinishedAt": STARTED, "ExitCode": 0, "Running": False},
        "MountPoints": {},
    }
    write(root / "containers" / own, {"config.v2.json": json.dumps(config), "hostconfig.json": "{}"})
