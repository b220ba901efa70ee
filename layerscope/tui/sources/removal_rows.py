"""What could go, as a list to tick, and what would come back then, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Candidate, Reclaim, ThingKind
from layerscope.services import Session
from layerscope.services.reclaim import reclaim
from layerscope.tui.sources.entities import EntityRow, entity_rows
from layerscope.tui.sources.facts import Fact
from layerscope.tui.units import size_text

_MOST_TOLD = 200
_WITHOUT_COMMAND = ("orphan:", "log:")
_WHOLE_GROUPS = (
    (ThingKind.BUILD_CACHE, "build-cache", "BUILD CACHE", "all that only builders hold"),
    (ThingKind.UNUSED_LAYER, "unused-layers", "UNUSED LAYERS", "all that nothing leads to"),
)


class RemovalRow(Struct, frozen=True):
    """One line. ``word`` is what reclaim takes ("" for a heading or gap); ``alone`` the bytes on disk that come back if
    nothing else goes; ``dot`` names a status dot; names are raw."""

    kind: Literal["heading", "gap", "thing"]
    name: str = ""
    word: str = ""
    note: str = ""
    alone: int = 0
    dot: str = "unknown"
    command: str = ""


def removal_rows(session: Session, ledger: Ledger) -> list[RemovalRow]:
    """Everything that can be ticked, each kind below its heading; containers and images as Explore lists them.

    Raises:
        UnsupportedError: what this store would give back isn't known.
    """
    candidates = reclaim(session, (), counted=ledger).candidates
    known = {(one.thing.kind, one.thing.id): one for one in candidates}
    listed = entity_rows(session.containers(sizes=False), session.images())
    containers = [_entity(row, known) for row in listed if row.kind == "container"]
    images = [_entity(row, known) for row in _named(listed)]
    volumes = [
        _thing(f"volume:{one.name}", one.name, known.get((ThingKind.VOLUME, one.name)), "unknown")
        for one in session.store.volumes()
        if one.path is not None
    ]
    groups = [("CONTAINERS", containers), ("IMAGES", images), ("VOLUMES", volumes)]
    for kind, word, heading, note in _WHOLE_GROUPS:
        if any(one.thing.kind is kind for one in candidates):
            frees = reclaim(session, (word,), counted=ledger).frees_disk
            groups.append((heading, [RemovalRow("thing", word, word, note, frees)]))
    groups.append(("ORPHANS", [_orphan(one) for one in candidates if one.thing.kind is ThingKind.ORPHAN]))
    logs = {one.thing.id: one for one in candidates if one.thing.kind is ThingKind.LOG}
    groups.append(("LOGS", [_thing(f"log:{key}", one.name, one, "unknown") for key, one in logs.items()]))
    return _below_headings(groups)


def _below_headings(groups: Iterable[tuple[str, Sequence[RemovalRow]]]) -> list[RemovalRow]:
    rows: list[RemovalRow] = []
    for heading, group in groups:
        if group:
            rows += [RemovalRow("gap")] if rows else []
            rows += [RemovalRow("heading", heading, note=f"{len(group):,}"), *group]
    return rows


def _named(rows: Sequence[EntityRow]) -> Iterable[EntityRow]:
    """Images without those in between, which go with the last image above them."""
    for row in rows:
        if row.kind == "heading" and row.name == "INTERMEDIATE":
            return
        if row.kind == "image":
            yield row


def _entity(row: EntityRow, known: dict[tuple[ThingKind, str], Candidate]) -> RemovalRow:
    assert row.subject is not None
    thing = row.subject.container or row.subject.image
    assert thing is not None
    kind = ThingKind.CONTAINER if row.subject.container is not None else ThingKind.IMAGE
    found = known.get((kind, thing.id))
    frees, command = (found.frees_disk, found.command) if found else (0, "")
    note = row.note if kind is ThingKind.CONTAINER else ""
    return RemovalRow("thing", row.name, thing.id, note, frees, "problem" if row.damaged else row.dot, command)


def _thing(word: str, name: str, found: Candidate | None, dot: str) -> RemovalRow:
    frees, command = (found.frees_disk, found.command) if found else (0, "")
    return RemovalRow("thing", name, word, "", frees, dot, command)


def _orphan(found: Candidate) -> RemovalRow:
    folder, _, name = found.thing.id.rpartition("/")
    return RemovalRow("thing", name, f"orphan:{found.thing.id}", folder, found.frees_disk, "orphan", found.command)


def words_below(rows: Sequence[RemovalRow], index: int) -> list[str]:
    """The words that a row stands for: its own, or those of all rows below a heading."""
    if rows[index].kind != "heading":
        return [rows[index].word] if rows[index].word else []
    found = []
    for row in rows[index + 1 :]:
        if row.kind != "thing":
            break
        found.append(row.word)
    return found


def facts_of_removal(row: RemovalRow | None) -> list[Fact]:
    """What is known of the row under the cursor while nothing is ticked."""
    if row is None or not row.word:
        return [Fact("tick", "what could go, to see what comes back and what keeps the rest; nothing is removed here")]
    frees = f"{size_text(row.alone)} if it goes alone" if row.alone else "nothing if it goes alone"
    facts = [Fact("name", row.name), Fact("frees", frees), Fact("run", row.command)]
    return [fact for fact in facts if fact.value]


def facts_of_answer(answer: Reclaim, ticked: Sequence[RemovalRow], total_disk: int) -> list[Fact]:
    """What comes back if all that is ticked goes, the engine's commands for it in order, and what stays and why."""
    most = "at most " if answer.at_most else ""
    frees = f"{most}{size_text(answer.frees_disk)} ({answer.frees_disk:,} bytes) of {size_text(total_disk)}"
    facts = [Fact("frees", f"{frees}, with {len(ticked):,} ticked")]
    facts += [Fact("run" if not number else "", command) for number, command in enumerate(answer.commands[:_MOST_TOLD])]
    if len(answer.commands) > _MOST_TOLD:
        facts.append(Fact("", f"and {len(answer.commands) - _MOST_TOLD:,} more"))
    by_hand = [row for row in ticked if row.alone and not row.command and row.word.startswith(_WITHOUT_COMMAND)]
    for number, row in enumerate(by_hand[:_MOST_TOLD]):
        facts.append(Fact("by hand" if not number else "", f"{row.name}: the engine has no command for this"))
    for number, kept in enumerate(answer.kept[:_MOST_TOLD]):
        told = f"{size_text(kept.disk)}  {kept.path}  because of {', '.join(kept.because)}"
        facts.append(Fact("stays" if not number else "", told))
    if len(answer.kept) > _MOST_TOLD:
        facts.append(Fact("", f"and {len(answer.kept) - _MOST_TOLD:,} more"))
    return facts
