"""Tars that delete what they bring, and the like, imported by a real podman: what it made has no findings."""

from __future__ import annotations

from collections.abc import Iterator

import podman_engine
import pytest
from odd_tars import LOST_IN_TREES, OVER_A_WHITEOUT, TARS, packed
from podman_engine import Podman

from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

pytestmark = [pytest.mark.root, pytest.mark.podman]
REFUSED = {"overlay": OVER_A_WHITEOUT, "vfs": {"folder, whiteout"}}
"""What podman itself takes not."""
LOST = {"overlay": 0, "vfs": len(LOST_IN_TREES)}
"""Layers whose tar nobody can give back."""


@pytest.fixture(scope="module", params=podman_engine.KINDS[:2])
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    podman = podman_engine.made(str(request.param))
    try:
        yield podman
    finally:
        podman.remove()


def test_what_podman_made_has_no_findings(engine: Podman) -> None:
    refused = set()
    for number, (name, members) in enumerate(TARS.items()):
        try:
            engine.import_tar(packed(members), f"localhost/odd:{number}")
        except RuntimeError:
            refused.add(name)
    assert refused == REFUSED[engine.driver]
    with open_root(engine.root) as session:
        verdicts = list(verify(session, deep=True))
    assert len(verdicts) == len(TARS) - len(refused)
    assert [(one.chain_id, one.findings) for one in verdicts if one.findings] == []
    assert sum(one.ok is not True for one in verdicts) == LOST[engine.driver]
