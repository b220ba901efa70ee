"""The rules for what no record tells by itself: each a function that looks for one kind of damage."""

from __future__ import annotations

import re
import stat as modes
from collections.abc import Callable, Iterator

from msgspec import Struct

from layerscope.analysis.doctor.evidence import Evidence, Sign
from layerscope.errors import CorruptError
from layerscope.formats.escape import escape
from layerscope.formats.tar.split import FileEntry, read_entries
from layerscope.hostfs import Directory
from layerscope.model.container import Container
from layerscope.model.diagnosis import Outcome
from layerscope.model.file_type import KIND_NAMES
from layerscope.model.problem import Severity

_LINKED = ("overlay2", "fuse-overlayfs")
_HOMES = {"aufs": "aufs/diff", "btrfs": "btrfs/subvolumes", "vfs": "vfs/dir"}
_MOST_WALKED = 1_000_000
_BLOCK = 512
_TEMPORARY = re.compile(r"\.tmp-.+|tmproot.*")


class Check(Struct, frozen=True):
    """One kind of damage, how it is recognised, and what is to be said of it."""

    rule: str
    look: Callable[[Evidence], Iterator[Sign]]
    outcome: Outcome
    docker: str
    readable: str
    repair: str
    severity: Severity


# ---------------------------------------------------------------------- directories of layers
def _home(evidence: Evidence) -> str:
    return _HOMES.get(evidence.driver_name, evidence.driver_name)


def unclaimed_directories(evidence: Evidence) -> Iterator[Sign]:
    """Layers' directories that no record names."""
    home = _home(evidence)
    for cache_id in evidence.unclaimed:
        folder = evidence.root.descend(home).enter(cache_id)
        try:
            folder.stat_self()
        except OSError:
            continue  # it went while we looked
        size = _disk_bytes(folder)
        if cache_id in evidence.unfinished:
            what = f"is being written, or its writing was interrupted: {size} bytes"
            yield Sign(f"{home}/{cache_id}", what, "look again when no pull, load or build runs", Severity.NOTE)
        else:
            yield Sign(f"{home}/{cache_id}", f"is claimed by no record: {size} bytes on the disk")


def _disk_bytes(top: Directory) -> int:
    """What a tree takes on the disk, each inode once; of a huge one the first million entries."""
    pending, blocks, walked = [top], 0, 0
    seen: set[tuple[int, int]] = set()
    while pending and walked < _MOST_WALKED:
        directory = pending.pop()
        try:
            blocks += directory.stat_self().st_blocks
            listed = directory.scan()
            stats = directory.stats(name for name, _ in listed)
        except OSError:
            continue
        for (name, kind), stat in zip(listed, stats, strict=True):
            walked += 1
            if stat is None:
                continue
            if kind == "d":
                pending.append(directory.enter(name))
                continue
            if stat.st_nlink > 1:
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            blocks += stat.st_blocks
    return blocks * _BLOCK


def short_names_without_layer(evidence: Evidence) -> Iterator[Sign]:
    """Names in ``l/`` that lead nowhere."""
    if evidence.driver_name not in _LINKED:
        return
    home = evidence.root.descend(evidence.driver_name)
    folder = home.enter("l")
    try:
        if names := folder.names():
            folder.stats(names[:1])
    except OSError as error:
        yield Sign(f"{evidence.driver_name}/l", f"can't be read: {error.strerror}", "", Severity.ERROR)
        return
    for name in names:
        path = f"{evidence.driver_name}/l/{name}"
        try:
            target = folder.readlink(name)
        except OSError:
            yield Sign(path, "is no symlink", "move it away while docker is stopped")
            continue
        parts = target.split("/")
        good = len(parts) == 3 and parts[0] == ".." and parts[2] == "diff"
        try:
            if good and home.enter(parts[1]).stat_or_none("diff") is not None:
                continue
        except OSError:
            pass
        yield Sign(path, f"leads to {escape(target)[:200]}, which isn't there")


def files_under_mount_points(evidence: Evidence) -> Iterator[Sign]:
    """``merged`` directories that hold something although nothing is mounted on them."""
    if evidence.driver is None or evidence.driver_name not in (*_LINKED, "overlay"):
        return
    home = evidence.root.descend(evidence.driver_name)
    for cache_id in evidence.driver.layer_ids():
        path = f"{evidence.driver_name}/{cache_id}/merged"
        if path in evidence.mounted:
            continue
        folder = home.enter(cache_id).enter("merged")
        try:
            if folder.scan():
                yield Sign(path, f"isn't mounted, and holds files of its own: {_disk_bytes(folder)} bytes on the disk")
        except OSError:
            continue


def contents_of_unused_layers(evidence: Evidence) -> Iterator[Sign]:
    """Layers of no image whose directory is gone: a killed build leaves such."""
    if evidence.driver is None or evidence.driver_name not in (*_LINKED, "overlay", *_HOMES):
        return
    used = {chain for image in evidence.images for chain in image.chain_ids}
    present = set(evidence.driver.layer_ids())
    for chain, layer in evidence.layers.items():
        if chain not in used and layer.cache_id is not None and layer.cache_id not in present:
            yield Sign(layer.path, f"names the directory {escape(layer.cache_id)[:80]}, which isn't there")


# ---------------------------------------------------------------------- records
def temporary_files(evidence: Evidence) -> Iterator[Sign]:
    """Half-written files among the records."""
    places = [evidence.records, f"{evidence.records}/imagedb/content/sha256", "containers", evidence.driver_name]
    places += [f"{evidence.records}/imagedb/metadata/sha256/{image.id[7:]}" for image in evidence.images]
    places += [f"containers/{container.id}" for container in evidence.containers]
    for place in places:
        folder = evidence.root.descend(place)
        try:
            names = [name for name in folder.names() if _TEMPORARY.fullmatch(name)]
            stats = folder.stats(names)
        except OSError:
            continue  # whoever reads the records there has told it
        for name, stat in zip(names, stats, strict=True):
            if stat is None:
                continue
            is_folder = modes.S_ISDIR(stat.st_mode)
            size = _disk_bytes(folder.enter(name)) if is_folder else stat.st_size
            yield Sign(f"{place}/{name}", f"is left of a write that didn't end: {size} bytes")


def records_of_strange_kinds(evidence: Evidence) -> Iterator[Sign]:
    """Links, FIFOs, sockets and devices in the place of records."""
    for path, word in evidence.strange:
        expected = "a file" if word == KIND_NAMES[modes.S_IFDIR] else "a file or a directory"
        yield Sign(path, f"is {word}, expected {expected}; it was not opened")


def tar_records(evidence: Evidence) -> Iterator[Sign]:
    """Records of layers' tars that are missing, can't be read, or name what lies outside of the layer."""
    for chain, layer in evidence.layers.items():
        path = f"{layer.path}/tar-split.json.gz"
        record = evidence.tar_split(chain)
        if record is None:
            if not any(problem.what == "holds no layer record" for problem in layer.problems):
                yield Sign(path, "is missing, or no regular file: the layer can't be verified")
            continue
        outside = 0
        with record:
            try:
                for entry in read_entries(record):
                    if isinstance(entry, FileEntry) and ".." in entry.name and ".." in entry.name.split("/"):
                        outside += 1
            except (CorruptError, OSError) as error:
                yield Sign(path, f"can't be read: {error}; the layer can't be verified")
        if outside:
            what = f"has {outside} names with “..” in them: they are taken as names inside of the layer"
            yield Sign(path, what, "look at the image with care: no engine makes such names", Severity.WARNING)


def running_in_a_dead_root(evidence: Evidence) -> Iterator[Sign]:
    """Containers recorded as running although no daemon has the root."""
    for container in evidence.containers:
        if container.unclean:
            what = f"says that the container {escape(_name(container))} runs, but no daemon has this root"
            yield Sign(f"containers/{container.id}/config.v2.json", what)


def _name(container: Container) -> str:
    return container.name or container.id[:12]


# ---------------------------------------------------------------------- what was looked for elsewhere
def marks_lost_in_copying(evidence: Evidence) -> Iterator[Sign]:
    """Whiteouts and opaque flags that a layer's record names and its directory doesn't have."""
    for problem in evidence.lost_marks:
        yield Sign(problem.path, problem.what)


def changed_layers(evidence: Evidence) -> Iterator[Sign]:
    """Layers whose files aren't those of their tar."""
    home = evidence.driver
    for verdict in evidence.verdicts:
        top = home.layer_path(verdict.cache_id) if home is not None and verdict.cache_id is not None else ""
        for finding in verdict.findings:
            if finding.path.startswith("/"):
                yield Sign(f"{top}{finding.path}", finding.what)
            elif finding.path.endswith("tar-split.json.gz"):
                yield Sign(finding.path, finding.what)


def unseen(evidence: Evidence) -> Iterator[Sign]:
    """What this user has no right to see."""
    for text in evidence.unseen:
        if not text.startswith("access times"):
            yield Sign("", f"can't be seen by this user: {text}")


CHECKS: tuple[Check, ...] = (
    Check(
        "directory of no record",
        unclaimed_directories,
        Outcome.KEEPS,
        "it never removes it",
        "its files, by their path",
        "remove it and its name in l/ while docker is stopped",
        Severity.WARNING,
    ),
    Check(
        "short name of no layer",
        short_names_without_layer,
        Outcome.KEEPS,
        "it ignores it and never removes it",
        "everything",
        "remove the symlink while docker is stopped",
        Severity.NOTE,
    ),
    Check(
        "files under a mount point",
        files_under_mount_points,
        Outcome.WORKS,
        "its next mount hides them; they take their space",
        "the files, by their path",
        "remove them while nothing is mounted there",
        Severity.WARNING,
    ),
    Check(
        "contents of unused layer missing",
        contents_of_unused_layers,
        Outcome.FAILS_ON_USE,
        "it keeps the record, and fails when a build or pull takes the layer for one that it has",
        "the names of its files, from the record of its tar",
        "stop docker and remove the record",
        Severity.WARNING,
    ),
    Check(
        "write interrupted",
        temporary_files,
        Outcome.KEEPS,
        "it never removes it",
        "everything else",
        "remove it while docker is stopped, unless it is the only whole copy",
        Severity.NOTE,
    ),
    Check(
        "record of a strange kind",
        records_of_strange_kinds,
        Outcome.UNKNOWN,
        "it follows a link wherever that leads, and waits for ever at a FIFO",
        "everything else",
        "look what it is, and who put it there; put the file back while docker is stopped",
        Severity.WARNING,
    ),
    Check(
        "tar record damaged",
        tar_records,
        Outcome.FAILS_ON_SAVE,
        "push and save of the layer fail; everything else works",
        "all files; they can't be verified",
        "load or pull the image again under another root and copy the record, or remove the image and pull it again",
        Severity.WARNING,
    ),
    Check(
        "running in a dead root",
        running_in_a_dead_root,
        Outcome.REPAIRS,
        "it marks the container as exited, or starts it by its restart policy",
        "everything",
        "none is needed",
        Severity.NOTE,
    ),
    Check(
        "marks lost",
        marks_lost_in_copying,
        Outcome.MOUNTS_OTHER,
        "it shows files that this layer deletes",
        "everything, deleted files as if they were there",
        "copy the root again, as root, with devices and extended attributes (tar --xattrs --xattrs-include='*')",
        Severity.ERROR,
    ),
    Check(
        "layer changed",
        changed_layers,
        Outcome.FAILS_ON_SAVE,
        "save and push say “could not verify layer data” if content differs; containers run on what is there",
        "everything; layerscope verify --deep tells more",
        "remove the image and pull it again",
        Severity.ERROR,
    ),
    Check(
        "no right to read",
        unseen,
        Outcome.UNKNOWN,
        "",
        "a part of the root",
        "run as root",
        Severity.WARNING,
    ),
)
