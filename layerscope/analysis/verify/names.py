"""Which names a layer's record has, kept small: eight bytes each.

A path is kept as its hash, which Python salts anew in every process, so that nobody can prepare two paths of one hash;
by chance two of a million share one with a probability of 1 to 37 million.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left


class NameSet:
    """Paths are added, then :meth:`seal` is called, then they are looked for."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, path: str) -> None:
        """One more path; the same one may come twice."""
        self._hashes.append(hash(path))

    def seal(self) -> None:
        """Nothing is added any more."""
        self._hashes = array("q", sorted(self._hashes))

    def __contains__(self, path: str) -> bool:
        wanted, hashes = hash(path), self._hashes
        place = bisect_left(hashes, wanted)
        return place < len(hashes) and hashes[place] == wanted

    def __len__(self) -> int:
        return len(self._hashes)


class RecordedNames:
    """The real paths in the layer's directory that its record accounts for.

    ``entries``: those with a header of their own, whiteouts by the name that is gone; ``folders``: directories on the
    way to one; ``opaque``: directories with an opaque mark; ``removed``: names that the layer deletes.
    """

    def __init__(self) -> None:
        self.entries = NameSet()
        self.folders = NameSet()
        self.opaque = NameSet()
        self.removed = NameSet()

    def seal(self) -> None:
        """All headers were seen."""
        for names in (self.entries, self.folders, self.opaque, self.removed):
            names.seal()
