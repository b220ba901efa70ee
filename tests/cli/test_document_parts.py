"""Documents that are written in parts: the same bytes, and little of them held."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator

import pytest

from layerscope.cli.render import ledger_json
from layerscope.cli.render.document import Streamed, document, parts
from layerscope.model.claim import Category
from layerscope.model.ledger import NO_LINKS, Ledger, LedgerEntry
from layerscope.model.problem import Problem


class Row(dict[str, object]):
    """An element that can be watched."""


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_the_bytes_are_those_of_the_whole_document(count: int, terminal: bool):
    rows = [{"path": f"é\x7f\u2028 {number}", "disk": number, "cause": None} for number in range(count)]
    head = {"root": "/x", "classes": [{"class": "orphan"}]}
    made = b"".join(parts({**head, "entries": Streamed(lambda: iter(rows)), "problems": []}, terminal))
    text = json.dumps({**head, "entries": rows, "problems": []}, ensure_ascii=terminal, indent=2) + "\n"
    assert made == (text.replace("\x7f", "\\u007f") if terminal else text).encode()
    assert made == document({**head, "entries": rows, "problems": []}, terminal)


def test_few_elements_and_few_bytes_are_held():
    made: list[weakref.ref[Row]] = []
    most = 0

    def rows() -> Iterator[Row]:
        nonlocal most
        for number in range(5000):
            row = Row(path=str(number), disk=number)
            made.append(weakref.ref(row))
            most = max(most, sum(one() is not None for one in made[-10:]))
            yield row

    longest = max(map(len, parts({"entries": Streamed(rows)})))
    assert len(made) > 5000  # the first is asked for once more, to tell whether there is any
    assert most <= 3
    assert longest < 1 << 17


def test_a_ledger_is_written_as_it_is_made():
    entry = LedgerEntry("a", Category.ORPHAN, "o\udcff", "why", 4096, 4096, 3, 1, None, None, "", NO_LINKS)
    value = Ledger("/r", 4096, 4096, 0, (), (entry, entry), 0, False, (Problem("x", "is missing"),))
    shape = ledger_json.ledger(value)
    assert isinstance(shape["entries"], Streamed)
    whole = {**shape, "entries": [ledger_json.entry(entry)] * 2}
    assert b"".join(parts(shape)) == document(whole)
