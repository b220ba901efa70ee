"""Names of images: ``image/<driver>/repositories.json``.

``{"Repositories": {familiar name: {reference: image ID}}}``; a reference is ``name:tag`` or ``name@digest``. docker
goes by the references alone, the names above them only group. Missing: docker makes a new, empty one. Empty or no
JSON: docker doesn't start. Source: moby refstore/store.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from layerscope.formats.reference import familiar_name, full_name, parse_reference
from layerscope.hostfs import Directory
from layerscope.model.digest import ImageID, is_digest
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import Fault, list_directory, read_bytes, shown
from layerscope.stores.records.json_record import LIMIT, parse

_FILE = "repositories.json"
_WITHOUT = "all images are shown without names"


class Repositories(msgspec.Struct):
    """The whole file."""

    repositories: dict[str, dict[str, str] | None] | None = msgspec.field(name="Repositories", default=None)


class References(Struct, frozen=True):
    """Which names each image has: familiar forms, sorted by their full form as docker sorts them."""

    tags: dict[ImageID, tuple[str, ...]]
    digests: dict[ImageID, tuple[str, ...]]
    problems: tuple[Problem, ...]

    def names_of(self, image: ImageID) -> tuple[str, ...]:
        """Tags, then digests, of one image."""
        return self.tags.get(image, ()) + self.digests.get(image, ())

    def images(self) -> set[ImageID]:
        """Every image that has a name, whether it exists or not."""
        return set(self.tags) | set(self.digests)


def read_references(directory: Directory, path: str) -> References:
    """The references in ``directory`` (that of the driver's records), whose path below the root is ``path``."""
    data = read_bytes(directory, _FILE, LIMIT)
    place = f"{path}/{_FILE}"
    if isinstance(data, Fault):
        if data.absent:
            effect = f"{_WITHOUT}; docker makes a new one at its next start"
            problem = data.problem(place, effect, _leftovers(directory, path), Severity.NOTE)
        else:
            problem = data.problem(place, _WITHOUT, _leftovers(directory, path))
        return References({}, {}, (problem,))
    record = parse(data, Repositories)
    problems: list[Problem] = []
    if record.faults:
        effect = "docker refuses to start" if record.refused else ""
        if record.typed.repositories is None:
            effect = f"{_WITHOUT}; {effect}" if effect else _WITHOUT
        severity = Severity.ERROR if record.refused else Severity.WARNING
        problems.append(Problem(place, record.what, effect, _leftovers(directory, path), severity))
    tags: dict[ImageID, list[str]] = {}
    digests: dict[ImageID, list[str]] = {}
    for group in (record.typed.repositories or {}).values():
        for reference, image in (group or {}).items():
            parts = parse_reference(reference)
            if parts is None or not (parts[1] or parts[2]) or not is_digest(image):
                what = f"names {shown(image)} by {shown(reference)}, which is no image ID or no reference"
                problems.append(Problem(place, what, "docker ignores this name", severity=Severity.WARNING))
                continue
            named = digests if parts[2] else tags
            named.setdefault(ImageID(image), []).append(familiar_name(reference))
    return References(_sorted(tags), _sorted(digests), tuple(problems))


def _sorted(names: dict[ImageID, list[str]]) -> dict[ImageID, tuple[str, ...]]:
    return {image: tuple(sorted(set(group), key=full_name)) for image, group in names.items()}


def _leftovers(directory: Directory, path: str) -> str:
    """Half-written copies beside the file, as a hint where the names may be found."""
    entries = list_directory(directory)
    names: Iterable[str] = () if isinstance(entries, Fault) else (name for name, kind in entries if kind == "f")
    copies = [name for name in names if name.startswith(f".tmp-{_FILE}")]
    return f"an unfinished copy is beside it: {path}/{copies[-1]}" if copies else ""
