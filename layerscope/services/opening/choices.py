"""What can be chosen where a root is opened: storage drivers, namespaces, layers whose files lie elsewhere."""

from __future__ import annotations

from layerscope.drivers import DRIVERS
from layerscope.services.opening.handed_layers import layer_ids
from layerscope.services.session import Session
from layerscope.stores.base import TellsOfRoot


def driver_choices(session: Session | None) -> tuple[str, ...]:
    """The drivers that a root has records of; None stands for a root that can't be opened: all that there are."""
    return tuple(DRIVERS) if session is None else session.setting.detection.drivers


def namespace_choices(session: Session) -> tuple[str, ...]:
    """The containerd namespaces of a root; empty where there are none."""
    return session.store.facts().namespaces if isinstance(session.store, TellsOfRoot) else ()


def layer_choices(session: Session) -> tuple[str, ...]:
    """The IDs of all layers that the records name, sorted."""
    return tuple(layer_ids(session.store))
