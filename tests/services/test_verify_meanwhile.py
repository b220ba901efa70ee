"""Layers that an engine removes, or makes anew, while they are verified; and those that are only damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sample_roots import copied

from layerscope.services import Session
from layerscope.services.opening.root import open_root
from layerscope.services.verify.layers import verify

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and modes of the sample need root to be unpacked")


class Place(NamedTuple):
    """A layer of a root: its record, its files, the configs of all images."""

    root: Path
    record: Path
    files: Path
    configs: Path

    @property
    def name(self) -> str:
        return f"sha256:{self.record.name}"


@pytest.fixture
def layer(overlay2_root: Path, tmp_path: Path) -> Place:
    """The top layer of an image: no other stands on it."""
    root = copied(overlay2_root, tmp_path / "root")
    records = root / "image/overlay2"
    layers = list((records / "layerdb/sha256").iterdir())
    below = {(one / "parent").read_text() for one in layers if (one / "parent").exists()}
    record = min(one for one in layers if f"sha256:{one.name}" not in below)
    return Place(
        root, record, root / "overlay2" / (record / "cache-id").read_text(), records / "imagedb/content/sha256"
    )


@pytest.fixture
def session(layer: Place) -> Iterator[Session]:
    """The root, of which all records were read."""
    with open_root(layer.root) as opened:
        yield opened


def read(session: Session) -> None:
    session.store.images(), session.store.containers(), session.store.layers()


def remove(layer: Place) -> None:
    shutil.rmtree(layer.record)
    shutil.rmtree(layer.files)


def make_anew(layer: Place) -> None:
    (layer.record / "cache-id").write_text("f" * 64)
    layer.files.rename(layer.files.with_name("f" * 64))


@pytest.mark.parametrize(("change", "why"), [(remove, "was removed"), (make_anew, "was made anew")])
def test_what_an_engine_changes_is_not_wrong(
    session: Session, layer: Place, change: Callable[[Place], None], why: str
) -> None:
    read(session)
    change(layer)
    (found,) = [verdict for verdict in verify(session, processes=1) if verdict.chain_id == layer.name]
    assert found.ok is None
    assert found.skipped is not None and why in found.skipped
    assert found.findings == ()


def test_files_that_are_gone_from_under_a_record_are_wrong(session: Session, layer: Place) -> None:
    read(session)
    shutil.rmtree(layer.files)
    (found,) = [verdict for verdict in verify(session, processes=1) if verdict.chain_id == layer.name]
    assert found.ok is False


@pytest.mark.parametrize("named", [True, False])
def test_a_missing_record_is_wrong_as_long_as_something_names_it(session: Session, layer: Place, named: bool) -> None:
    remove(layer)
    read(session)
    if not named:
        shutil.rmtree(layer.configs)
        shutil.rmtree(layer.record.parents[1] / "mounts")
    (found,) = [verdict for verdict in verify(session, processes=1) if verdict.chain_id == layer.name]
    assert found.ok is (False if named else None)
