"""The answer of ``waste``: its JSON shape, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from layerscope.cli.render import json
from layerscope.cli.render.docker_form import size
from layerscope.cli.render.document import element
from layerscope.cli.render.escape import bytes_of, is_utf8, replaced
from layerscope.cli.render.table import aligned
from layerscope.model.waste import RuleResult, Waste, WasteItem

if TYPE_CHECKING:
    from layerscope.cli.output import Output
    from layerscope.model.subject import Subject

_WIDTH = 120
_SIZE_RULES = ("max-", "highestWasted")


def totals(subject: Subject, waste: Waste, results: Sequence[RuleResult]) -> json.Shape:
    """Waste, but for its ``items``."""
    thing = subject.container or subject.image
    dive = waste.dive
    return {
        "name": replaced(subject.name),
        "kind": "container" if subject.container is not None else "image",
        "id": None if thing is None else thing.id,
        "cut": subject.cut,
        "paid_bytes": waste.paid_bytes,
        "visible_bytes": waste.visible_bytes,
        "hidden_bytes": waste.hidden_bytes,
        "wasted_bytes": waste.wasted_bytes,
        "efficiency": waste.efficiency,
        "causes": [{"cause": str(one.cause), "bytes": one.bytes, "count": one.count} for one in waste.causes],
        "levels": [
            {
                "level": one.level,
                "paid_bytes": one.paid_bytes,
                "wasted_bytes": one.wasted_bytes,
                "created_by": replaced(one.created_by),
            }
            for one in reversed(waste.levels)
        ],
        "dive": {
            "efficiency": dive.efficiency,
            "wasted_bytes": dive.wasted_bytes,
            "wasted_user_percent": dive.wasted_user_percent,
        },
        "rules": [
            {"rule": one.rule, "limit": one.limit, "value": one.value, "ok": one.ok, "name": replaced(subject.name)}
            for one in results
        ],
    }


def document(
    subject: Subject, waste: Waste, results: Sequence[RuleResult], items: Iterator[WasteItem], terminal: bool
) -> Iterator[bytes]:
    """The whole JSON object in pieces: ``items``, which may be many, come last and are written as they are found."""
    head = element(totals(subject, waste, results), terminal)
    yield head[:-1] + b', "items": ['
    before = b"\n"
    for one in items:
        yield before + element(item(one), terminal)
        before = b",\n"
    yield b"]}"


def item(value: WasteItem) -> json.Shape:
    """One of Waste's ``items``."""
    same_as = value.same_as
    return {
        **_path("/" + value.path),
        "cause": str(value.cause),
        "bytes": value.bytes,
        "level": value.level,
        "hidden_by": value.hidden_by,
        "created_by": replaced(value.created_by),
        "stored_by": replaced(value.stored_by),
        "remedy": value.remedy,
        "same_as": None if same_as is None else {**_path("/" + same_as[0]), "level": same_as[1], "in": _holder(value)},
    }


def _holder(value: WasteItem) -> str | None:
    return replaced(value.same_in) if value.same_in else None


def _path(path: str) -> json.Shape:
    if is_utf8(path):
        return {"path": replaced(path)}
    return {"path": replaced(path), "path_base64": json.base64(bytes_of(path))}


def lines(subject: Subject, waste: Waste, items: Iterator[WasteItem], shown: int | None, out: Output) -> Iterator[str]:
    """The totals, the causes, the levels and the biggest ``shown`` items (None: all)."""
    dive = waste.dive
    yield f"{out.text(subject.name)}: {size(waste.paid_bytes)} stored, {size(waste.visible_bytes)} of it in view"
    yield f"efficiency {waste.efficiency:.2%} (dive would say {dive.efficiency:.2%}), {size(waste.wasted_bytes)} wasted"
    found = [one for one in waste.causes if one.count]
    if not found:
        return
    yield ""
    rows = [["CAUSE", "SIZE", "COPIES"]]
    rows += [[str(one.cause), size(one.bytes), str(one.count)] for one in found]
    yield from aligned(rows, frozenset({1, 2}))
    yield ""
    rows = [["LEVEL", "STORED", "WASTED", "CREATED BY"]]
    rows += [
        [str(one.level), size(one.paid_bytes), size(one.wasted_bytes), " ".join(out.text(one.created_by).split())]
        for one in reversed(waste.levels)
    ]
    yield from aligned(rows, frozenset({0, 1, 2}), out.width or _WIDTH, out.ellipsis)
    yield ""
    count = sum(one.count for one in found)
    for one in islice(items, shown):
        yield from _item_lines(one, out)
    if shown is not None and count > shown:
        yield f"and {count - shown} more: --all lists them"


def _item_lines(one: WasteItem, out: Output) -> Iterator[str]:
    name = out.name("/" + one.path)
    if one.same_as is not None:
        why = f"same content as {out.name('/' + one.same_as[0])} of level {one.same_as[1]}"
        why += f" of {out.text(one.same_in)}" if one.same_in else ""
    else:
        why = f"{one.cause} by level {one.hidden_by}"
    yield f"{size(one.bytes):>8}  level {one.level}  {name}  ({why})"
    yield f"{'':>10}{one.remedy}"


def overview(rows: Sequence[tuple[Subject, Waste]], out: Output) -> Iterator[str]:
    """One line for each image, in columns."""
    cells = [["IMAGE", "STORED", "IN VIEW", "WASTED", "EFFICIENCY", "DIVE"]]
    for subject, waste in rows:
        numbers = [size(waste.paid_bytes), size(waste.visible_bytes), size(waste.wasted_bytes)]
        cells.append([out.text(subject.name), *numbers, f"{waste.efficiency:.2%}", f"{waste.dive.efficiency:.2%}"])
    return aligned(cells, frozenset({1, 2, 3, 4, 5}), None)


def broken_rule(name: str, result: RuleResult) -> str:
    """What to say of a rule that isn't kept."""
    at_most = not result.rule.startswith(("min-", "lowest"))
    if result.rule in ("max-waste-percent", "highestUserWastedPercent") or not result.rule.startswith(_SIZE_RULES):
        value, limit = f"{result.value:.2%}", f"{result.limit:.2%}"
    else:
        value, limit = f"{result.value:.0f} bytes", f"{result.limit:.0f}"
    return f"{name}: {result.rule}: {value}, {'at most' if at_most else 'at least'} {limit} allowed"
