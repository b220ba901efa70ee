"""Random operations of an ordinary user: the engine against a plain directory. Run as a program, by root.

    unshare --mount python plain_cases.py FOLDER FIRST LAST OPERATIONS

Over layers that are the user's own, an overlay shows what a plain copy of the merged tree shows after the same
operations, with the same errno, wherever a plain directory can tell. It can't tell of

* directories of lower layers, which can't be renamed: EXDEV;
* an owner or device that the system refuses to this user, which the engine keeps beside the file;
* whiteouts, which an overlay lets nobody make;
* permission to search a directory: that of each layer's own is asked for, so there is always some.

The merged tree is the kernel's, before and after; both sides do their operations in children that have become that
user, the plain directory's confined to it by chroot.
"""

from __future__ import annotations

import os
import random
import shutil
import stat as modes
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from engine_cases import Confined, Operation, Served, compare, confine, is_kept, random_operation, tree
from random_layers import make_layer

from layerscope.overlay.engine import Overlay

NOBODY = 65534
UNTOLD = "EXDEV"
RENAME_WHITEOUT = 4


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def of_user(operation: Operation) -> Operation:
    """The operation with the user's ids in the place of root's."""
    name, path, *rest = operation
    if name == "chown":
        return (name, path, *(NOBODY if number == 0 else number for number in rest[:2]), rest[2])
    return operation


def is_undefined(operation: Operation, plain: Path) -> bool:
    """Whether a plain directory can't tell what comes of it."""
    name, path, *rest = operation
    if name == "chmod" and not rest[0] & 0o100:
        return (plain / path.strip("/")).is_dir()
    if name == "rename2":
        return bool(rest[1] & RENAME_WHITEOUT)
    return is_kept(operation) or (name == "mknod" and modes.S_ISCHR(rest[0]))


@contextmanager
def merged(home: Path, lowers: list[Path], upper: Path) -> Iterator[Path]:
    """The kernel's view, with the marks that a user can make."""
    point = home / "merged"
    layers = ":".join(map(str, [upper, *lowers]))
    options = f"lowerdir={layers}:{home / 'empty'},userxattr"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def run_case(home: Path, seed: int, count: int) -> int:
    """Run a case; gives the number of operations that both sides did."""
    rng = random.Random(seed)
    layers = [home / f"layer{number}" for number in range(rng.randint(1, 4))]
    os.umask(0o022)
    for folder in ("upper", "work", "merged", "empty"):
        (home / folder).mkdir()
    for layer in layers:
        make_layer(layer, rng, (), "user.overlay.", (NOBODY,))
    subprocess.run(["chown", "-Rh", f"{NOBODY}:{NOBODY}", str(home)], check=True)
    lowers = layers[::-1]
    with merged(home, lowers, home / "upper") as view:
        # Stale whiteouts are listed but not there: cp tells so.
        subprocess.run(["cp", "-a", str(view), str(home / "plain")], check=False, capture_output=True)
    os.umask(rng.choice((0o022, 0o077, 0)))
    start = time.time_ns() - 20_000_000
    done = 0

    def engine() -> object:
        become_nobody()
        return Overlay(lowers, home / "upper", home / "work")

    plain, ours = Confined(home / "plain", become_nobody), Served(engine)
    try:
        for number in range(count):
            operation = of_user(random_operation(rng))
            if is_undefined(operation, home / "plain"):
                continue
            found = ours.perform(operation)
            if found == UNTOLD:
                assert operation[0] in ("rename", "rename2"), f"seed {seed}, operation {number} {operation}: {found}"
                continue
            expected = plain.perform(operation)
            done += 1
            assert found == expected, f"seed {seed}, operation {number} {operation}: plain {expected}, engine {found}"
    finally:
        ours.close()  # first: its child holds the other's pipe, too
        plain.close()
    with merged(home, lowers, home / "upper") as view:
        found_tree = tree(view, start, raw=False)
    compare(tree(home / "plain", start, raw=False), found_tree, f"seed {seed}: view")
    for folder, names, files in os.walk(home / "upper"):
        for name in (*names, *files):
            assert os.lstat(os.path.join(folder, name)).st_uid == NOBODY
            assert not modes.S_ISBLK(os.lstat(os.path.join(folder, name)).st_mode)
    return done


def main() -> int:
    folder, first, last, count = sys.argv[1:]
    confine(Path(folder))
    failures = done = 0
    for seed in range(int(first), int(last)):
        home = Path(folder) / f"case{seed}"
        home.mkdir()
        try:
            done += run_case(home, seed, int(count))
        except AssertionError as error:
            failures += 1
            print(error, flush=True)
            if failures > 20:
                break
        shutil.rmtree(home, ignore_errors=True)
    print(f"{int(last) - int(first)} cases, {failures} failed, {done} operations")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
