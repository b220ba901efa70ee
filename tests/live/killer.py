"""A daemon killed in the middle of what it does, and the ledger of what it leaves behind."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException

from engine import ApiError, Engine
from ledger_facts import assert_closed, du
from operations import Operation

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.model.ledger import Ledger
from layerscope.services.ledger import ledger

LOST = {Category.ORPHAN, Category.TEMPORARY, Category.UNUSED_LAYER}
"""Classes of what nobody owns."""
FIRST_GUESS = 0.5
"""Seconds that an operation is taken to last before it was seen to the end."""


@dataclass
class Killer:
    """Kills a daemon in the middle of operations. ``hits`` are those that had begun and never ended."""

    engine: Engine
    rng: random.Random
    hits: Counter[str] = field(default_factory=Counter)
    lasted: dict[str, float] = field(default_factory=dict)
    turn: int = 0

    def hit(self, operation: Operation) -> None:
        """One kill at a random moment of the operation; the daemon stays dead."""
        self.turn += 1
        operation.prepare(self.engine, self.turn)
        outcome: list[BaseException | float] = []
        thread = threading.Thread(target=self._work, args=(operation, outcome))
        thread.start()
        time.sleep(self.rng.uniform(0.05, 0.95) * self.lasted.get(operation.name, FIRST_GUESS))
        before = list(outcome)
        self.engine.kill()
        thread.join(60)
        assert not thread.is_alive(), operation.name
        if before and isinstance(before[0], BaseException):  # it failed by itself
            if not (operation.name == "builder prune" and lost_lease(before[0])):
                raise before[0]
        elif isinstance(outcome[0], BaseException):
            self.hits[operation.name] += 1
        else:
            self.lasted[operation.name] = outcome[0]

    def _work(self, operation: Operation, outcome: list[BaseException | float]) -> None:
        start = time.monotonic()
        try:
            operation.work(self.engine, self.turn)
            outcome.append(time.monotonic() - start)
        except (ApiError, OSError, HTTPException, StopIteration, ValueError, KeyError) as error:
            outcome.append(error)

    def clear(self, boot: bool) -> None:
        """End what the daemon left running; with ``boot``, as a restart of the machine does, its mounts, too."""
        self.engine.kill_containers()
        if boot:
            self.engine.unmount()
        shutil.rmtree(self.engine.home / "x" / ("" if boot else "containerd"), ignore_errors=True)


def lost_lease(error: BaseException) -> bool:
    """Whether docker failed at a record of its build cache whose lease is gone.

    A kill can leave one. So can docker itself, where a prune follows at once on a build, which in the background still
    removes leases.
    """
    found = re.search(r"failed to remove \w+: lease .* not found", str(error))
    return isinstance(error, ApiError) and found is not None


def counted(engine: Engine) -> Ledger:
    """The ledger, taken while two du agree."""
    for _ in range(50):
        before = du(engine.root)
        with open_root(engine.root) as session:
            found = ledger(session)
        if before == du(engine.root):
            break
        time.sleep(0.1)
    assert_closed(found, before)
    assert found.unaccounted_disk == 0, [one for one in found.entries if one.category is Category.UNKNOWN]
    return found
