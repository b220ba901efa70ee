"""Runs the suite of ``conformance.py``."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("conformance")

from conformance import *  # noqa: E402, F403
