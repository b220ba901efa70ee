"""Image configs: ``image/<driver>/imagedb/content/sha256/<hex>`` and the links in ``imagedb/metadata``.

docker compares a config's digest and its file's name at each read and hides an image where they differ.
``metadata/sha256/<hex>/parent`` names the image that a commit or a build step started from; other images have none.
Source: moby image/fs.go, image/store.go, image/image.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from layerscope.hostfs import Directory
from layerscope.model.digest import ImageID, digest_of, hex_of, is_digest, is_hex64
from layerscope.model.problem import Problem, Severity
from layerscope.stores.records.files import MISSING, Fault, list_directory, read_bytes, read_line, shown
from layerscope.stores.records.image_config import ConfigRecord, config_record
from layerscope.stores.records.json_record import LIMIT


def read_configs(imagedb: Directory, path: str) -> tuple[dict[ImageID, ConfigRecord], tuple[Problem, ...]]:
    """All configs below ``imagedb`` (its path below the root is ``path``) by image ID, and what else lies there."""
    content = imagedb.enter("content").enter("sha256")
    entries = list_directory(content)
    if isinstance(entries, Fault):
        return {}, () if entries.absent else (entries.problem(f"{path}/content/sha256", "no image can be read"),)
    records: dict[ImageID, ConfigRecord] = {}
    problems: list[Problem] = []
    misnamed: list[ConfigRecord] = []
    for name, _kind in entries:
        place = f"{path}/content/sha256/{name}"
        if name.startswith(".tmp-"):
            what = "is a config that is being written, or whose writing was interrupted"
            problems.append(Problem(place, what, severity=Severity.NOTE))
            continue
        data = read_bytes(content, name, LIMIT)
        if data == MISSING:
            continue
        if is_hex64(name):
            image = ImageID(f"sha256:{name}")
            records[image] = config_record(image, place, data)
        elif isinstance(data, bytes):
            misnamed.append(config_record(ImageID(digest_of(data)), place, data))
        else:
            problems.append(data.problem(place, severity=Severity.WARNING))
    for record in misnamed:
        what = f"is no image ID; the bytes are those of {record.id}"
        wrong_name = Problem(record.path, what, "docker skips this file", severity=Severity.ERROR)
        if record.id in records or not record.raw:
            problems.append(replace(wrong_name, severity=Severity.WARNING))
        else:
            records[record.id] = replace(record, problems=(wrong_name, *record.problems))
    problems.extend(_link_parents(records, imagedb.enter("metadata").enter("sha256"), f"{path}/metadata/sha256"))
    return records, tuple(problems)


def _link_parents(records: dict[ImageID, ConfigRecord], metadata: Directory, path: str) -> Iterator[Problem]:
    """Put the recorded parents on ``records``; links that lead back to where they began are cut."""
    entries = list_directory(metadata)
    if isinstance(entries, Fault):
        if not entries.absent:
            yield entries.problem(path, "which image came from which is unknown", severity=Severity.WARNING)
        return
    for name, kind in entries:
        image = ImageID(f"sha256:{name}")
        if image not in records:
            if kind == "d":
                yield Problem(f"{path}/{name}", "belongs to no image", severity=Severity.NOTE)
            continue
        text = read_line(metadata.enter(name), "parent")
        if isinstance(text, str) and is_digest(text.strip()):
            records[image] = replace(records[image], parent=ImageID(text.strip()))
        elif text != MISSING:
            fault = text if isinstance(text, Fault) else Fault(f"holds {shown(text)}, expected sha256:<64 digits>")
            effect = "what it was made from is unknown"
            problem = fault.problem(f"{path}/{name}/parent", effect, severity=Severity.WARNING)
            records[image] = replace(records[image], problems=(*records[image].problems, problem))
    for image in _in_circles(records):
        what = "names a parent that comes from this image itself"
        problem = Problem(f"{path}/{hex_of(image)}/parent", what, "the link is not followed", "", Severity.WARNING)
        record = records[image]
        records[image] = replace(record, parent=None, problems=(*record.problems, problem))


def _in_circles(records: dict[ImageID, ConfigRecord]) -> list[ImageID]:
    """The images whose parents lead back to themselves; each is passed a bounded number of times."""
    circles: list[ImageID] = []
    done: set[ImageID] = set()
    for start in records:
        trail: dict[ImageID, None] = {}
        image: ImageID | None = start
        while image is not None and image in records and image not in done and image not in trail:
            trail[image] = None
            image = records[image].parent
        if image is not None and image in trail:
            walked = list(trail)
            circles.extend(walked[walked.index(image) :])
        done.update(trail)
    return circles
