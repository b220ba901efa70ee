"""Compiles these sources while a wheel is built: a hook of hatchling.

What it makes lies beside ``tally.py``, so that a checkout has it too, and uses Python's stable interface: one file for
every CPython from 3.11 on. Where there is no C compiler, no header of Python or no Linux, the wheel is one of Python
alone, which gives the same answers in twice the time.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES = "layerscope/hostfs/native"
_TARGET = "layerscope/hostfs/_tally.abi3.so"
_STABLE_SINCE = "0x030B0000"
_SECONDS = 120


class TallyBuild(BuildHookInterface[Any]):
    """Found by hatchling through its base class."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the wheel what it holds."""
        root = Path(self.root)
        try:
            compile_tally(root / _SOURCES, root / _TARGET)
        except (OSError, subprocess.SubprocessError) as error:
            self.app.display_warning(f"{_SOURCES} was not compiled, Python does its work: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform}"
        build_data["artifacts"].append(_TARGET)


def compile_tally(sources: Path, target: Path) -> None:
    """Compile a folder of sources with Python's own compiler or that of ``CC``.

    An older target is replaced at once, or left as it is.
    """
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    made = target.with_suffix(f".{os.getpid()}")
    options = ["-O2", "-fPIC", "-shared", f"-I{sysconfig.get_path('include')}"]
    options += [f"-DPy_LIMITED_API={_STABLE_SINCE}", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64"]
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    files = map(str, sorted(sources.glob("*.c")))
    command = [*shlex.split(compiler), *options, *extra, *files, "-o", str(made)]
    try:
        subprocess.run(command, check=True, timeout=_SECONDS)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
