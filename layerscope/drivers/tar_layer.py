"""tar layers: each layer is a tar in an image archive, perhaps compressed, and is read where it lies.

A layer's headers are read through when a directory of it is first looked at; contents are passed over and read when a
file is opened. Trees that were not looked at for long are forgotten, and read again if need be. What a tar says wrong
is told once its headers were read.

Source of the marks: OCI image spec, layer.md, "Whiteouts".
"""

from __future__ import annotations

import errno
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from msgspec import Struct, field

from layerscope.errors import CorruptError
from layerscope.formats.blocks.device import BlockDevice, DeviceStream
from layerscope.formats.blocks.source import ByteSource, Extent
from layerscope.formats.escape import escape
from layerscope.formats.tar.index import TarMember, tar_members
from layerscope.formats.tar.sparse import SparseBytes
from layerscope.formats.tar.tree import LONGEST_PATH, MOST_ENTRIES, TarDirectory, TarNode, add, top_node
from layerscope.formats.whiteout import NAMES
from layerscope.model.digest import CacheID
from layerscope.model.level import LayerKind
from layerscope.model.problem import Problem, Severity
from layerscope.model.tree import ContentsAbsent

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEPT_ENTRIES = 200_000
"""Of all trees together, but for the one in use: about 500 bytes each."""
_BUFFER = 1 << 17
_MOST_TOLD = 50


class LayerTars(Protocol):
    """An archive, as the driver needs it."""

    def decompressed(self, name: str) -> ByteSource:
        """The plain bytes of a member.

        Raises:
            OSError: ENOENT if there is none; it can't be read.
        """


class _Read(Struct):
    """A layer whose headers were read."""

    top: TarNode
    entries: int
    problems: list[Problem] = field(default_factory=list)


class TarLayers:
    """The layers of one archive."""

    name = "tar"
    kind = LayerKind.DIFF
    dialect = NAMES
    sizes_by_walk = True
    sizes_unrecorded = True

    def __init__(self, archive: LayerTars, members: Mapping[CacheID, str], missing: Mapping[CacheID, str]) -> None:
        """``members``: where the tar of each layer lies in the archive; ``missing``: why it can't be had."""
        self._archive = archive
        self._members = members
        self._missing = missing
        self._trees: dict[str, TarLayerTree] = {}
        self._read: OrderedDict[str, _Read] = OrderedDict()
        self._found: dict[str, list[Problem]] = {}
        self._lock = threading.RLock()

    def layer_ids(self) -> list[CacheID]:
        """The tars that are there, sorted."""
        return sorted(cache_id for cache_id in self._members if cache_id not in self._missing)

    def layer_path(self, cache_id: CacheID) -> str:
        """The name of the tar in the archive."""
        return self._members[cache_id]

    def open_layer(self, cache_id: CacheID) -> TarDirectory:
        """The top of a layer's tree; its tar is read when something in it is asked for."""
        if cache_id in self._missing:
            raise FileNotFoundError(errno.ENOENT, "no such member", cache_id)
        member = self._members[cache_id]
        with self._lock:
            tree = self._trees.get(member)
            if tree is None:
                source = self._archive.decompressed(member)
                tree = self._trees[member] = TarLayerTree(self, member, source, -1 - len(self._trees))
        return TarDirectory(tree)

    def layer_problems(self, cache_id: CacheID) -> list[Problem]:
        """That a tar is missing, and what was found in it until now."""
        why = self._missing.get(cache_id)
        if why is not None:
            return [
                Problem(
                    self._members[cache_id], why, "the files of this layer can't be shown", "make the archive again"
                )
            ]
        return list(self._found.get(self._members[cache_id], ()))

    def found_damage(self) -> list[Problem]:
        """What was found in tars until now."""
        return [problem for problems in list(self._found.values()) for problem in problems]

    def read(self, tree: TarLayerTree) -> TarNode:
        """The top node of a tree; others are forgotten if there are too many."""
        with self._lock:
            read = self._read.get(tree.name)
            if read is None:
                read = self._read[tree.name] = _read_tree(tree)
                self._found[tree.name] = read.problems
            self._read.move_to_end(tree.name)
            while len(self._read) > 1 and sum(one.entries for one in self._read.values()) > _KEPT_ENTRIES:
                self._read.popitem(last=False)
            return read.top


class TarLayerTree:
    """The tree of one layer, for its directories."""

    def __init__(self, layers: TarLayers, name: str, source: ByteSource, device: int) -> None:
        self.name = name
        self.source = source
        self.device = device
        self._layers = layers

    def root(self) -> TarNode:
        """The top node; reads the tar's headers if they aren't at hand."""
        return self._layers.read(self)

    def open_node(self, node: TarNode, name: str) -> BinaryIO:
        """The bytes of a regular file.

        Raises:
            ContentsAbsent: now or while reading, where they can't be had.
        """
        stored = node.content
        if isinstance(stored, str):
            raise ContentsAbsent(f"{stored} ({self.name} of the archive)", name)
        device: BlockDevice
        if isinstance(stored, tuple):
            device = SparseBytes(self.source, stored, node.size)
        else:
            assert isinstance(stored, int)
            end = self.source.size
            there = node.size if end is None else max(0, min(node.size, end - stored))
            device = Extent(self.source, stored, there)
        return cast(BinaryIO, io.BufferedReader(_Content(device, node.size, self.name, name), _BUFFER))


class _Content(DeviceStream):
    """A file's bytes; damage is told as the contents' absence, and so is that there are fewer than there should be."""

    def __init__(self, device: BlockDevice, size: int, member: str, name: str) -> None:
        super().__init__(device)
        self._there, self._size = device.size, size
        self._member = member
        self._name = name

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            count = super().readinto(buffer)
        except OSError as error:
            raise ContentsAbsent(f"{error.strerror} ({self._member} of the archive)", self._name) from None
        if not count and self.tell() >= self._there < self._size:
            what = f"it ends after {self._there} of {self._size} bytes ({self._member} of the archive)"
            raise ContentsAbsent(what, self._name)
        return count


# ---------------------------------------------------------------------- reading the headers
def _read_tree(tree: TarLayerTree) -> _Read:
    """All entries of a tar, as far as it can be read."""
    read = _Read(top_node(), 1)
    told = _Telling(tree.name, read.problems)
    try:
        for member in tar_members(tree.source):
            read.entries += 1
            if read.entries > MOST_ENTRIES:
                raise CorruptError(f"it has more than {MOST_ENTRIES} entries")
            _enter(read.top, member, read.entries, told)
    except (CorruptError, OSError) as error:
        why = str(error) if isinstance(error, CorruptError) else error.strerror or "it can't be read"
        effect = "the entries before are shown" if read.entries > 1 else "the files of this layer can't be shown"
        told.tell(f"the tar of a layer is damaged: {escape(why)}", effect)
    return read


def _enter(top: TarNode, member: TarMember, number: int, told: _Telling) -> None:
    header = member.header
    name = escape(header.name)[:200]
    if len(header.path) > LONGEST_PATH:
        told.tell(f"has a name of {len(header.path)} characters: {name[:60]}…", "this entry is not shown")
        return
    if ".." in header.name.split("/"):
        told.tell(f"has the name {name}, which leads out of the layer", "it is shown inside; engines refuse the layer")
    node = add(top, header, number)
    if node is None:
        if header.type == "1":
            target = escape(header.linkname)[:200]
            told.tell(f"has the hard link {name} to {target}, which isn't in it", "this entry is not shown")
        return
    if node.children is None and header.type != "1":
        node.content = member.fault or (member.pieces if member.pieces is not None else member.offset)
        if member.fault:
            told.tell(f"{name}: {escape(member.fault)}", "its bytes can't be shown")


class _Telling:
    """The problems of one tar, the first ones in full."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems

    def tell(self, what: str, effect: str) -> None:
        """Add one."""
        if len(self._problems) < _MOST_TOLD:
            self._problems.append(Problem(self._path, what, effect, severity=Severity.WARNING))
