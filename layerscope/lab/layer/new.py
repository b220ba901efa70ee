"""New layers: a directory of overlay2 and its record, made aside, to be put in place by their transaction.

| path | content |
| --- | --- |
| `overlay2/<cache ID>/` 0710 | `diff/` 0755; `link` 0644, 26 characters A–Z2–7 |
| `overlay2/l/<link>` | symlink to ``../<cache ID>/diff``, so that a mount's options stay short |
| with a layer below: `work/` 0700, `lower` 0644 | ``l/<its link>`` and what its own `lower` says, divided by ``:`` |
| `committed` 0600, empty, in the layer below | that one is read-only from now on |
| without privilege: `diff.override_stat.json` 0600 | owners and modes that the files in `diff` can't carry |

Order as docker's. Source: moby daemon/graphdriver/overlay2/overlay.go ``create``, layer/layer_store.go
``registerWithDescriptor``; seen with 20.10.24.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import CommitError
from layerscope.formats.engine_rules import EngineRules
from layerscope.formats.override_stat import SIDE_RECORD, side_record_text
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.lab.layer.alongside import EarlySync, InTurn
from layerscope.lab.layer.lay import lay
from layerscope.lab.layer.pack import LayerTar
from layerscope.lab.layer.unpack import Unpacked, unpack_into
from layerscope.lab.layer.writing_process import layer_writer
from layerscope.lab.root.abilities import DeviceForm
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.records import LAYERS
from layerscope.lab.root.root import DRIVER, LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import CacheID, ChainID, DiffID, chain_id, hex_of, is_file_name

MOST_LAYERS = 125
"""Layers that docker puts into one chain."""
_SHORT = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NewLayer(Struct, frozen=True):
    """A layer that was made, or found to be there already (``cache_id`` is that one's then), or not kept."""

    chain_id: ChainID
    cache_id: CacheID
    unpacked: Unpacked
    is_new: bool


def make_layer_directory(transaction: Transaction, cache_id: CacheID, below: CacheID | None) -> None:
    """The directory of a layer on top of ``below``, empty.

    Raises:
        CommitError: the layer below has no short name.
    """
    disk = transaction.disk
    here = f"{DRIVER}/{cache_id}"
    transaction.note("layer", cache_id)
    transaction.on_failure(lambda: remove_layer_directory(disk, cache_id))
    disk.make_directory(here, 0o710)
    disk.make_directory(f"{here}/diff", 0o755)
    short = disk.new_short_name()
    disk.make_symlink(f"{DRIVER}/l/{short}", f"../{cache_id}/diff")
    disk.write(f"{here}/link", short.encode(), 0o644)
    if below is None:
        return
    disk.make_directory(f"{here}/work", 0o700)
    if not disk.exists(f"{DRIVER}/{below}/committed"):
        disk.write(f"{DRIVER}/{below}/committed", b"", 0o600)
    disk.write(f"{here}/lower", _lower(disk, below).encode(), 0o644)


def _lower(disk: Disk, below: CacheID) -> str:
    """What ``lower`` says of a layer on top of ``below``."""
    link = layer_text(disk, below, "link")
    if not link or not link.isalnum():
        raise CommitError(f"{DRIVER}/{below}/link is damaged, so nothing can be put on that layer; layerscope doctor")
    lower = layer_text(disk, below, "lower")
    return f"l/{link}:{lower}" if lower else f"l/{link}"


def layer_text(disk: Disk, cache_id: CacheID, name: str) -> str:
    """A small file of a layer's directory, "" if there is none."""
    limit = _SHORT if name == "link" else _SHORT * 4
    try:
        return disk.top.descend(f"{DRIVER}/{cache_id}").read(name, limit).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""


def remove_layer_directory(disk: Disk, cache_id: CacheID) -> None:
    """Take a layer's directory away, its short name first, as docker does. What isn't there is no error."""
    assert is_file_name(cache_id) and cache_id != "l"
    link = layer_text(disk, cache_id, "link") if disk.exists(f"{DRIVER}/{cache_id}") else ""
    if is_file_name(link):
        disk.remove_file(f"{DRIVER}/l/{link}")
    for stray in [] if link else short_names_of(disk, cache_id):
        disk.remove_file(f"{DRIVER}/l/{stray}")
    disk.remove_tree(f"{DRIVER}/{cache_id}")


def short_names_of(disk: Disk, cache_id: CacheID) -> list[str]:
    """The names in ``l/`` that lead to a layer."""
    directory = disk.top.descend(f"{DRIVER}/l")
    found = []
    for name in directory.names():
        try:
            if directory.readlink(name) == f"../{cache_id}/diff":
                found.append(name)
        except OSError:
            continue
    return found


class LayerMaker:
    """Makes the layers of one transaction, each from its tar; a layer that is there already is used instead.

    A layer's directory is complete before its record is put in place, in the order in which they were made.
    """

    def __init__(
        self, root: LabRoot, transaction: Transaction, rules: EngineRules, devices: DeviceForm | None = None
    ) -> None:
        self._root = root
        self._abilities = root.abilities if devices is None else replace(root.abilities, devices=devices)
        self._transaction = transaction
        self._rules = rules
        self._made: dict[ChainID, CacheID] = {}

    def known(self, chain: ChainID) -> CacheID | None:
        """The directory of a layer that is there, or was made in this transaction."""
        return self._made.get(chain) or recorded_cache_id(self._root.disk, chain)

    def make(
        self, tar: BinaryIO | LayerTar, parent: ChainID | None, *, shown: str = "", unless: DiffID | None = None
    ) -> NewLayer:
        """The layer of a tar (plain or compressed), on top of ``parent``.

        Args:
            tar: read to its end; that of an upper directory is never put together.
            parent: the layer below.
            shown: what the tar is called in messages.
            unless: a layer of this diff ID is not kept.

        Raises:
            CommitError: the tar breaks a rule, or the layer below isn't there.
        """
        below = None if parent is None else self.known(parent)
        if parent is not None and below is None:
            raise CommitError(f"{self._transaction.doing}: the layer below, {parent}, is not there")
        disk = self._transaction.disk
        cache_id = CacheID(disk.new_id())
        make_layer_directory(self._transaction, cache_id, below)
        record = f"{self._transaction.folder}/{cache_id}"
        disk.make_directory(record, 0o700)
        try:
            unpacked = self._unpack(tar, cache_id, f"{record}/tar-split.json.gz")
        except CommitError as error:
            doing = f"{self._transaction.doing}: {shown}" if shown else self._transaction.doing
            raise CommitError(f"{doing}: {error}") from None
        chain = chain_id(parent, unpacked.diff_id)
        known = cache_id if unpacked.diff_id == unless else self.known(chain)
        if known is not None:
            remove_layer_directory(disk, cache_id)
            disk.remove_tree(record)
            return NewLayer(chain, known, unpacked, is_new=False)
        texts = {"diff": unpacked.diff_id, "size": str(unpacked.size), "cache-id": cache_id, "parent": parent or ""}
        for name, text in texts.items():
            if text:
                disk.write(f"{record}/{name}", text.encode(), 0o644)
        self._transaction.stage_directory(record, f"{LAYERS}/{hex_of(chain)}")
        self._made[chain] = cache_id
        return NewLayer(chain, cache_id, unpacked, is_new=True)

    def _unpack(self, tar: BinaryIO | LayerTar, cache_id: CacheID, record: str) -> Unpacked:
        disk, rules = self._transaction.disk, self._rules
        directory = disk.top.descend(f"{DRIVER}/{cache_id}/diff")
        with directory.held() as fd:
            top = os.open(".", _FOLDER, dir_fd=fd)
        try:
            # The process forks before a thread is started.
            with (
                layer_writer(top, self._abilities) as writer,
                EarlySync(disk),
                disk.create(record, 0o644) as file,
            ):
                with InTurn("tar-split") as in_turn:
                    tar_split = TarSplitWriter(
                        file,
                        empty_last_segment=rules.empty_last_segment,
                        short_escapes=rules.short_escapes,
                        carry_out=in_turn,
                    )
                    if isinstance(tar, LayerTar):
                        unpacked = lay(tar, writer, tar_split)
                    else:
                        unpacked = unpack_into(tar, writer, tar_split)
                disk.finish(file)
        finally:
            os.close(top)
        if unpacked.side_record:
            disk.write(f"{DRIVER}/{cache_id}/diff{SIDE_RECORD}", side_record_text(unpacked.side_record), 0o600)
        return unpacked


def recorded_cache_id(disk: Disk, chain: ChainID) -> CacheID | None:
    """The directory of a layer by its record, None if it has none."""
    try:
        text = disk.top.descend(f"{LAYERS}/{hex_of(chain)}").read("cache-id", _SHORT).decode().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return CacheID(text) if is_file_name(text) else None
