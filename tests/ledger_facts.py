"""What du says of a root, to hold a ledger against."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger


def du(*paths: Path) -> int:
    """Bytes on disk of the trees at ``paths``, each in its own file system."""
    told = subprocess.run(
        ["du", "-sxc", "--block-size=1", *map(str, paths)], capture_output=True, text=True, check=True
    )
    return int(told.stdout.splitlines()[-1].split()[0])


def du_of_one(path: Path) -> int:
    """Bytes on disk of what is at ``path``, its hard links counted as if nothing else had them."""
    return du(path) if os.path.lexists(path) else 0


def assert_closed(ledger: Ledger, total: int) -> None:
    """The ledger adds up to ``total``, in classes and in entries, and nothing is left over."""
    assert ledger.total_disk == total
    assert sum(one.disk for one in ledger.classes) == total
    assert sum(one.disk for one in ledger.entries) == total
    assert ledger.accounted_disk + ledger.unaccounted_disk == total
    for one in ledger.classes:
        entries = [entry for entry in ledger.entries if entry.category is one.category]
        assert one.disk == sum(entry.disk for entry in entries)
        assert one.apparent == sum(entry.apparent for entry in entries)
        assert one.count == sum(entry.count for entry in entries)
        assert all(entry.reason for entry in entries)


def planted_in(folders: Iterable[Path]) -> list[Path]:
    """A file that nobody claims in each of these directories."""
    planted = [folder / "planted" for folder in folders]
    for path in planted:
        path.write_bytes(b"x" * 5000)
    return planted


def assert_nobodys(ledger: Ledger, root: Path, planted: Collection[Path]) -> None:
    """Of what is counted, ``planted`` is nobody's, and nothing else."""
    nobodys = {root / one.path for one in ledger.entries if one.category in (Category.UNKNOWN, Category.ORPHAN)}
    assert nobodys == set(planted)
    assert ledger.unaccounted_disk == len(planted) * 8192
