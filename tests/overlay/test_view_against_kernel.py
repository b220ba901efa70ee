"""The merged view against the kernel's own overlayfs, over random layers that carry every kind of mark."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest
from random_layers import kernel_overlay, kernel_tree, make_stack, our_tree

from layerscope.overlay import MergedView

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]


def errno_of_opening(view: MergedView, path: str) -> int | None:
    """The kernel refuses to look up a metadata-only file without data; we show the entry, and refuse to read it."""
    try:
        place = view.place(path)
        if place.name:
            place.directory.open(place.name).close()
    except OSError as error:
        return error.errno
    return None


def check_case(tmp_path: Path, seed: int) -> int:
    rng = random.Random(seed)
    home = tmp_path / str(seed)
    home.mkdir()
    layers, view = make_stack(home, rng)
    with kernel_overlay(layers[::-1], home / "merged", "redirect_dir=on,metacopy=on") as merged:
        expected, unlisted = kernel_tree(merged)
    refused = {path: number for path, number in expected.items() if isinstance(number, int)}
    ours = our_tree(view)
    for path, number in refused.items():
        assert errno_of_opening(view, path) == number, (seed, path, errno.errorcode[number])
        ours.pop(path, None)
        del expected[path]
    # In a directory with opaque=x the kernel's readdir looks names up, and drops a metadata-only file without data.
    for path in [path for path, seen in ours.items() if path not in expected and seen[1] == errno.EIO]:
        del ours[path]
    ours = {path: seen for path, seen in ours.items() if not path.startswith(tuple(unlisted))}
    assert ours == expected, seed
    shutil.rmtree(home)
    return len(expected)


@pytest.mark.parametrize("block", range(4))
def test_view_equals_kernel_overlay(tmp_path: Path, block: int) -> None:
    assert sum(check_case(tmp_path, seed) for seed in range(block * 25, block * 25 + 25)) > 200


@pytest.mark.full
def test_view_equals_kernel_overlay_full(tmp_path: Path) -> None:
    for seed in range(1000, 4000):
        check_case(tmp_path, seed)
