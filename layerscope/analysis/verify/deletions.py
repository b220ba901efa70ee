"""Names that a layer both deletes and has: some tars hold ``.wh.x`` and ``x``.

| layer | what is left |
| --- | --- |
| of changes | the entry; a directory may be opaque by it (as OCI layers mean it) or not (as docker leaves it) |
| a whole tree | an entry behind the whiteout; one before it is gone, with all below it |

A whiteout below a whiteout leaves nothing in a layer of changes of podman's: there is no directory to hold it. So what
a whiteout's place holds can't be judged before all headers were taken.

Source: moby pkg/archive/archive.go ``Unpack``, diff.go ``UnpackLayer``, seen with 20.10.24; containers/storage, seen
with podman 4.3.
"""

from __future__ import annotations

from layerscope.analysis.verify.findings import MOST, Findings
from layerscope.analysis.verify.names import RecordedNames
from layerscope.model.verdict import Finding

_MOST_KEPT = 10 * MOST
_MOST_WAITING = 20_000


class VoidableFindings(Findings):
    """Findings about entries of a whole tree; a later whiteout in the same tar makes those about what it deletes void.

    :meth:`deleted` is told each whiteout in the tar's order, :meth:`settle` ends it.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_KEPT)
        self._void: dict[str, int] = {}

    def deleted(self, path: str) -> None:
        """What was found up to now at a path (without its slash) and below it says nothing."""
        if self.count and len(self._void) < _MOST_WAITING:
            self._void[f"/{path}"] = self.count - self.more

    def settle(self, findings: Findings) -> bool:
        """Hand on what isn't void; whether anything was."""
        kept = self.kept
        left = [one for place, one in enumerate(kept) if not self._is_void(one.path, place)]
        findings.extend(left, self.more)
        findings.denied += self.denied
        return len(left) < len(kept)

    def _is_void(self, path: str, place: int) -> bool:
        while path and self._void:
            if place < self._void.get(path, 0):
                return True
            path = path.rpartition("/")[0]
        return False


class Deletions:
    """Whiteouts whose place holds something else, until all headers were taken. Paths are real ones in the layer."""

    def __init__(self, names: RecordedNames, findings: Findings, *, whole_tree: bool) -> None:
        self._names = names
        self._findings = findings
        self._whole_tree = whole_tree
        self._waiting: dict[str, Finding] = {}
        self._outside: set[str] = set()

    def differ(self, path: str, subject: str, recorded: str, found: str, *, outside: bool = False) -> None:
        """A whiteout's place doesn't hold what it alone would leave there; ``outside``: its directory is none."""
        finding = Finding(f"/{path}", subject, recorded, found)
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.setdefault(path, finding)
            if outside:
                self._outside.add(path)
        else:
            self._findings.put(finding)

    def bring(self, path: str) -> None:
        """A header, behind the whiteouts that were told, has this path or one below it."""
        if self._waiting:
            self._waiting.pop(path, None)

    def settle(self) -> None:
        """Tell what no header explains; ``names`` are sealed, and again afterwards."""
        names = self._names
        alone = []
        for path, finding in self._waiting.items():
            named = path in names.entries or path in names.folders or self._is_below_whiteout(path)
            # In a whole tree, what no header names at all is found where the tree is walked.
            if named == self._whole_tree:
                alone.append(path)
                self._findings.put(finding)
        for path in alone:
            names.entries.add(path)
        names.seal()
        self._waiting.clear()
        self._outside.clear()

    def _is_below_whiteout(self, path: str) -> bool:
        above = path if path in self._outside else ""
        while above:
            above = above.rpartition("/")[0]
            if above in self._names.removed:
                return True
        return False
