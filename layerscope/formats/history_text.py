"""The text that a builder leaves in an image's history for one step."""

from __future__ import annotations

import re

_SHELL = "/bin/sh -c "
_NO_LAYER = "#(nop) "
_BUILDKIT = " # buildkit"
_BLANKS = re.compile(r"\s+")
_SOURCE_DIGEST = re.compile(r"\b(file|dir|multi):[0-9a-f]{64}(?= in )")
"""The classic builder names what it copies by a digest, which would take all the room there is."""
_LONGEST = 400


def command_title(created_by: str) -> str:
    """A history command as its Dockerfile had it: on one line, without the shell that both builders put around it.

    Of ``COPY file:<digest> in /etc`` the digest is left out. At most 400 characters.

    Source: moby builder/dockerfile/dispatchers.go, BuildKit solver and its Dockerfile frontend.
    """
    text = _BLANKS.sub(" ", created_by[: _LONGEST * 4]).strip()
    text = text.removesuffix(_BUILDKIT)
    if text.startswith(_SHELL + _NO_LAYER):
        text = _SOURCE_DIGEST.sub(r"\1", text.removeprefix(_SHELL + _NO_LAYER).lstrip())
    elif text.startswith(_SHELL):
        text = "RUN " + text.removeprefix(_SHELL)
    elif text.startswith("RUN " + _SHELL):
        text = "RUN " + text.removeprefix("RUN " + _SHELL)
    return text[:_LONGEST]
