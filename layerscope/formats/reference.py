"""Image references: their grammar, their short ("familiar") and their full form.

``[domain/]path[:tag][@digest]``; without a domain it is ``docker.io``, there a path of one part lies in ``library/``.
A first part is a domain if it holds a dot, a colon or an upper-case letter, or is ``localhost``.
Source: github.com/distribution/reference, reference.go and normalize.go.
"""

from __future__ import annotations

import re

_LONGEST = 255 + 1 + 128 + 1 + 160
_DOMAIN_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128}))?"
)


def parse_reference(text: str) -> tuple[str, str | None, str | None] | None:
    """Name, tag and digest of a reference, None if ``text`` isn't one."""
    match = _REFERENCE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or len(match["name"]) > 255:
        return None
    return match["name"], match["tag"], match["digest"]


def full_name(text: str) -> str:
    """``text`` (a name, with or without tag or digest) with its domain, and ``library/`` where it belongs."""
    first, slash, rest = text.partition("/")
    if not slash or (not {".", ":"} & set(first) and first != "localhost" and first.lower() == first):
        domain, path = "docker.io", text
    else:
        domain, path = ("docker.io" if first == "index.docker.io" else first), rest
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return f"{domain}/{path}"


def familiar_name(text: str) -> str:
    """The short form that docker shows: without ``docker.io/`` and ``library/``."""
    full = full_name(text)
    if full.startswith("docker.io/"):
        short = full.removeprefix("docker.io/")
        inside = short.removeprefix("library/")
        return inside if "/" not in inside else short
    return full
