"""Names that a layer both deletes and has: some tars hold ``.wh.x`` and ``x``, or ``x`` twice.

| layer | what is left |
| --- | --- |
| of changes | the entry; a directory may be opaque by it (as OCI layers mean it) or not (as docker leaves it) |
| a whole tree, or containerd's base | an entry behind the whiteout; one before it is gone, with all below it |
| containerd's | of two entries of one name the later one; two directories become one |

Where marks take effect at once, an opaque one deletes what lies below its directory and isn't named in front of it:
directories that no header names, and so all below them.

A whiteout below a whiteout leaves nothing in a layer of changes of podman's: there is no directory to hold it. So what
a whiteout's place holds can't be judged before all headers were taken.

Source: moby pkg/archive/archive.go ``Unpack``, diff.go ``UnpackLayer``, seen with 20.10.24; containers/storage, seen
with podman 4.3; containerd archive/tar.go ``applyNaive``, tar_opts_linux.go, seen with 1.6 and 2.1. docker and podman
refuse a tar that has one name twice.
"""

from __future__ import annotations

from layerscope.analysis.verify.findings import MOST, Findings
from layerscope.analysis.verify.names import NameSet, RecordedNames
from layerscope.formats.tar.brief_header import BriefHeader
from layerscope.formats.whiteout import NAME_OPAQUE, NAME_PREFIX
from layerscope.model.verdict import Finding

_MOST_KEPT = 10 * MOST
_MOST_WAITING = 20_000
_MOST_ABOVE = 64
"""How far above a path something is looked for that deletes it."""


class VoidableFindings(Findings):
    """Findings about entries in the order of the tar; what comes later in it makes some of them void.

    :meth:`take` is told each header before anything is found about it, or :meth:`deleted` each whiteout;
    :meth:`settle` ends it. ``marks``: whiteouts and opaque marks delete what came before them, and leave no trace.
    """

    def __init__(self, *, marks: bool = True) -> None:
        super().__init__(_MOST_KEPT)
        self._marks = marks
        self._told = 0
        self._numbers: dict[Finding, int] = {}
        self._targets: dict[Finding, str] = {}
        self._near: set[int] = set()
        self._void: dict[str, int] = {}
        self._again: dict[str, int] = {}
        self._opaque: dict[str, int] = {}
        self._named = NameSet()

    def put(self, finding: Finding) -> None:
        """One more. The same one again counts as found at the later place."""
        super().put(finding)
        if len(self._numbers) < _MOST_KEPT or finding in self._numbers:
            self._told += 1
            self._numbers[finding] = self._told
            self._come_near(finding.path)

    def put_link(self, finding: Finding, target: str) -> None:
        """One about a hard link to ``target`` (without its slash): void, too, if that one is."""
        self.put(finding)
        if finding in self._numbers:
            self._targets[finding] = f"/{target}"
            self._come_near(f"/{target}")

    def _come_near(self, path: str) -> None:
        """Remember which paths concern a finding, as hashes: itself and those above it."""
        for _ in range(_MOST_ABOVE):
            self._near.add(hash(path))
            path = path.rpartition("/")[0]
            if not path:
                break

    def take(self, header: BriefHeader) -> None:
        """The next header."""
        path = header.path
        if self._marks:
            if NAME_PREFIX in path:
                folder, _, name = path.rpartition("/")
                if name == NAME_OPAQUE:
                    self._hold(self._opaque, folder)
                    return
                if name.startswith(NAME_PREFIX):
                    removed = name.removeprefix(NAME_PREFIX)
                    self.deleted(f"{folder}/{removed}" if folder else removed)
                    return
            self._named.add(path)
        if self.count:
            self._hold(self._again if header.type == "5" else self._void, path)

    def deleted(self, path: str) -> None:
        """What was found up to now at a path (without its slash) and below it says nothing."""
        if self.count:
            self._hold(self._void, path)

    def _hold(self, told: dict[str, int], path: str) -> None:
        place = f"/{path}" if path else ""
        if (not place or hash(place) in self._near) and (place in told or len(told) < _MOST_WAITING):
            told[place] = self._told

    def settle(self, findings: Findings) -> bool:
        """Hand on what isn't void; whether anything was."""
        self._named.seal()
        kept = self.kept
        left = [one for one in kept if not self._is_void(one)]
        findings.extend(left, self.more)
        findings.denied += self.denied
        return len(left) < len(kept)

    def _is_void(self, finding: Finding) -> bool:
        number = self._numbers.get(finding, self._told + 1)
        target = self._targets.get(finding)
        return self._is_gone(finding.path, number) or (target is not None and self._is_gone(target, number))

    def _is_gone(self, path: str, number: int) -> bool:
        if number <= self._again.get(path, 0):
            return True
        unnamed = False
        for _ in range(_MOST_ABOVE if self._void or self._opaque else 0):
            if not path:
                break
            if number <= self._void.get(path, 0):
                return True
            path = path.rpartition("/")[0]
            if unnamed and number <= self._opaque.get(path, 0):
                return True
            unnamed = unnamed or (bool(path) and path[1:] not in self._named)
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
