"""How deep objects and lists may lie in each other in what somebody else wrote."""

from __future__ import annotations

from typing import Any

NESTING = 64
"""Levels that are read; docker's own records need fewer than ten."""


def deeper_than(value: object, limit: int) -> bool:
    """Whether containers lie in each other more than ``limit`` deep; without recursion."""
    level: list[Any] = [value]
    for _ in range(limit):
        below: list[Any] = []
        for container in level:
            members = container.values() if isinstance(container, dict) else container
            below.extend(member for member in members if isinstance(member, dict | list))
        if not below:
            return False
        level = below
    return True
