"""What an engine's removal gives back, as du tells it, and random changes that make removals differ."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ledger_facts import du


def script(rng: random.Random) -> str:
    """Changes of a container: files, hard links, removals, sparse files, many small ones."""
    number = rng.randrange(1 << 30)
    choices = [
        f"mkdir -p /n{number}; dd if=/dev/zero of=/n{number}/big bs=1k count={rng.randrange(1, 200)} 2>/dev/null",
        f"echo {number} > /f{number}; ln /f{number} /l{number}",
        "rm -rf /data; mkdir -p /data; echo again > /data/file",
        "rm -f /data/file",
        f"truncate -s {rng.randrange(1 << 20)} /s{number}",
        f"mkdir -p /m{number}; for i in 1 2 3 4 5 6 7 8 9; do echo $i > /m{number}/$i; done",
        "chmod 700 /bin",
    ]
    return "; ".join(rng.sample(choices, rng.randrange(1, 4)))


def freed(
    root: Path,
    rewritten: Callable[[], Iterable[Path]],
    name: str,
    act: Callable[[], object],
    trees: Callable[[], Iterable[Path]] | None = None,
) -> int:
    """The bytes that ``act`` gives back below ``root``, apart from the files that the engine rewrites at each removal.

    Each of these whose blocks changed is printed. ``trees`` are what belongs to the root (None: itself).
    """

    def total() -> int:
        return settled(*((root,) if trees is None else trees()))

    def blocks() -> dict[str, int]:
        return {str(path.relative_to(root)): path.stat().st_blocks * 512 for path in rewritten()}

    before, files = total(), blocks()
    act()
    after, files_after = total(), blocks()
    grown = 0
    for path in sorted(files.keys() | files_after.keys()):
        if files.get(path, 0) != files_after.get(path, 0):
            print(f"{name}: {path} had {files.get(path, 0)} bytes of blocks, now {files_after.get(path, 0)}")
            grown += files_after.get(path, 0) - files.get(path, 0)
    return before - after + grown


def settled(*trees: Path) -> int:
    """du's sum once it stays."""
    last = -1
    for _ in range(50):
        now = du(*trees)
        if now == last:
            return now
        last = now
        time.sleep(0.05)
    raise AssertionError("the root never stayed as it was")
