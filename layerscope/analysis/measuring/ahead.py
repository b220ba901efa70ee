"""Trees that are measured before anybody has asked for them.

Nothing is believed because of it: whoever asks names directories, and gets what was counted if those are the very ones.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from layerscope.analysis.measuring.threads import MeasuringThreads

if TYPE_CHECKING:
    from layerscope.hostfs import Directory
    from layerscope.hostfs.measure import Task

Identity = tuple[int, int]
"""Device and inode of a directory."""
_BUDGET = 2000


class Ahead:
    """Threads at work on trees below ``root``; a context manager, which ends them and closes the root.

    ``crew`` may be given to a pool once :meth:`asked` has said that its sums are wanted. Units are below 0 here, so
    that a pool may have others beside them.
    """

    def __init__(self, root: Directory, size: int) -> None:
        self.crew = MeasuringThreads(size)
        self._root = root
        self._begun: dict[Identity, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crew.end(at_once=True)
        self._root.close()

    def begin(self, path: str) -> None:
        """Measure the tree at a path below the root, too. Raises OSError."""
        stat = self._root.descend(path).stat_self()
        unit = -1 - len(self._begun)
        self._begun[stat.st_dev, stat.st_ino] = unit
        with self._root.held() as fd:
            self.crew.give([(unit, fd, path, ["."], stat.st_dev, False, [], False)], [], _BUDGET)

    def asked(self, wanted: dict[Identity, int]) -> dict[int, int]:
        """Whose sums these are: of each unit here the one that asks for the same directory.

        Empty, and everything is given up, where anything was begun that nobody asks for.
        """
        if not self._begun.keys() <= wanted.keys():
            self.crew.end(at_once=True)
            return {}
        return {unit: wanted[identity] for identity, unit in self._begun.items()}

    def not_begun(self) -> list[Task]:
        """What still waits, for others to do as well."""
        return self.crew.take_back()
