"""The blocks of a subject's thin device: its map, and how one block is read."""

from __future__ import annotations

import errno

from layerscope.analysis.blocks.devices import BlockAnalysis, ThinProvisioned
from layerscope.errors import CorruptError, RootError, UsageError
from layerscope.model.block_map import BlockRead, DeviceBlocks
from layerscope.model.problem import Problem
from layerscope.model.subject import Subject
from layerscope.services.session import Session


def device_blocks(session: Session, subject: Subject) -> tuple[DeviceBlocks, list[Problem]]:
    """The block map of the device of a subject's top level (at its cut), and what of its line can't be read.

    Raises:
        UsageError: the root's driver has no blocks of its own, or the subject has no level.
        RootError: the pool isn't in the root and wasn't handed over, can't be read, or it or the device is damaged.
        UnsupportedError: it is of a newer format.
    """
    analysis = _analysis(session, subject)
    try:
        return analysis.device_blocks(), analysis.problems
    except (OSError, CorruptError) as error:
        raise _told(subject, error) from None


def read_block(session: Session, subject: Subject, virtual: int) -> tuple[BlockRead, list[Problem]]:
    """How one virtual block of that device is read. Raises as :func:`device_blocks`; UsageError past its end."""
    analysis = _analysis(session, subject)
    if virtual >= analysis.blocks:
        raise UsageError(f"{subject.name} has blocks 0 to {analysis.blocks - 1:#x}, there is no block {virtual:#x}")
    try:
        return analysis.read(virtual), analysis.problems
    except (OSError, CorruptError) as error:
        raise _told(subject, error) from None


def why_no_blocks(session: Session) -> str | None:
    """Why layers of this root have no block map, None if they have one."""
    if isinstance(session.contents.driver, ThinProvisioned):
        return None
    return f"layers of {session.driver} are directories: only those of devicemapper have a block map"


def _analysis(session: Session, subject: Subject) -> BlockAnalysis:
    driver = session.contents.driver
    if not isinstance(driver, ThinProvisioned):
        raise UsageError(why_no_blocks(session) or "")
    levels = session.levels(subject)
    levels = levels if subject.cut is None else levels[: subject.cut]
    if not levels:
        raise UsageError(f"{subject.name} has no level here, and so no device")
    try:
        return BlockAnalysis(driver, levels)
    except (OSError, CorruptError) as error:
        raise _told(subject, error) from None


def _told(subject: Subject, error: OSError | CorruptError) -> RootError:
    doing = f"cannot read the block map of {subject.name}"
    if isinstance(error, CorruptError):
        return RootError(f"{doing}: {error}")
    hint = "; give --thin-metadata, a copy of it or what thin_dump prints" if error.errno == errno.ENODATA else ""
    return RootError(f"{doing}: {error.strerror or error}{hint}")
