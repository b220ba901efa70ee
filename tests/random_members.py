"""Random tars of few names, so that members come again, replace each other, and are deleted behind or in front."""

from __future__ import annotations

import random
import tarfile

from odd_tars import Member, device, folder

_FOLDERS = ("d", "d/e", "g/h")
_LEAVES = ("a", "b", "d/a", "d/e/a", "d/e/b", "g/h/a")


def random_members(rng: random.Random) -> list[Member]:
    """Between two and twelve members. All but folders have one owner and mode, as names of one file must have."""
    facts = _facts(rng)
    return [_member(rng, facts) for _ in range(rng.randrange(2, 13))]


def _facts(rng: random.Random) -> dict[str, int]:
    return {"mode": rng.choice((0o600, 0o644, 0o4755)), "uid": rng.randrange(3), "gid": rng.randrange(3)}


def _member(rng: random.Random, facts: dict[str, int]) -> Member:
    name = rng.choice(_LEAVES)
    kind = rng.random()
    if kind < 0.2:
        return folder(rng.choice(_FOLDERS), **_facts(rng))
    if kind < 0.25:
        return folder(name, **_facts(rng))
    if kind < 0.55:
        return Member(name, rng.randbytes(rng.randrange(4)), facts)
    if kind < 0.65:
        return Member(name, b"", {"type": tarfile.SYMTYPE, "linkname": "nowhere", **facts})
    if kind < 0.75:
        return Member(name, b"", {"type": tarfile.LNKTYPE, "linkname": rng.choice(_LEAVES), **facts})
    if kind < 0.8:
        return device(name, 1, 3, **facts)
    if kind < 0.87:
        return Member(f"{rng.choice(_FOLDERS)}/.wh..wh..opq", b"", facts)
    above, _, last = rng.choice((*_FOLDERS[:1], *_LEAVES)).rpartition("/")
    return Member(f"{above}/.wh.{last}" if above else f".wh.{last}", b"", facts)
