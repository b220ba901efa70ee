"""The names of a directory in the order of their bytes, in portions, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from layerscope.analysis.scan.spill import SortedSpill
from layerscope.hostfs import Directory
from layerscope.hostfs.names import names_in
from layerscope.model.digest import is_file_name
from layerscope.model.scan import decoded, encoded
from layerscope.model.tree import LayerDirectory

_IN_MEMORY = 50_000
_AT_ONCE = 512


def sorted_names(directory: LayerDirectory) -> Iterator[list[str]]:
    """Names in order, each once, some at a time; beyond 50,000 of them they are sorted in a file of the user's own.

    A directory that is being changed may list a name twice; what a damaged one lists and is no name is left out.

    Raises:
        OSError: the directory can't be listed; the temporary file can't be written.
    """
    listed = names_in(directory) if isinstance(directory, Directory) else (name for name, _kind in directory.scan())
    names = filter(is_file_name, listed)
    first = list(islice(names, _IN_MEMORY))
    if len(first) < _IN_MEMORY:
        ordered = sorted(set(first), key=encoded)
        for start in range(0, len(ordered), _AT_ONCE):
            yield ordered[start : start + _AT_ONCE]
        return
    with SortedSpill() as spill:
        for name in chain(first, names):
            spill.add((encoded(name),))
        first.clear()
        last = b""
        some: list[str] = []
        for (name_bytes,) in spill:
            if name_bytes != last:
                some.append(decoded(name_bytes))
                last = name_bytes
            if len(some) >= _AT_ONCE:
                yield some
                some = []
        if some:
            yield some
