"""The one stack of a bare overlay, as the records of a store: a container if it has an upper directory, else an image.

It is called ``overlay``. Levels are the directories, base first: those that only hold data, lower ones, the upper one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from layerscope.errors import RootError
from layerscope.formats.escape import escape
from layerscope.hostfs import Directory
from layerscope.model.container import Container, container_without_record
from layerscope.model.digest import CacheID, ChainID, ContainerID, ImageID, digest_of, hex_of
from layerscope.model.image import Image, Layer
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem
from layerscope.model.root import Daemon
from layerscope.model.volume import Volume
from layerscope.stores.bare.overlay_mounts import Placed, overlay_mounts, placed_mount
from layerscope.stores.base import StoreFacts

NAME = "overlay"


class BareStore:
    """The records of one overlay.

    Satisfies :class:`layerscope.stores.base.Store`, ``TellsOfRoot``, ``TwoRoots`` and ``LiesAnywhere``.
    """

    name = "bare"
    without_root = "an overlay that no engine's records belong to"
    driver = "bare-overlay"

    def __init__(self, overlay: Placed) -> None:
        self.overlay = overlay
        try:
            self.host = Directory.open_root("/")
        except OSError as error:  # pragma: no cover - a process without a root directory
            raise RootError(f"cannot open /: {error.strerror}") from None

    # ------------------------------------------------------------------ what a store answers
    @property
    def _digest(self) -> str:
        """Names the stack: the same directories in the same order have the same."""
        return digest_of("\0".join(self.overlay.levels).encode("utf-8", "surrogateescape"))

    def images(self) -> tuple[Image, ...]:
        """The stack, if it has no upper directory."""
        return self._images

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        if self.overlay.upper is not None:
            return ()
        nothing: dict[str, object] = {}
        tags = (f"{NAME}:latest",)
        return (Image(ImageID(self._digest), tags, (), None, None, "", "linux", "", (), (), (), None, nothing),)

    def containers(self) -> tuple[Container, ...]:
        """The stack, if it has an upper directory."""
        return self._containers

    @cached_property
    def _containers(self) -> tuple[Container, ...]:
        if self.overlay.upper is None:
            return ()
        return (
            container_without_record(
                ContainerID(hex_of(self._digest)), self.driver, self._cache_id(len(self.overlay.levels)), name=NAME
            ),
        )

    def layers(self) -> Mapping[ChainID, Layer]:
        """None: nothing names these directories but their paths."""
        return {}

    def volumes(self) -> tuple[Volume, ...]:
        """None."""
        return ()

    def problems(self) -> tuple[Problem, ...]:
        """None: directories that aren't there are told with the levels."""
        return ()

    def build_cache(self) -> frozenset[CacheID]:
        """Nothing."""
        return frozenset()

    def tar_split(self, chain_id: ChainID) -> BinaryIO | None:
        """None."""
        return None

    def levels(self, subject: Image | Container) -> tuple[Level, ...]:
        """All directories, base first."""
        count = len(self.overlay.levels)
        return tuple(
            Level(
                number,
                Role.RW if number == count and self.overlay.upper is not None else Role.IMAGE,
                self._cache_id(number),
            )
            for number in range(1, count + 1)
        )

    @staticmethod
    def _cache_id(number: int) -> CacheID:
        return CacheID(str(number))

    @property
    def folders(self) -> Mapping[CacheID, str]:
        """The directory of each level, absolute."""
        return {self._cache_id(number): path for number, path in enumerate(self.overlay.levels, 1)}

    @property
    def data_only(self) -> frozenset[CacheID]:
        """The levels that only hold data."""
        return frozenset(self._cache_id(number) for number in range(1, len(self.overlay.data) + 1))

    def records(self, subject: Image | Container) -> dict[str, object]:
        """The directories by their names in mount(8); lower ones top first, as there."""
        return {
            "id": subject.id,
            "lowerdir": list(reversed(self.overlay.lower)),
            "datadir": list(reversed(self.overlay.data)),
            "upperdir": self.overlay.upper,
            "workdir": self.overlay.work,
            "userxattr": self.overlay.user_xattr,
            "mounted_at": self._points,
        }

    # ------------------------------------------------------------------ abilities
    @property
    def layer_root(self) -> None:
        """None: no single directory has them all below it but the host's own top."""
        return None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every directory of the overlay."""
        work = () if self.overlay.work is None else (self.overlay.work,)
        return tuple(Path(path) for path in (*self.overlay.levels, *work))

    def close(self) -> None:
        """Give the descriptor back."""
        self.host.close()

    @property
    def _points(self) -> list[str]:
        """Where an overlay with the same upper directory (of one without: the same lower ones) is mounted now."""
        found = []
        for mount in overlay_mounts():
            other = placed_mount(mount)
            if other is not None and _identity(other) == _identity(self.overlay):
                found.append(mount.point)
        return found

    def facts(self) -> StoreFacts:
        """How many directories there are of each kind."""
        features = [f"{len(self.overlay.lower)} lower directories"]
        if self.overlay.data:
            features.append(f"{len(self.overlay.data)} data-only lower directories")
        features.append("an upper directory" if self.overlay.upper is not None else "no upper directory: read-only")
        return StoreFacts("none: an overlay mount's directories", tuple(features))

    def daemon(self) -> Daemon:
        """Whether the kernel has it mounted, as far as this process sees."""
        points = self._points
        if points:
            return Daemon(True, f"it is mounted at {escape(', '.join(points[:4]))}")
        return Daemon(None, "no such mount is seen here; another mount namespace may have one")


def _identity(overlay: Placed) -> tuple[object, ...]:
    """An upper directory has one overlay at a time; without one, the lower ones tell."""
    return (overlay.upper,) if overlay.upper is not None else (None, overlay.data, overlay.lower)
