"""A file system that is built step by step, and the tar of what each step changed.

A step's tar has the form that engines exchange: changed entries with their parents, a directory before its members,
`.wh.NAME` for a name that is gone, `.wh..wh..opq` in a directory that was replaced. The engine that loads it writes the
marks on disk.
"""

from __future__ import annotations

import io
import tarfile

from msgspec import Struct
from msgspec.structs import replace


class Node(Struct, frozen=True):
    """One entry. ``type`` is tarfile's; ``target`` of a symlink, or the first name of a hard-linked file."""

    type: bytes
    mode: int
    mtime: int
    content: bytes = b""
    target: str = ""


class FileSystem:
    """All entries by path, without leading slash."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def copy(self) -> FileSystem:
        """The same entries, to be changed apart."""
        other = FileSystem()
        other.nodes = dict(self.nodes)
        return other


class Step:
    """What one instruction does to a file system at ``moment`` (seconds since 1970)."""

    def __init__(self, below: FileSystem, moment: int) -> None:
        self._below = below.nodes
        self.result = below.copy()
        self._nodes = self.result.nodes
        self._touched: set[str] = set()
        self._opaque: set[str] = set()
        self.moment = moment

    # ------------------------------------------------------------------ what an instruction may do
    def directory(self, path: str, mode: int = 0o755) -> None:
        """A new directory; over one that was removed in this step it becomes opaque."""
        if path in self._below and self._below[path].type == tarfile.DIRTYPE and path not in self._nodes:
            self._opaque.add(path)
        self._put(path, Node(tarfile.DIRTYPE, mode, self.moment))

    def file(self, path: str, text: str, mode: int = 0o644, mtime: int | None = None) -> None:
        """A new file, or new content in place of the old."""
        self._put(path, Node(tarfile.REGTYPE, mode, mtime or self.moment, text.encode()))

    def append(self, path: str, text: str) -> None:
        """More lines at the end of a file that is there."""
        node = self._nodes[path]
        self._put(path, replace(node, content=node.content + text.encode(), mtime=self.moment))

    def symlink(self, path: str, target: str) -> None:
        """A new symlink, or another one in place of what was there."""
        self._put(path, Node(tarfile.SYMTYPE, 0o777, self.moment, target=target))

    def hard_link(self, path: str, first: str) -> None:
        """A further name of the file ``first``."""
        self._put(path, replace(self._nodes[first], type=tarfile.LNKTYPE, content=b"", target=first))

    def chmod(self, path: str, mode: int) -> None:
        """Another mode, and nothing else."""
        self._put(path, replace(self._nodes[path], mode=mode), entry_changes=False)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        del self._nodes[path]
        for name in [name for name in self._nodes if name.startswith(path + "/")]:
            del self._nodes[name]
        self._changed_directory(path)

    def below(self, path: str) -> list[str]:
        """The paths below a directory, sorted."""
        return sorted(name for name in self._nodes if name.startswith(path + "/"))

    def _put(self, path: str, node: Node, entry_changes: bool = True) -> None:
        new = path not in self._nodes
        self._nodes[path] = node
        self._touched.add(path)
        if entry_changes and new:
            self._changed_directory(path)

    def _changed_directory(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if not parent:
            return
        if parent not in self._nodes:
            self.directory(parent)
        self._nodes[parent] = replace(self._nodes[parent], mtime=self.moment)
        self._touched.add(parent)

    # ------------------------------------------------------------------ the tar
    def tar(self) -> bytes:
        """The step as a layer tar; the same steps give the same bytes."""
        marks = self._marks()
        wanted = {path for path in self._touched if path in self._nodes} | {path for path, _ in marks}
        for path in list(wanted):
            while path := path.rpartition("/")[0]:
                wanted.add(path)
        marked = dict(marks)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(wanted, key=lambda path: path.split("/")):
                if path in marked:
                    self._add(tar, marked[path], Node(tarfile.REGTYPE, 0o600, self.moment))
                    continue
                node = self._nodes[path]
                self._add(tar, path, node)
                if path in self._opaque:
                    self._add(tar, f"{path}/.wh..wh..opq", Node(tarfile.REGTYPE, node.mode, 0))
        return out.getvalue()

    def _marks(self) -> list[tuple[str, str]]:
        """Each removed path with the name of its mark; what a mark or an opaque directory hides anyway needs none."""
        gone = [path for path in self._below if path not in self._nodes]
        marks = []
        for path in sorted(gone):
            parent, _, name = path.rpartition("/")
            if parent and parent not in self._nodes:
                continue
            if any(path.startswith(opaque + "/") for opaque in self._opaque):
                continue
            marks.append((path, f"{parent}/.wh.{name}" if parent else f".wh.{name}"))
        return marks

    @staticmethod
    def _add(tar: tarfile.TarFile, name: str, node: Node) -> None:
        entry = tarfile.TarInfo(name + "/" if node.type == tarfile.DIRTYPE else name)
        entry.type, entry.mode, entry.mtime, entry.linkname = node.type, node.mode, node.mtime, node.target
        entry.size = len(node.content)
        tar.addfile(entry, io.BytesIO(node.content))
