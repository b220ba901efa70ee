"""``layerscope`` and ``python -m layerscope``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from typing import NoReturn

_FEW_COLLECTIONS = 100_000
"""Objects between two collections: what is imported, and what records hold, is hardly ever garbage."""


def main() -> int:
    """Run the command line; nothing gets out of it as a traceback unless LAYERSCOPE_DEBUG is set."""
    gc.set_threshold(_FEW_COLLECTIONS)
    try:
        from layerscope.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the last guard: a defect of ours is one line to the user
        if os.environ.get("LAYERSCOPE_DEBUG"):
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"layerscope: internal error: {told[:500]!a}; LAYERSCOPE_DEBUG=1 shows where it happened",
            file=sys.stderr,
        )
        return 1


def start() -> NoReturn:
    """Run as a program, and leave it.

    Python would take apart all that was made, object by object, which is a seventh of the time of a short answer; the
    kernel has it back at once. Where a thread is still at work, or something can't be written, Python ends it its way.
    """
    code = main()
    if threading.active_count() > 1 or os.environ.get("LAYERSCOPE_DEBUG"):
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)
    os._exit(code)


if __name__ == "__main__":
    start()
