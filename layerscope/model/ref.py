"""REF: how a person names an image or container, a cut through its stack, and a path in it.

    [image:|container:]NAME[@N][:PATH]

PATH begins with ``/`` and starts at the first ``:/`` (no reference can hold one). After that is taken off, a final
``@`` and digits is the cut: the file system as it was after level N (0 is empty). ``name@sha256:…`` is a digest.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from layerscope.errors import UsageError

SubjectKind = Literal["image", "container"]
_CUT = re.compile(r"(.*)@([0-9]{1,6})", re.DOTALL)


class Ref(Struct, frozen=True):
    """A parsed REF. ``kind``, ``cut`` and ``path`` are None where none was given; ``path`` keeps its leading slash."""

    name: str
    kind: SubjectKind | None = None
    cut: int | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a REF.

        Raises:
            UsageError: there is no name in it.
        """
        rest, kind, path, cut = text, None, None, None
        for word in ("image", "container"):
            if rest.startswith(word + ":"):
                kind, rest = word, rest[len(word) + 1 :]
                break
        at = rest.find(":/")
        if at >= 0:
            rest, path = rest[:at], rest[at + 1 :]
        match = _CUT.fullmatch(rest)
        if match:
            rest, cut = match[1], int(match[2])
        if not rest:
            raise UsageError(f"{text!r} names nothing: expected [image:|container:]NAME[@N][:/PATH]")
        return cls(rest, kind, cut, path)  # type: ignore[arg-type]
