"""Layers of containers/storage that no image has, upon each other in any number: what takes them away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from many_roots import CREATED, digest

from layerscope.model.ledger import Ledger
from layerscope.model.reclaim import Removable
from layerscope.services.ledger import ledger
from layerscope.services.opening.root import open_root
from layerscope.services.reclaim import reclaim
from layerscope.stores.podman import unused_layers
from layerscope.stores.podman.layers import StoredLayer
from layerscope.stores.podman.store import PodmanStore

BLOCKS = 4096


def make_chain(root: Path, count: int, *, circle: bool = False) -> Path:
    """A root of ``count`` layers upon each other, and of no image."""
    for kind in ("layers", "images", "containers"):
        (root / f"overlay-{kind}").mkdir(parents=True)
        (root / f"overlay-{kind}" / f"{kind}.json").write_text("[]")
    names = [digest(f"layer {number}") for number in range(count)]
    layers = [{"id": name, "created": CREATED, "diff-digest": f"sha256:{name}", "diff-size": 1} for name in names]
    for number in range(count):
        if number or circle:
            layers[number]["parent"] = names[number - 1]
        files = root / "overlay" / names[number] / "diff"
        files.mkdir(parents=True)
        (files / "file").write_bytes(b"x" * BLOCKS)
    (root / "overlay-layers/layers.json").write_text(json.dumps(layers))
    return root


def removable(root: Path) -> tuple[Removable, Ledger]:
    with open_root(root) as session:
        assert isinstance(session.store, PodmanStore)
        found = ledger(session)
        return session.store.removable(found), found


def pairs(found: Removable) -> int:
    return sum(len(need) for needs in found.needs.values() for need in needs)


@pytest.mark.parametrize("circle", [False, True])
def test_a_deep_chain_costs_what_it_is_long(tmp_path: Path, circle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_layers, "MOST_PAIRS", 100, raising=False)
    counts = [pairs(removable(make_chain(tmp_path / str(count), count, circle=circle))[0]) for count in (50, 100, 200)]
    assert counts[2] <= 2 * counts[1] <= 4 * counts[0]


def test_what_is_told_as_one_comes_back_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much comes back as the same chain gives layer by layer; by itself the highest frees its own."""
    root = make_chain(tmp_path / "root", 30)
    with open_root(root) as session:
        each, alone = reclaim(session, ("unused-layers",)), reclaim(session)
    monkeypatch.setattr(unused_layers, "MOST_PAIRS", 100)
    with open_root(root) as session:
        together, as_one = reclaim(session, ("unused-layers",)), reclaim(session)
    assert each.frees_disk == together.frees_disk > 30 * BLOCKS
    assert not each.kept
    assert not together.kept
    (top,) = alone.candidates
    assert top.thing.id == f"overlay/{digest('layer 29')}"
    (all_,) = as_one.candidates
    assert all_.frees_disk == each.frees_disk
    assert all_.name == f"unused layer {digest('layer 0')[:12]} and 29 more"


def test_as_many_as_the_engine_mounts_are_told_one_by_one(tmp_path: Path) -> None:
    found, _ = removable(make_chain(tmp_path / "root", 500))
    assert sum(thing.kind == "unused-layer" for thing in found.names) == 500


def test_young_layers_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_chain(tmp_path / "root", 30)
    monkeypatch.setattr(unused_layers, "MOST_PAIRS", 100)
    moment = unused_layers.nanoseconds(CREATED)
    assert moment is not None
    monkeypatch.setattr(unused_layers.time, "time", lambda: moment / 1e9 + 5)
    with open_root(root) as session:
        answer = reclaim(session, ("unused-layers",))
    assert answer.frees_disk == 0
    assert answer.kept
    assert all(one.because == ("it was made a moment ago: a pull or build may be going on",) for one in answer.kept)


def test_what_each_layer_is_asked_for_is_gathered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying asks for the shifted owners, and for what was pulled in parts, layer by layer."""
    looks = 0
    told = StoredLayer.id_map.fget

    def counted(layer: StoredLayer) -> object:
        nonlocal looks
        looks += 1
        return told(layer)

    monkeypatch.setattr(StoredLayer, "id_map", property(counted))
    with open_root(make_chain(tmp_path / "root", 40)) as session:
        assert isinstance(session.store, PodmanStore)
        for _ in range(40):
            assert session.store.owner_maps() == {}
            assert session.store.pulled_in_parts() == frozenset()
    assert looks <= 3 * 40
