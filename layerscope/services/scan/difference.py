"""Two scan files compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from layerscope.errors import LayerscopeError, PermissionDenied, RootError, UsageError
from layerscope.formats.escape import escape
from layerscope.model.scan_difference import ScanDifference


@contextmanager
def diff_scans(old: Path, new: Path, limit: int | None = 20) -> Iterator[ScanDifference]:
    """What differs between the scans in two files; ``limit``: how many owners, layers and paths; None: all.

    Raises:
        UsageError: one of them is missing, or no scan file.
        CorruptError: one of them is damaged.
        UnsupportedError: one of them was written by a later version.
        RootError: one of them can't be read (PermissionDenied).
    """
    from layerscope.analysis.scan.difference import differences
    from layerscope.formats.scan.reader import ScanReader

    with ExitStack() as stack:
        reading = old
        try:
            first = ScanReader(stack.enter_context(open(old, "rb")), str(old))
            reading = new
            second = ScanReader(stack.enter_context(open(new, "rb")), str(new))
            found = differences(first, second, limit, stack)
        except LayerscopeError:
            raise
        except PermissionError:
            raise PermissionDenied(f"cannot read {escape(str(reading))}: permission denied") from None
        except FileNotFoundError:
            raise UsageError(f"cannot compare {escape(str(reading))}: there is no such file") from None
        except OSError as error:
            raise RootError(f"cannot compare {escape(str(reading))}: {error.strerror}") from None
        yield found
