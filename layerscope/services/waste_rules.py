"""Rules for pipelines: how much waste an image may have. From options, or from a file of lines ``RULE: LIMIT``.

| rule | what is limited | a limit |
| --- | --- | --- |
| ``max-waste`` | wasted bytes | ``20MB``, ``1.5GiB``, ``1000`` |
| ``max-waste-percent`` | wasted through paid bytes | ``5``, ``5%`` |
| ``max-overwritten``, ``max-deleted``, ``max-metadata``, ``max-opaque``, ``max-same-content`` | one cause | a size |
| ``min-efficiency`` | visible through paid bytes | ``0.95``, ``95%`` |
| ``lowestEfficiency`` | dive's efficiency | ``0.95``, ``95%`` |
| ``highestWastedBytes`` | dive's wasted bytes | a size |
| ``highestUserWastedPercent`` | dive's, of all levels but the base | ``0.2``, ``20%`` |

A line ``rules:`` may stand before them, ``#`` begins a comment, quotes are taken off, and a limit of ``disabled`` is
none: so a ``.dive-ci`` file serves as it is. Sizes are decimal, ``kB MB GB TB``, or binary, ``KiB MiB GiB TiB``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from layerscope.errors import UsageError
from layerscope.formats.escape import escape
from layerscope.model.waste import Cause, RuleResult, Waste

Rule = tuple[str, float]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", 1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}
_SIZES = ("max-waste", "highestWastedBytes", *(f"max-{cause.value}" for cause in Cause))
_RATIOS = ("min-efficiency", "lowestEfficiency", "highestUserWastedPercent")
_PERCENT = "max-waste-percent"
RULES = (*_SIZES, *_RATIOS, _PERCENT)
"""The names of all rules."""
_FILE_LIMIT = 1 << 16


def parse_size(text: str) -> int:
    """Bytes of ``20MB``, ``1.5 GiB``, ``1000``.

    Raises:
        UsageError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise UsageError(f"{escape(text)!r} is no size: expected a number with kB, MB, GB, KiB, MiB, GiB or nothing")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def parse_ratio(text: str) -> float:
    """A ratio of ``0.95`` or ``95%``, from 0 to 1.

    Raises:
        UsageError: it isn't one.
    """
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"{escape(text)!r} is no ratio: expected a number from 0 to 1, or a percentage")
    return value


def read_rules(path: Path) -> list[Rule]:
    """The rules of a file, in its order.

    Raises:
        UsageError: it can't be read, or a line of it is no rule.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read the rules in {escape(str(path))}: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise UsageError(f"cannot read the rules in {escape(str(path))}: it is longer than {_FILE_LIMIT} bytes")
    found: list[Rule] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if text in ("", "---", "rules:"):
            continue
        name, colon, limit = (part.strip() for part in text.partition(":"))
        limit = limit.strip("'\"")
        if limit == "disabled" and name in RULES:
            continue
        try:
            if not colon or name not in RULES:
                raise UsageError(f"{escape(text)!r} is no rule; rules are {', '.join(RULES)}")
            found.append((name, parse_limit(name, limit)))
        except UsageError as error:
            raise UsageError(f"{escape(str(path))}, line {number}: {error}") from None
    return found


def parse_limit(name: str, limit: str) -> float:
    """The limit of a rule, in the unit of its value."""
    if name in _SIZES:
        return parse_size(limit)
    if name == _PERCENT:
        return parse_ratio(limit if limit.endswith("%") else limit + "%")
    return parse_ratio(limit)


def check_rules(rules: Iterable[Rule], waste: Waste) -> list[RuleResult]:
    """Hold the totals against each rule."""
    causes = {f"max-{total.cause.value}": total.bytes for total in waste.causes}
    values: dict[str, float] = {
        "max-waste": waste.wasted_bytes,
        _PERCENT: waste.wasted_bytes / waste.paid_bytes if waste.paid_bytes else 0.0,
        "min-efficiency": waste.efficiency,
        "lowestEfficiency": waste.dive.efficiency,
        "highestWastedBytes": waste.dive.wasted_bytes,
        "highestUserWastedPercent": waste.dive.wasted_user_percent or 0.0,
        **causes,
    }
    found = []
    for name, limit in rules:
        value = values[name]
        at_least = name in ("min-efficiency", "lowestEfficiency")
        found.append(RuleResult(name, limit, value, value >= limit if at_least else value <= limit))
    return found
