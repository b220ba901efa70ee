"""Where the demo's root is made."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from layerscope.services.demo import demo_root


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory and a directory for temporary files, both of this test alone."""
    cache = tmp_path / "cache"
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return cache


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's root, for all tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("ready")))
        return demo_root()
