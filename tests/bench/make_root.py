"""Make a large overlay2 root out of nothing: ``python tests/bench/make_root.py DIRECTORY``.

An image of several layers and two containers, with records as an engine writes them: ids that are digests of what they
name, chain IDs, short names, ``lower`` files, mount records. Files have sizes but hold no data. Left out are tar-split
records, so the diff IDs are those of no tar. It is for measurements, not for an engine.

* ``bench/large:1``: ``--files`` files over ``--layers`` layers, the first with half of them, each of the others with
  some that are new, some that replace, some whiteouts and one opaque directory; ``/wide`` holds ``--wide`` entries;
* ``changed``: a container that adds, changes and deletes ``--changes`` paths, in equal parts;
* ``idle``: a container that changed nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat as modes
import sys
import time
from base64 import b32encode
from collections.abc import Iterable, Iterator
from pathlib import Path

FILES_IN_FOLDER = 50
CREATED = "2024-01-02T03:04:05.123456789Z"
MTIME_NS = 1_704_164_645_000_000_000


def digest(text: str) -> str:
    """A name's own 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def size_of(path: str) -> int:
    """The bytes of a file: from its name, so that it is the same each time; 8 kB on average."""
    return int(digest(path)[:4], 16) % 16_384


class Layer:
    """One layer that is being written: its cache directory, and the bytes in it."""

    def __init__(self, home: Path, identifier: str, lower: Iterable[str]) -> None:
        self.identifier = identifier
        self.top = home / identifier / "diff"
        self.top.mkdir(parents=True)
        self.size = 0
        self.short = b32encode(bytes.fromhex(digest(identifier)))[:26].decode()
        (home / "l").mkdir(exist_ok=True)
        (home / "l" / self.short).symlink_to(f"../{identifier}/diff")
        (home / identifier / "link").write_text(self.short)
        self.lower = [f"l/{name}" for name in lower]
        if self.lower:
            (home / identifier / "lower").write_text(":".join(self.lower))
            (home / identifier / "work").mkdir()

    def add(self, folder: str, names: Iterable[str], extra: int = 0) -> None:
        """Regular files in a folder; ``extra`` bytes make them differ from those of a lower layer."""
        (self.top / folder).mkdir(parents=True, exist_ok=True)
        inside = os.open(self.top / folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                size = size_of(f"{folder}/{name}") + extra
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=inside)
                os.ftruncate(file, size)
                os.utime(file, ns=(MTIME_NS, MTIME_NS + extra * 1_000_000_000))
                os.close(file)
                self.size += size
        finally:
            os.close(inside)

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Whiteouts in a folder: links of one device, as the kernel makes them."""
        (self.top / folder).mkdir(parents=True, exist_ok=True)
        first = ""
        for name in names:
            path = f"{self.top}/{folder}/{name}"
            if first:
                os.link(first, path)
            else:
                os.mknod(path, modes.S_IFCHR, os.makedev(0, 0))
                first = path

    def replace(self, folder: str) -> None:
        """An opaque directory; without root the mark is the one of rootless engines."""
        (self.top / folder).mkdir(parents=True, exist_ok=True)
        prefix = "trusted" if os.geteuid() == 0 else "user"
        os.setxattr(self.top / folder, f"{prefix}.overlay.opaque", b"y")


class Root:
    """The root that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path / "overlay2"
        self.home.mkdir(parents=True)
        self.layers: list[Layer] = []
        self._chain = ""
        self._diff_ids: list[str] = []

    def layer(self) -> Layer:
        """A new image layer on top of the last one."""
        layer = Layer(self.home, digest(f"layer {len(self.layers)}"), self._below())
        self.layers.append(layer)
        return layer

    def _below(self) -> list[str]:
        return [layer.short for layer in reversed(self.layers)]

    def finish(self, name: str, containers: dict[str, Layer]) -> None:
        """Write all records."""
        for layer in self.layers:
            self._write_layer(layer)
        image = self._write_image(name)
        for number, (container, layer) in enumerate(containers.items()):
            self._write_container(container, layer, image, name, number)
        (self.path / "volumes").mkdir()

    def writable(self, container: str) -> Layer:
        """The writable layer of a container, above its init layer."""
        mount = digest(f"mount {container}")
        init = Layer(self.home, f"{mount}-init", self._below())
        init.add("etc", ("hosts", "hostname", "resolv.conf"))
        (init.top / "dev").mkdir()
        return Layer(self.home, mount, [init.short, *self._below()])

    def _write_layer(self, layer: Layer) -> None:
        diff_id = "sha256:" + digest(f"tar of {layer.identifier}")
        parent = self._chain
        self._chain = "sha256:" + digest(f"{parent} {diff_id}") if parent else diff_id
        self._diff_ids.append(diff_id)
        records = {"cache-id": layer.identifier, "diff": diff_id, "size": str(layer.size)}
        if parent:
            records["parent"] = parent
        self._write("image/overlay2/layerdb/sha256/" + self._chain[7:], records)

    def _write_image(self, name: str) -> str:
        history = [{"created": CREATED, "created_by": f"RUN make layer {n}"} for n in range(1, len(self._diff_ids) + 1)]
        config = {
            "architecture": "amd64",
            "config": {"Cmd": ["/bin/sh"]},
            "created": CREATED,
            "history": history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": self._diff_ids},
        }
        text = json.dumps(config)
        image = "sha256:" + digest(text)
        self._write("image/overlay2/imagedb/content/sha256", {image[7:]: text})
        names = {name.rpartition(":")[0]: {name: image}}
        self._write("image/overlay2", {"repositories.json": json.dumps({"Repositories": names})})
        return image

    def _write_container(self, name: str, layer: Layer, image: str, typed: str, number: int) -> None:
        container = digest(f"container {name}")
        mounts = {"mount-id": layer.identifier, "init-id": f"{layer.identifier}-init", "parent": self._chain}
        self._write(f"image/overlay2/layerdb/mounts/{container}", mounts)
        state = {"StartedAt": CREATED, "FinishedAt": CREATED, "ExitCode": 0, "Running": False}
        config = {
            "ID": container,
            "Name": f"/{name}",
            "Created": f"2024-01-02T03:05:0{number}Z",
            "Path": "/bin/sh",
            "Args": [],
            "Config": {"Image": typed, "Labels": {}},
            "Image": image,
            "Driver": "overlay2",
            "State": state,
            "MountPoints": {},
        }
        records = {"config.v2.json": json.dumps(config), "hostconfig.json": '{"NetworkMode":"none"}'}
        self._write(f"containers/{container}", records)

    def _write(self, folder: str, records: dict[str, str]) -> None:
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in records.items():
            (self.path / folder / name).write_text(text)


def folders(first: int, files: int, most: int = FILES_IN_FOLDER) -> Iterator[tuple[str, list[str]]]:
    """Folders of up to ``most`` files, three deep, from number ``first`` on."""
    for number in range(first, first + -(-files // most)):
        count = min(most, files - (number - first) * most)
        yield f"tree/{number // 400:02}/{number // 20:03}/{number:05}", [f"file{n:02}" for n in range(count)]


def make(path: Path, files: int, layers: int, wide: int, changes: int, in_folder: int = FILES_IN_FOLDER) -> None:
    """Write the root to ``path``, which must not exist; ``in_folder``: files in each folder."""
    root = Root(path)
    base = root.layer()
    in_base = files if layers == 1 else files // 2
    known = list(folders(0, in_base, in_folder))
    for folder, names in known:
        base.add(folder, names)
    base.add("wide", [f"entry{n:06}" for n in range(wide)])
    base.add("etc", ("hosts", "passwd"))
    for number in range(1, layers):
        layer = root.layer()
        each = (files - in_base) // (layers - 1)
        for folder, names in folders(len(known) * number * 2, each - each // 4, in_folder):
            layer.add(folder, names)
        for folder, names in known[number :: layers * 4]:
            layer.add(folder, names[: len(names) // 2], extra=number)
            layer.remove(folder, names[-3:])
        layer.replace(f"replaced/{number}")
        layer.add(f"replaced/{number}", ("new",))
    containers = {"changed": root.writable("changed"), "idle": root.writable("idle")}
    _change(containers["changed"], known, changes)
    root.finish("bench/large:1", containers)


def _change(layer: Layer, known: list[tuple[str, list[str]]], changes: int) -> None:
    """Equal parts new, changed and removed, over as many folders as that takes."""
    left = changes
    for folder, names in known:
        if left <= 0:
            return
        part = max(1, min(len(names) // 3, -(-left // 3)))
        layer.add(folder, names[:part], extra=100)
        layer.remove(folder, names[part : 2 * part])
        layer.add(folder, [f"new{name}" for name in names[:part]])
        left -= 3 * part


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a large overlay2 root for measurements.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--files", type=int, default=200_000, help="over all layers (200000)")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--wide", type=int, default=0, help="entries of the one directory /wide (0)")
    parser.add_argument("--changes", type=int, default=25_600, help="of the container 'changed' (25600)")
    options = parser.parse_args()
    start = time.monotonic()
    make(options.directory, options.files, options.layers, options.wide, options.changes)
    print(f"{options.directory}: made in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
