"""Every test here needs an engine: a dockerd, but for those of podman, which say so themselves."""

from __future__ import annotations

import pytest
from engine import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where no engine can run."""
    here = [item for item in items if item.path.is_relative_to(__file__.rpartition("/")[0])]
    here = [item for item in here if not item.path.name.startswith(("test_podman", "test_newer_podman"))]
    reason = missing() if here else None
    for item in here:
        item.add_marker("docker")
        item.add_marker("root")
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
