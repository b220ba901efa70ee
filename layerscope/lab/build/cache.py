"""Which image a step needn't make anew: a child of the one before, made by the same configuration.

Source: moby image/cache/cache.go ``getLocalCachedImage``, compare.go, builder/dockerfile/imageprobe.go; 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from layerscope.formats.gotime import parse_rfc3339
from layerscope.model.digest import ImageID
from layerscope.model.image import Image

_LISTS = ("Cmd", "Env", "Entrypoint")
_SETS = ("ExposedPorts", "Volumes")
_VALUES = ("AttachStdout", "AttachStderr", "User", "Tty")


class StepCache:
    """The images that there are, as steps of a stage. After the first step without a match none is looked for."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._children: dict[ImageID | None, list[Image]] = {}
        for image in images:
            if image.config and not image.broken:
                self._children.setdefault(image.parent, []).append(image)
        self._ended = False

    def find(self, parent: ImageID | None, config: Mapping[str, Any], engine_history: int) -> Image | None:
        """The newest image made of ``parent`` by a container of this ``config``.

        ``engine_history``: rows that the image must have, so that an image that only lost its parent's record isn't
        taken for a first step.
        """
        if self._ended:
            return None
        best: Image | None = None
        for image in self._children.get(parent, ()):
            if len(image.config.get("history") or ()) != engine_history:
                continue
            if same_config(image.config.get("container_config"), config) and (
                best is None or _created(best) < _created(image)
            ):
                best = image
        self._ended = best is None
        return best


def _created(image: Image) -> int:
    return parse_rfc3339(image.created) or 0


def same_config(one: object, other: Mapping[str, Any]) -> bool:
    """Whether two configurations do the same, as docker compares them: host name and image play no part."""
    if not isinstance(one, Mapping) or one.get("OpenStdin") or other.get("OpenStdin"):
        return False
    if any((one.get(key) or "") != (other.get(key) or "") for key in _VALUES):
        return False
    if any(list(one.get(key) or ()) != list(other.get(key) or ()) for key in _LISTS):
        return False
    if dict(one.get("Labels") or {}) != dict(other.get("Labels") or {}):
        return False
    return all(set(one.get(key) or ()) == set(other.get(key) or ()) for key in _SETS)
