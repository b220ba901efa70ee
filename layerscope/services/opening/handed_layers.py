"""Which layers a user means whose files he hands over: by ID, its beginning, or the name of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from layerscope.errors import UsageError
from layerscope.formats.escape import escape
from layerscope.model.digest import CacheID
from layerscope.stores.base import Store

_LISTED = 8


def layers_meant(store: Store, given: Mapping[str, str | Path]) -> tuple[tuple[CacheID, Path], ...]:
    """The layers that ``given`` names, with the directories; of a dataset's or snapshot's name the last part counts.

    Raises:
        UsageError: a name fits no layer, or several.
    """
    if not given:
        return ()
    ids = layer_ids(store)
    return tuple((_meant(name, ids), Path(path)) for name, path in given.items())


def layer_ids(store: Store) -> list[CacheID]:
    """The IDs of all layers that the records name, sorted: of images, and of containers with their init layers."""
    known = {layer.cache_id for layer in store.layers().values()}
    known.update(one for container in store.containers() for one in (container.mount_id, container.init_id))
    return sorted(one for one in known if one)


def _meant(name: str, known: list[CacheID]) -> CacheID:
    wanted = name.partition("@")[0].rpartition("/")[2]
    found = [one for one in known if one == wanted] or [one for one in known if wanted and one.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{escape(name)!r} is ambiguous: it fits the layers {_list(found)}")
    raise UsageError(f"no layer {escape(name)!r} here; there are {_list(known)}")


def _list(ids: list[CacheID]) -> str:
    more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
    return (", ".join(one[:16] + ("-init" if one.endswith("-init") else "") for one in ids[:_LISTED]) or "none") + more
