"""Who claims what in ``image/<driver>/``: images, layers, mounts, names, and what was being written.

Source: moby image/fs.go, layer/filestore.go, reference/store.go, distribution/metadata; seen with 20.10.24 and 28.5.2,
of which the latter notes of an image that it was built here.
"""

from __future__ import annotations

import re

from layerscope.model.claim import Category, Claim, Place, by_pattern
from layerscope.model.digest import is_hex64
from layerscope.stores.docker.store import DockerStore

_LAYER_FILES = ("cache-id", "diff", "parent", "size", "tar-split.json.gz", "descriptor.json")
_IMAGE_NOTES = ("parent", "lastUpdated", "builtLocally")
_MOUNT_FILES = ("mount-id", "init-id", "parent")
_WRITE_SET = re.compile(r"write-set-\d+")
_REMOVING = re.compile(r"([0-9a-f]{64})-.*-removing")
_MOUNT_NAME = re.compile(r"[0-9a-z]{25}|[0-9a-f]{64}")


def records_of(store: DockerStore, prefix: str) -> Place:
    """``image/<driver>/`` of the driver of ``store``."""
    path = f"{prefix}image/{store.driver}"
    own = Claim(path, Category.RECORD, "docker", f"docker's records of the driver {store.driver}")
    unfinished = Claim(f"{path}/.tmp-", Category.TEMPORARY, "docker", "a record that was being written")
    return Place(
        own,
        names={
            "repositories.json": Place(own),
            "distribution": _distribution(path),
            "imagedb": _imagedb(store, path),
            "layerdb": _layerdb(path),
            ".migration-v1-images.json": Place(own),
            ".migration-v1-tags": Place(own),
        },
        rule=by_pattern((re.compile(r"\.tmp-repositories\.json\d+").fullmatch, Place(unfinished))),
    )


def _distribution(path: str) -> Place:
    claim = Claim(f"{path}/distribution", Category.RECORD, "docker", "where layers were pulled from or pushed to")
    partly = (re.compile(r"\.tmp-[0-9a-f]{64}\d+").fullmatch, Place(claim))
    digests = Place(claim, names={"sha256": Place(claim, rule=by_pattern((is_hex64, Place(claim)), partly))})
    return Place(claim, names={"diffid-by-digest": digests, "v2metadata-by-diffid": digests})


def _imagedb(store: DockerStore, path: str) -> Place:
    claim = Claim(f"{path}/imagedb", Category.RECORD, "docker", "docker's list of images")
    unfinished = Claim(f"{path}/imagedb/.tmp-", Category.TEMPORARY, "docker", "a record that was being written")
    names = {image.id: ", ".join(image.repo_tags) for image in store.images()}
    partly = (re.compile(r"\.tmp-.*\d").fullmatch, Place(unfinished))

    def claim_of(name: str, folder: str, reason: str) -> Claim:
        owner = names.get(f"sha256:{name}") or name[:12]  # type: ignore[call-overload]
        return Claim(f"{path}/imagedb/{folder}/sha256/{name}", Category.RECORD, owner, reason)

    def content(name: str) -> Place | None:
        if not is_hex64(name):
            return partly[1] if partly[0](name) else None
        return Place(claim_of(name, "content", "image config, named by its own digest"))

    def metadata(name: str) -> Place | None:
        if not is_hex64(name):
            return None
        place = Place(claim_of(name, "metadata", "what docker notes of an image"))
        files = dict.fromkeys(_IMAGE_NOTES, place)
        return Place(place.claim, names=files, rule=by_pattern(partly))

    folders = {"content": Place(claim, rule=content), "metadata": Place(claim, rule=metadata)}
    return Place(claim, names={name: Place(claim, names={"sha256": place}) for name, place in folders.items()})


def _layerdb(path: str) -> Place:
    claim = Claim(f"{path}/layerdb", Category.RECORD, "docker", "docker's list of layers")

    def layer(name: str) -> Place | None:
        place = f"{path}/layerdb/sha256/{name}"
        removing = _REMOVING.fullmatch(name)
        if removing is not None:
            half = Claim(place, Category.TEMPORARY, removing[1][:12], "a layer whose removal didn't end")
            return Place(half, names=_files(half, _LAYER_FILES))
        if not is_hex64(name):
            return None
        record = Claim(place, Category.RECORD, name[:12], "layer record, named by its chain ID")
        return Place(record, names=_files(record, _LAYER_FILES), folder=True)

    def mount(name: str) -> Place | None:
        if not _MOUNT_NAME.fullmatch(name):
            return None
        record = Claim(f"{path}/layerdb/mounts/{name}", Category.RECORD, name[:12], "record of a writable layer")
        return Place(record, names=_files(record, _MOUNT_FILES), folder=True)

    def write_set(name: str) -> Place | None:
        if not _WRITE_SET.fullmatch(name):
            return None
        reason = "a layer that is being written, or whose writing was interrupted"
        half = Claim(f"{path}/layerdb/tmp/{name}", Category.TEMPORARY, "docker", reason)
        return Place(half, names=_files(half, _LAYER_FILES))

    return Place(
        claim,
        names={
            "sha256": Place(claim, rule=layer),
            "mounts": Place(claim, rule=mount),
            "tmp": Place(claim, rule=write_set),
        },
    )


def _files(claim: Claim, names: tuple[str, ...]) -> dict[str, Place]:
    return dict.fromkeys(names, Place(claim))
