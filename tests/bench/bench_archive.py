"""Memory and time of opening image archives of 5 GB: ``python tests/bench/bench_archive.py [FOLDER]``.

The archives are made in FOLDER (the system's temporary one): a ``docker save`` tar whose layer is plain, sparse on
disk, and an OCI layout whose layer is gzip (of zeros: small on disk, 5 GB once decompressed). Each question is asked by
a process of its own, which prints seconds since its start and the most memory that it had.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO

FILES, FILE_BYTES = 2_000, 2_500_000
SMALL = 50_000
GIVEN_MEMORY_MB = 200
ASKED = """
import resource, sys, time
start = time.monotonic()
from layerscope import open_root
session = open_root(sys.argv[1])
{question}
seconds = time.monotonic() - start
print(f"{{seconds:.2f}} {{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f}}")
"""
QUESTIONS = {
    "images": "assert len(session.images()) == 1",
    "ls /": "assert list(session.entries(session.find('big:1'), '/'))",
    "ls /, and again": "s = session.find('big:1'); list(session.entries(s, '/')); list(session.entries(s, '/'))",
    "cat the last file": (
        f"file = session.open_file(session.find('big:1'), '/d/{FILES - 1}')\nassert len(file.read()) == {FILE_BYTES}"
    ),
    "cat all files backwards, the first kB": (
        f"s = session.find('big:1'); view = session.view(s)\n"
        f"for n in range({FILES - 1}, -1, -50): assert len(view.open(f'/d/{{n}}').read(1000)) == 1000"
    ),
    "ls -R": "n = sum(1 for _ in session.entries(session.find('big:1'), '/', recursive=True)); assert n > 50_000",
}


def header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def make_layer(file: BinaryIO) -> int:
    """A layer of large files and many small ones, written to a file that may be sparse; gives its length."""
    length = 0
    for number in range(FILES):
        file.write(header(f"d/{number}", FILE_BYTES))
        padded = FILE_BYTES + -FILE_BYTES % 512
        file.seek(padded, 1)
        length += 512 + padded
    for number in range(SMALL):
        file.write(header(f"small/{number % 100}/{number}", 0))
        length += 512
    file.write(bytes(1024))
    return length + 1024


def make_saved(path: Path) -> None:
    """As docker 20.10 saves: ``manifest.json`` behind the layer."""
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{'1' * 64}"]}, "os": "linux"}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": ["big:1"], "Layers": ["l/layer.tar"]}]).encode()
    with path.open("wb") as file:
        file.write(bytes(512))
        length = make_layer(file)
        file.seek(0)
        file.write(header("l/layer.tar", length))
        file.seek(512 + length + -length % 512)
        for member, data in ((name, config), ("manifest.json", manifest)):
            file.write(header(member, len(data)) + data + bytes(-len(data) % 512))
        file.write(bytes(1024))


def make_layout(folder: Path) -> None:
    """A layout whose layer is gzip; each file is a gzip member, so that making it takes no time."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    padded = FILE_BYTES + -FILE_BYTES % 512
    layer = blobs / ("2" * 64)
    with layer.open("wb") as file:
        zeros = gzip.compress(bytes(padded), 6)
        for number in range(FILES):
            file.write(gzip.compress(header(f"d/{number}", FILE_BYTES), 1) + zeros)
        names = b"".join(header(f"small/{number % 100}/{number}", 0) for number in range(SMALL))
        file.write(gzip.compress(names + bytes(1024), 1))

    def blob(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    config = blob(
        json.dumps({"rootfs": {"diff_ids": [f"sha256:{'1' * 64}"]}, "os": "linux"}).encode(), "config.v1+json"
    )
    part = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{'2' * 64}", "size": 1}
    manifest = blob(json.dumps({"config": config, "layers": [part]}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "big:1"}
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def ask(root: Path, question: str) -> tuple[float, float]:
    """Seconds and megabytes."""
    code = ASKED.format(question=question)
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True, text=True)
    seconds, megabytes = done.stdout.split()
    return float(seconds), float(megabytes)


def main() -> int:
    """Make both archives, ask, print; 1 if something took more memory than it may."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        saved, layout = Path(place, "saved.tar"), Path(place, "layout")
        make_saved(saved)
        make_layout(layout)
        worst = 0.0
        for root, form in ((saved, "docker save, plain"), (layout, "OCI layout, gzip")):
            for name, question in QUESTIONS.items():
                seconds, megabytes = ask(root, question)
                worst = max(worst, megabytes)
                print(f"{form:20} {name:40} {seconds:7.2f} s {megabytes:5.0f} MB", flush=True)
    print(f"most memory: {worst:.0f} MB, of {GIVEN_MEMORY_MB}")
    return int(worst > GIVEN_MEMORY_MB)


if __name__ == "__main__":
    sys.exit(main())
