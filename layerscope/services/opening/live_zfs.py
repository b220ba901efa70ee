"""Asking zfs itself about the datasets of a root that lies on one which is mounted on this machine.

Then, and only then, what the command says is about the pool that the root is in: a copied root, or one on any other
file system, is nothing that zfs knows of. Its answer is bounded in time and length; no shell is involved.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from layerscope.drivers import Driver
from layerscope.errors import CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.zfs_list import COLUMNS, Dataset, parse_zfs_list
from layerscope.hostfs.mounts import mount_of

_SECONDS = 10
_MOST_BYTES = 1 << 26


def ask_zfs(driver: Driver | None, path: Path) -> None:
    """Let the driver of the root at ``path`` ask zfs when it wants to know something, if zfs can know it."""
    from layerscope.drivers.zfs import Zfs

    if not isinstance(driver, Zfs):
        return
    mount = mount_of(Path(os.path.realpath(path)))
    if mount is None or mount.type != "zfs" or mount.source.startswith("-"):
        return
    program = shutil.which("zfs")
    if program is not None:
        driver.ask(partial(_answer, program, mount.source))


def _answer(program: str, dataset: str) -> tuple[Mapping[str, Dataset], str]:
    """The datasets below ``dataset``, and what to tell of that."""
    words = [program, "list", "-Hp", "-t", "filesystem,snapshot", "-o", ",".join(COLUMNS), "-r", dataset]
    told = f"zfs list -r {escape(dataset)}"
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        # A file, not a pipe: what is too long is not kept in memory.
        with tempfile.TemporaryFile() as out:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode:
                return {}, f"figures of datasets are unknown: {told} failed ({done.returncode})"
            if os.fstat(out.fileno()).st_size > _MOST_BYTES:
                return {}, f"figures of datasets are unknown: {told} printed more than {_MOST_BYTES} bytes"
            out.seek(0)
            text = out.read()
        return parse_zfs_list(os.fsdecode(text)), f"figures of datasets are those of {told} on this machine"
    except subprocess.TimeoutExpired:
        return {}, f"figures of datasets are unknown: {told} took more than {_SECONDS} seconds"
    except (OSError, CorruptError) as error:
        return {}, f"figures of datasets are unknown: {told}: {error}"
