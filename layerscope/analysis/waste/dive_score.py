"""The efficiency of a stack as dive defines it, found on the same walk as our own.

| dive's rule | here |
| --- | --- |
| a path's *nodes* are the leaves of the layers' trees there: files, and whiteouts | the copies of the path |
| a node's size: that of its tar header; of a whiteout 0 | regular files' bytes, first name of an inode |
| of a whiteout that removes a directory: the sum of the tree below it, as it was | the same |
| efficiency: sum of each path's smallest node, through the sum of all nodes | the same |
| wasted bytes: all nodes of the paths that have two or more | the same |
| opaque directories: not known to dive | nothing |

Source: dive, dive/filetree/efficiency.go and dive/image/analysis.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerscope.analysis.waste.copies import Copy, Hides
from layerscope.model.waste import DiveScore


class DiveTally:
    """Takes every path of a stack once, and knows dive's numbers in the end."""

    def __init__(self) -> None:
        self._least = 0
        self._all = 0
        self._wasted = 0
        self._removed: dict[str, dict[int, int]] = {}
        self._stored: dict[int, int] = {}

    def path(self, path: str, copies: Sequence[Copy], sizes: Sequence[int]) -> None:
        """One path: its copies, top first, and the bytes of each (0 for what is no regular file)."""
        nodes = []
        for position, (copy, size) in enumerate(zip(copies, sizes, strict=True)):
            if copy.kind == "w":
                below = copies[position + 1].kind if position + 1 < len(copies) else None
                if below == "d":
                    self._removed.setdefault(path, {}).setdefault(copy.part.level, 0)
                elif below not in (None, "w"):
                    nodes.append(0)
            elif copy.kind != "d":
                nodes.append(size)
                self._stored[copy.part.level] = self._stored.get(copy.part.level, 0) + size
                if copy.hider is not None and copy.hider.how is Hides.WHITEOUT and copy.hider.path != path:
                    sums = self._removed.setdefault(copy.hider.path, {})
                    sums[copy.hider.level] = sums.get(copy.hider.level, 0) + size
        self._add(nodes)

    def _add(self, nodes: Sequence[int]) -> None:
        if nodes:
            self._least += min(nodes)
            self._all += sum(nodes)
            if len(nodes) > 1:
                self._wasted += sum(nodes)

    def score(self, levels: Mapping[int, object]) -> DiveScore:
        """dive's numbers; ``levels`` are all levels of the stack. Nothing may be added afterwards."""
        for sums in self._removed.values():
            self._add(list(sums.values()))
        self._removed.clear()
        user = sum(size for level, size in self._stored.items() if level != min(levels, default=0))
        return DiveScore(
            self._least / self._all if self._all else 1.0, self._wasted, self._wasted / user if user else None
        )
