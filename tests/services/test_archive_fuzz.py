"""Spoiled image archives, seeded: only our own errors, within bounds of time and memory."""

from __future__ import annotations

import gzip
import io
import random
import resource
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from archive_makers import BASE, TOP, archive, entry, layout_members, saved_members, tar_of

from layerscope import open_root
from layerscope.errors import LayerscopeError
from layerscope.model.subject import Subject

CI, FULL = 300, 10_000
SECONDS_EACH = 5.0
ODD = tar_of(
    [
        ("a/" * 60 + "deep", b"x"),
        entry("link", tarfile.SYMTYPE, "../../x"),
        entry("hard", tarfile.LNKTYPE, "a/b"),
        entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        (".wh.etc", b""),
        ("../out", b"out"),
    ],
    format=tarfile.PAX_FORMAT,
    pax_headers={"comment": "global"},
)
LAYERS = [BASE, TOP, ODD]
MAKERS: list[Callable[[], dict[str, bytes]]] = [
    lambda: saved_members(LAYERS),
    lambda: layout_members(LAYERS),
    lambda: layout_members(LAYERS, lambda data: gzip.compress(data, mtime=0)),
    lambda: layout_members(LAYERS, zstandard.ZstdCompressor().compress),
]


def spoiled(makers: list[dict[str, bytes]], rng: random.Random) -> bytes:
    """An archive that is damaged as a whole, perhaps compressed, or one whose members are."""
    members = dict(rng.choice(makers))
    if rng.random() < 0.6:
        for name in rng.sample(sorted(members), rng.choice((1, 1, 2))):
            members[name] = spoil(members[name], rng)
        return archive(members)
    data = archive(members)
    return spoil(gzip.compress(data, mtime=0) if rng.random() < 0.3 else data, rng)


def spoil(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes, numbers in headers, pieces cut out, doubled or exchanged, the end cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found))
        match rng.randrange(7):
            case 0:
                found[at] = rng.randrange(256)
            case 1:
                found[at : at + 8] = rng.randbytes(8)
            case 2:  # a header's size, its checksum made right again
                at -= at % 512
                number = rng.choice((b"77777777777\0", b"00000000000\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"))
                found[at + 124 : at + 136] = number
                mend_checksum(found, at)
            case 3:  # its type
                at -= at % 512
                found[at + 156 : at + 157] = rng.choice([b"x", b"g", b"L", b"K", b"S", b"1", b"2", b"5", b"Z", b"\0"])
                mend_checksum(found, at)
            case 4:
                del found[at : at + rng.choice((1, 512, 1024, 5000))]
            case 5:
                piece = found[at : at + rng.choice((512, 1024, 4096))]
                elsewhere = rng.randrange(len(found))
                found[elsewhere:elsewhere] = piece
            case _:
                del found[at:]
        if not found:
            break
    return bytes(found)


def mend_checksum(data: bytearray, at: int) -> None:
    block = data[at : at + 512]
    if len(block) == 512:
        total = sum(block[:148]) + 8 * 32 + sum(block[156:])
        data[at + 148 : at + 156] = b"%06o\0 " % total


def look(path: Path) -> int:
    """Everything a front end would ask of it; how many entries were shown."""
    shown = 0
    with open_root(path) as session:
        session.info()
        for usage in session.images():
            subject = Subject(usage.image, None)
            session.history(subject)
            session.stack(subject)
            session.records(subject)
            for one in session.entries(subject, recursive=True, hidden=True):
                shown += 1
                if one.type == "file" and not one.hidden:
                    try:
                        with session.open_file(subject, f"/{one.path}") as file:
                            assert len(file.read(1 << 20)) <= 1 << 20
                    except (LayerscopeError, OSError):
                        pass
            session.export(subject, io.BytesIO())
        session.problems()
    return shown


def spoil_and_look(tmp_path: Path, seeds: range) -> None:
    makers = [make() for make in MAKERS]
    opened = shown = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        rng = random.Random(seed)
        path = tmp_path / "a.tar"
        path.write_bytes(spoiled(makers, rng))
        start = time.monotonic()
        try:
            shown += look(path)
            opened += 1
        except LayerscopeError as error:
            assert "\n" not in str(error), seed
        assert time.monotonic() - start < SECONDS_EACH, seed
    assert opened > len(seeds) // 3
    assert shown > len(seeds)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


@pytest.mark.parametrize("block", range(3))
def test_spoiled_archives(tmp_path: Path, block: int) -> None:
    spoil_and_look(tmp_path, range(block * CI // 3, (block + 1) * CI // 3))


@pytest.mark.full
def test_many_spoiled_archives(tmp_path: Path) -> None:
    spoil_and_look(tmp_path, range(FULL))
