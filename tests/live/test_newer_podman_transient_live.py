"""Containers of a transient store: podman records them in the run root, while their files lie in the root."""

from __future__ import annotations

import podman_engine
import pytest
from ledger_facts import assert_closed, du
from newer_podman_world import BASE, QUIET
from podman_engine import LIMITS
from podman_story import base_tar

from layerscope import open_root
from layerscope.model.claim import Category
from layerscope.services.ledger import ledger
from layerscope.services.reclaim import reclaim

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.full]


def test_what_runs_is_no_orphan() -> None:
    """Once it is gone, without podman having removed it, nobody has it any more."""
    podman = podman_engine.made("newer overlay")
    try:
        podman.import_tar(base_tar(), BASE)
        words = ("--name", "passing", BASE, "sh", "-c", "echo x > /x; sleep 10000")
        container = podman.run("--transient-store", "run", *LIMITS, *QUIET, "-d", *words).strip()
        (told,) = podman.json("--transient-store", "inspect", "passing")
        layer = told["GraphDriver"]["Data"]["UpperDir"].removesuffix("/diff").removeprefix(f"{podman.root}/")
        with open_root(podman.root) as session:
            found = {one.path: one for one in ledger(session).entries}
            assert_closed(ledger(session), du(podman.root))
            words_of_orphans = reclaim(session, ("orphans",)).frees_disk
        assert found[layer].category is Category.CONTAINER_RW
        assert found[f"overlay-containers/{container}"].category is Category.CONTAINER_RECORD
        assert words_of_orphans == 0
        podman.run("--transient-store", "kill", "passing")
        podman.run("--transient-store", "wait", "passing")
        with open_root(podman.root) as session:
            found = {one.path: one for one in ledger(session).entries}
        assert found[layer].category is Category.ORPHAN
        assert found[f"overlay-containers/{container}"].category is Category.ORPHAN
    finally:
        podman.remove()
