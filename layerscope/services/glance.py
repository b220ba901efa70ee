"""What can be told of a root before its records are read: the names of its containers, and the stack of the first."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import UsageError
from layerscope.model.subject import ContainerUsage, Subject
from layerscope.services.session import Session
from layerscope.stores.docker.glance import Glimpse, glimpses, store_of
from layerscope.stores.docker.store import DockerStore

MANY = 300
"""Containers; the records of fewer are read as soon."""


class Glance(Struct, frozen=True):
    """All containers, newest first, of which names, images and states are known; the first of them in full.

    ``session`` answers for that one alone, and isn't to be closed: it has the root from the session that was asked.
    """

    containers: tuple[ContainerUsage, ...]
    first: Subject
    session: Session


def glance(session: Session, least: int = MANY) -> Glance | None:
    """What there is in a root of so many containers that reading all of it takes long; else None.

    None, too, where anything in these records isn't as docker writes it: that is told by whoever reads all of them.
    """
    if not isinstance(session.store, DockerStore):
        return None
    found = glimpses(session.store, least)
    if not found:
        return None
    alone = store_of(found[0], session.store)
    container = next(iter(alone.containers()), None)
    if container is None or container.problems:
        return None
    only = Session(session.path, session.root, alone, session.contents.driver, session.setting)
    usages = tuple(ContainerUsage(one, None, None) for one in (container, *found[1:]))
    return Glance(usages, Subject(None, container), only)


def whole(session: Session, subject: Subject) -> Subject:
    """A subject with all that is recorded of it, where it was glimpsed only; waits until the records are read.

    Raises:
        UsageError: it is gone.
    """
    if not isinstance(subject.container, Glimpse):
        return subject
    wanted = subject.container.id
    found = next((one for one in session.store.containers() if one.id == wanted), None)
    if found is None:
        raise UsageError(f"the container {subject.name} is gone")
    return replace(subject, container=found)
