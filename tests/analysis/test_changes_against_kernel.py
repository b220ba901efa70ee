"""Both rules of comparison against a plain comparison of two whole trees, mounted by the kernel.

The expectation is made from the kernel's two merged trees alone: every path of both is looked at, nothing is skipped.
"""

from __future__ import annotations

import os
import random
import shutil
import stat as modes
from pathlib import Path

import pytest
from random_layers import kernel_overlay, make_stack

from layerscope.analysis.changes.views import docker_changes, exact_changes

pytestmark = [
    pytest.mark.root,
    pytest.mark.overlayfs,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting overlayfs and writing trusted.* attributes needs root"),
]
Tree = dict[str, os.stat_result]


def whole_tree(top: Path) -> Tree:
    found: Tree = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder) / name
            try:
                found[str(path.relative_to(top))] = os.lstat(path)
            except FileNotFoundError:
                continue  # a whiteout that the kernel lists in a directory that isn't merged
    return found


def read(path: Path, stat: os.stat_result) -> bytes | str | None:
    if modes.S_ISLNK(stat.st_mode):
        return os.readlink(path)
    return path.read_bytes() if modes.S_ISREG(stat.st_mode) else None


def naive_lines(old: Tree, new: Tree, differs) -> list[str]:
    """docker's list: additions with all members, deletions without, ancestors of changes as changed."""
    changes: dict[str, str] = {}
    for path, stat in new.items():
        if path not in old:
            changes[path] = "A"
        elif differs(path, old[path], stat):
            changes[path] = "C"
    for path in old:
        parent = os.path.dirname(path)
        if path not in new and (not parent or (parent in new and modes.S_ISDIR(new[parent].st_mode))):
            changes[path] = "D"
    for path in list(changes):
        parent = os.path.dirname(path)
        while parent and parent not in changes:
            changes[parent] = "C"
            parent = os.path.dirname(parent)
    return sorted((f"{letter} /{path}" for path, letter in changes.items()), key=lambda line: os.fsencode(line[2:]))


def docker_rule(path: str, one: os.stat_result, other: os.stat_result) -> bool:
    if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev) != (other.st_mode, other.st_uid, other.st_gid, other.st_rdev):
        return True
    if one.st_mode & 0o040000:
        return False
    same_second = one.st_mtime_ns // 10**9 == other.st_mtime_ns // 10**9
    nanoseconds = one.st_mtime_ns % 10**9, other.st_mtime_ns % 10**9
    same_time = same_second and (nanoseconds[0] == nanoseconds[1] or not all(nanoseconds))
    return one.st_size != other.st_size or not same_time


def check_case(tmp_path: Path, seed: int) -> int:
    rng = random.Random(seed)
    home = tmp_path / str(seed)
    home.mkdir()
    layers, view = make_stack(home, rng, marks=())
    empty = home / "empty"
    empty.mkdir()
    for layer in layers[1:]:
        for folder, _, files in os.walk(layer):
            for name in files:
                path = os.path.join(folder, name)
                if modes.S_ISREG(os.lstat(path).st_mode) and rng.random() < 0.5:
                    os.utime(path, ns=(0, 1_700_000_000_000_000_000 + rng.choice((0, 0, 5))))
    cut = rng.randint(1, len(layers) - 1)
    with (
        kernel_overlay([*layers[:cut][::-1], empty], home / "old", "index=off") as old_top,
        kernel_overlay([*layers[::-1], empty], home / "new", "index=off") as new_top,
    ):
        old, new = whole_tree(old_top), whole_tree(new_top)

        def exact_rule(path: str, one: os.stat_result, other: os.stat_result) -> bool:
            if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev) != (
                other.st_mode,
                other.st_uid,
                other.st_gid,
                other.st_rdev,
            ):
                return True
            if not modes.S_ISDIR(one.st_mode) and one.st_mtime_ns != other.st_mtime_ns:
                return True
            left, right = (
                {
                    key: os.getxattr(top / path, key, follow_symlinks=False)
                    for key in os.listxattr(top / path, follow_symlinks=False)
                }
                for top in (old_top, new_top)
            )
            return left != right or read(old_top / path, one) != read(new_top / path, other)

        expected_docker = naive_lines(old, new, docker_rule)
        expected_exact = naive_lines(old, new, exact_rule)
    for found, expected in (
        (docker_changes(view.cut(cut), view), expected_docker),
        (docker_changes(view.cut(cut), view, detail=False), expected_docker),
        (exact_changes(view.cut(cut), view), expected_exact),
    ):
        assert [f"{change.kind} /{change.path}" for change in found] == expected, seed
    shutil.rmtree(home)
    return len(expected_docker)


@pytest.mark.parametrize("block", range(4))
def test_changes_equal_a_comparison_of_whole_trees(tmp_path: Path, block: int) -> None:
    assert sum(check_case(tmp_path, seed) for seed in range(block * 25, block * 25 + 25)) > 200


@pytest.mark.full
def test_changes_equal_a_comparison_of_whole_trees_full(tmp_path: Path) -> None:
    for seed in range(1000, 3000):
        check_case(tmp_path, seed)
