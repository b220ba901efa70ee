"""What every storage driver must answer on a root of its own: the daemon's answers, to the byte.

A new driver is one more line in ``driver_samples.SAMPLES``. Where ours differ from the daemon's on purpose,
``differences.DIFFERENCES`` says so and why, and nothing else may differ.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import stat as modes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tree_facts
from differences import DIFFERENCES, check
from driver_samples import SAMPLES, Sample

from layerscope import open_root
from layerscope.errors import UnsupportedError
from layerscope.formats.units import human_size
from layerscope.model.container import Container
from layerscope.model.entry import Entry
from layerscope.model.level import Role
from layerscope.model.subject import Subject
from layerscope.overlay import MergedDirectory, MergedView, own_entries
from layerscope.services import Session

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0,
        reason="owners, device nodes and trusted.* marks of the samples are lost when unpacked without root",
    ),
]


@pytest.fixture(scope="module", params=SAMPLES, ids=lambda sample: f"{sample.folder}-{sample.answers}")
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each sample in turn."""
    found: Sample = request.param
    return found


@pytest.fixture(scope="module")
def root(sample: Sample, unpacked: Callable[[str], Path], podman_samples: dict[str, Path]) -> Path:
    """Its root, unpacked."""
    if sample.folder == "devicemapper/xfs":
        pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    return podman_samples[sample.driver] if sample.engine == "podman" else unpacked(sample.folder)


@pytest.fixture(scope="module")
def session(sample: Sample, root: Path) -> Iterator[Session]:
    """A session on it."""
    with open_root(root) as opened:
        yield opened


def run(root: Path, *arguments: str) -> bytes:
    """What the program writes; it must end well and say nothing else."""
    command = [sys.executable, "-m", "layerscope", "--root", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


# ---------------------------------------------------------------------- images
def test_images(sample: Sample, session: Session) -> None:
    ours = {
        usage.image.id: (
            list(usage.image.repo_tags),
            list(usage.image.repo_digests),
            usage.image.parent or "",
            usage.image.size,
            usage.image.created,
            list(usage.image.diff_ids),
            usage.image.architecture,
        )
        for usage in session.images()
    }
    theirs = {
        image["Id"]: (
            image["RepoTags"],
            image["RepoDigests"],
            image["Parent"],
            image["Size"],
            image["Created"],
            image["RootFS"]["Layers"],
            image["Architecture"],
        )
        for image in sample.answer("inspect-images.json")
    }
    assert {key: ours[key] for key in theirs} == theirs
    listed = sample.answer("images-a.jsonl")
    assert {image["ID"] for image in listed} == ours.keys()


def test_shared_and_unique_bytes(sample: Sample, session: Session) -> None:
    """Exactly where the daemon's API was asked, else in the words of its tables."""
    exact = sample.answer("api-system-df.json")
    ours = {usage.image.id: usage for usage in session.images()}
    if exact is not None:
        theirs = {image["Id"]: image for image in exact["Images"]}
        for key, image in theirs.items():
            usage = ours[key]
            assert usage.shared_size == image["SharedSize"]
            assert usage.unique_size == image["Size"] - image["SharedSize"]
            assert usage.containers == image["Containers"]
    for image in sample.answer("system-df-v.json")["Images"]:
        usage = ours[image["ID"]]
        assert usage.shared_size is not None and usage.unique_size is not None
        assert human_size(usage.shared_size, 4) == image["SharedSize"]
        assert human_size(usage.unique_size, 4) == image["UniqueSize"]
        name = f"{image['Repository']}:{image['Tag']}"
        check(sample.folder, "containers of", name, {str(usage.containers)}, {image["Containers"]})


def test_history(sample: Sample, session: Session) -> None:
    for image, told in sample.answer("history-cli.json").items():
        rows = session.history(session.find(image))
        assert [row.created_by for row in rows] == [row["CreatedBy"] for row in told]
        assert [row.comment for row in rows] == [row["Comment"] for row in told]
        for row, said in zip(rows, told, strict=True):
            assert said["Size"] in (str(row.size), human_size(row.size or 0))
    for image, told in (sample.answer("history.json") or {}).items():
        assert [row.size for row in session.history(session.find(image))] == [row["Size"] for row in told]


# ---------------------------------------------------------------------- containers
def inspected(sample: Sample) -> list[dict[str, Any]]:
    """What the daemon says of each container; one of aufs was asked about later than the others."""
    later: list[dict[str, Any]] = sample.answer("aufs-inspect-c4.json") or []
    found: list[dict[str, Any]] = sample.answer("inspect-containers.json")
    return found + later


def test_containers(sample: Sample, session: Session) -> None:
    def of(container: Container) -> tuple[Any, ...]:
        return (
            f"/{container.name}",
            container.image,
            container.image_id,
            container.state,
            container.exit_code,
            container.created,
            container.driver,
            dict(container.labels),
        )

    ours = {usage.container.id: of(usage.container) for usage in session.containers(sizes=False)}
    theirs = {
        told["Id"]: (
            told["Name"],
            told["Config"]["Image"],
            told["Image"],
            told["State"]["Status"],
            told["State"]["ExitCode"],
            told["Created"],
            told["Driver"],
            told["Config"]["Labels"] or {},
        )
        for told in inspected(sample)
    }
    assert ours == theirs


def test_sizes_of_containers(sample: Sample, session: Session) -> None:
    """SizeRw and SizeRootFs, in bytes. What a container of a pool that isn't there holds is not known."""
    ours = {usage.container.id: usage for usage in session.containers()}
    exact = {told["Id"]: told for told in sample.answer("api-containers.json") or ()}
    for told in inspected(sample):
        usage = ours[told["Id"]]
        size_rw = exact.get(told["Id"], told).get("SizeRw", 0)
        size_root = exact.get(told["Id"], told)["SizeRootFs"]
        if sample.engine == "podman":
            # What podman adds isn't all on the disk: tests/stores/test_podman_truth.py has the account.
            assert usage.size_rw is not None and usage.size_root_fs is not None
            assert usage.size_root_fs - usage.size_rw == size_root - size_rw
        elif sample.has_files:
            assert (usage.size_rw, usage.size_root_fs) == (size_rw, size_root)
        else:
            assert (usage.size_rw, usage.size_root_fs) == (None, size_root - size_rw)
    for row in sample.answer("ps-as.jsonl"):
        usage = ours[row["ID"]]
        if usage.size_rw is not None and usage.size_root_fs is not None:
            assert row["Size"] == f"{human_size(usage.size_rw)} (virtual {human_size(usage.size_root_fs)})"


def test_layers_of_containers(sample: Sample, session: Session, root: Path) -> None:
    """Image layers, the init layer, the writable layer; each lies where it is said to lie, and has its share."""
    sizes = {image["Id"]: image["Size"] for image in sample.answer("inspect-images.json")}
    roles = ["init", "rw"] if sample.engine == "docker" else ["rw"]
    for told in inspected(sample):
        subject = session.find(told["Id"])
        levels = session.levels(subject)
        assert [str(level.role) for level in levels if level.role is not Role.IMAGE] == roles
        if sample.engine == "docker":
            assert sum(level.size or 0 for level in levels[:-2]) == sizes[told["Image"]]
        if sample.has_files:
            assert all(level.path is not None for level in levels)
            assert all((root / (level.path or "")).is_dir() != sample.in_devices for level in levels)
            stack = session.stack(subject)
            usage = next(usage for usage in session.containers() if usage.container.id == told["Id"])
            assert stack[0].size == usage.size_rw
            if "init" in roles:
                assert stack[1].size == len("/proc/mounts")  # etc/mtab
        mounted = (told["GraphDriver"] or {}).get("Data") or {}
        if "UpperDir" in mounted:
            assert mounted["UpperDir"].endswith(f"/{levels[-1].path}")
        if "RootDir" in mounted:
            assert mounted["RootDir"].endswith(f"/{levels[-3].path}")


# ---------------------------------------------------------------------- docker diff
def diffs(sample: Sample) -> dict[str, list[str]]:
    """The lines of ``docker diff`` by container."""
    found: dict[str, list[str]] = dict(sample.answer("diff.json"))
    later = sample.answer("aufs-diff-c4.txt")
    return {**found, "c4": later} if later else found


def test_diff(sample: Sample, session: Session) -> None:
    for name, lines in diffs(sample).items():
        subject = session.find(name)
        if not sample.has_files:
            with pytest.raises(UnsupportedError, match="can't be read"):
                session.changes(subject)
            continue
        changes = session.changes(subject)
        assert [change.path for change in changes] == sorted((c.path for c in changes), key=os.fsencode)
        ours = {f"{change.kind}/{change.path}" for change in changes}
        check(sample.folder, "diff", name, ours, {f"{line[0]}{line[2:]}" for line in lines})
        quick = session.changes(subject, detail=False)
        assert [(change.kind, change.path) for change in quick] == [(change.kind, change.path) for change in changes]


def test_diff_as_program(sample: Sample, root: Path) -> None:
    if not sample.has_files:
        return
    name, lines = sorted(diffs(sample).items())[0]
    told = os.fsdecode(run(root, "diff", name)).splitlines()
    check(
        sample.folder,
        "diff",
        name,
        {line.replace(" ", "", 1) for line in told},
        {f"{line[0]}{line[2:]}" for line in lines},
    )
    assert [f"{change['kind']} {change['path']}" for change in json.loads(run(root, "diff", name, "--json"))] == told


# ---------------------------------------------------------------------- trees
def exports(sample: Sample) -> dict[str, tree_facts.Tree]:
    """What ``docker export`` gave of each container."""
    return {
        name: tree_facts.of_export_truth([{"pax": {}, **entry} for entry in listed])
        for name, listed in sample.answer("export.json").items()
    }


def test_tree_of_containers(sample: Sample, session: Session) -> None:
    if not sample.has_files:
        return
    for name, theirs in exports(sample).items():
        ours = tree_facts.of_session(session, session.find(name))
        known = DIFFERENCES.get((sample.folder, "tree", name))
        if known is None:
            assert ours == theirs, name
            continue
        assert ours.keys() == theirs.keys()
        assert {path for path in ours if ours[path] != theirs[path]} == known.more, known.reason
        for path in known.more:
            assert ours[path]._replace(mtime=0) == theirs[path]._replace(mtime=0)


def test_exported_tar(sample: Sample, session: Session, root: Path) -> None:
    if not sample.has_files:
        return
    name, theirs = min(item for item in exports(sample).items() if (sample.folder, "tree", item[0]) not in DIFFERENCES)
    out = io.BytesIO()
    assert session.export(session.find(name), out) == []
    assert tree_facts.of_tar(out.getvalue()) == theirs
    assert tree_facts.of_json(json.loads(run(root, "ls", "-R", name, "--json"))) == tree_facts.without_contents(theirs)


class Layer(NamedTuple):
    """A layer's tar as the daemon saved it: entries by path, paths that it removes, directories that it empties."""

    entries: tree_facts.Tree
    removed: frozenset[str]
    opaque: frozenset[str]


def saved_layers(sample: Sample) -> Iterator[tuple[str, list[Layer]]]:
    """The layers of each tagged image, base first."""
    for tag, saved in sample.answer("save-layers.json").items():
        yield tag, [_layer(layer["entries"]) for layer in saved["layers"]]


def _layer(listed: list[dict[str, Any]]) -> Layer:
    entries: dict[str, dict[str, Any]] = {}
    removed, opaque = set(), set()
    for entry in listed:
        path = posixpath.normpath("/" + entry["name"])[1:]
        folder, name = posixpath.split(path)
        if name == ".wh..wh..opq":
            opaque.add(folder)
        elif name.startswith(".wh."):
            removed.add(posixpath.join(folder, name.removeprefix(".wh.")))
        elif path:
            link = entry["link"] if entry["type"] != "1" else posixpath.normpath("/" + entry["link"])[1:]
            entries[path] = {**entry, "name": path, "link": link}
    return Layer(tree_facts.of_export_truth(entries.values()), frozenset(removed), frozenset(opaque))


def merge(layers: list[Layer]) -> tree_facts.Tree:
    """What the layers make together, by the rules of their tars; a link stays one if another name of it is replaced."""
    tree: tree_facts.Tree = {}
    files: dict[str, tuple[int, str]] = {}
    for number, layer in enumerate(layers):
        gone = [f"{path}/" for path in layer.opaque]
        gone += [f"{path}/" for path, fact in layer.entries.items() if fact.type != "5"]
        removed = tuple(f"{path}/" for path in layer.removed)
        tree = {
            path: fact
            for path, fact in tree.items()
            if not f"{path}/".startswith(removed) and not path.startswith(tuple(gone))
        }
        for path, fact in layer.entries.items():
            files[path] = number, fact.link if fact.type == "1" else path
            tree[path] = layer.entries[fact.link] if fact.type == "1" else fact
    names: dict[tuple[int, str], list[str]] = {}
    for path, fact in tree.items():
        if fact.type != "5":
            names.setdefault(files[path], []).append(path)
    for group in names.values():
        first, *others = sorted(group, key=os.fsencode)
        for path in others:
            tree[path] = tree[path]._replace(type="1", size=0, link=first, sha256=None)
    return tree


def of_view(session: Session, subject: Subject) -> tree_facts.Tree:
    """The entries of a view without their contents."""
    letters = {"file": "0", "symlink": "2", "char": "3", "block": "4", "dir": "5", "fifo": "6"}
    found: tree_facts.Tree = {}
    for entry in session.entries(subject, recursive=True):
        stat = entry.stat
        linked = entry.link_to is not None
        found[entry.path] = tree_facts.Fact(
            "1" if linked else letters[entry.type],
            modes.S_IMODE(stat.st_mode),
            stat.st_uid,
            stat.st_gid,
            stat.st_size if entry.type == "file" and not linked else 0,
            stat.st_mtime_ns // 1_000_000_000,
            entry.link_to or entry.target or "",
            "",
            (entry.xattrs or {}).get("security.capability"),
            None,
        )
    return found


def test_tree_of_images(sample: Sample, session: Session) -> None:
    """At every level, against the tars that the daemon saved."""
    for tag, layers in saved_layers(sample):
        for count in range(1, len(layers) + 1):
            assert of_view(session, session.find(f"{tag}@{count}")) == tree_facts.without_contents(
                merge(layers[:count])
            )


def what_a_level_did(view: MergedView, number: int) -> tuple[set[str], set[str], set[str]]:
    """The paths that a level holds, those that it removes, and those of its opaque directories."""
    held, removed, opaque = set(), set(), set()
    pending: list[MergedDirectory] = [view.cut(number).root]
    while pending:
        directory = pending.pop()
        for entry in own_entries(directory):
            if entry.hidden:
                removed.add(entry.path)
                continue
            held.add(entry.path)
            if entry.state == "opaque":
                opaque.add(entry.path)
            if entry.is_dir:
                pending.append(directory.child(entry.name))
    return held, removed, opaque


def test_what_each_layer_did(sample: Sample, session: Session) -> None:
    """Every path of a layer's tar is what the level did, by marks or by comparison with the level below: no other."""
    for tag, layers in saved_layers(sample):
        view = session.view(session.find(tag))
        for number, layer in enumerate(layers, 1):
            held, removed, opaque = what_a_level_did(view, number)
            assert removed == layer.removed, (tag, number)
            assert opaque == layer.opaque, (tag, number)
            check(sample.folder, f"layer {number}", tag, held, set(layer.entries))


def test_counts_of_layers(sample: Sample, session: Session) -> None:
    for tag, layers in saved_layers(sample):
        for level in session.stack(session.find(tag)):
            assert level.counts is not None
            layer = layers[level.level.number - 1]
            assert (level.counts.deleted, level.counts.opaque) == (len(layer.removed), len(layer.opaque))
            touched = level.counts.added + level.counts.modified + level.counts.metadata + level.counts.opaque
            assert touched <= len(layer.entries)
            if level.level.number == 1:
                assert level.counts.added == len(layer.entries)


def test_life_of_every_path(sample: Sample, session: Session) -> None:
    """The levels that hold a path, or take it away, are those whose tars do; links on the way lead elsewhere."""
    for tag, layers in saved_layers(sample):
        subject = session.find(tag)
        links = tuple(f"{path}/" for layer in layers for path, fact in layer.entries.items() if fact.type == "2")
        for path in sorted(set().union(*(layer.entries for layer in layers))):
            if path.startswith(links):
                continue
            life = session.blame(subject, "/" + path)
            for step in life.steps:
                layer = layers[step.level - 1]
                if step.event in ("deleted", "hidden"):
                    above = {path, *map(str, Path(path).parents)}
                    assert above & (layer.removed | layer.opaque | layer.entries.keys())
                else:
                    assert path in layer.entries
            assert life.visible == (path in merge(layers))


def test_stored_copies_are_those_of_the_tars(sample: Sample, session: Session) -> None:
    if not sample.has_files:
        return
    for tag, layers in saved_layers(sample):
        for number, layer in enumerate(layers, 1):
            for path, fact in layer.entries.items():
                if fact.type == "0":
                    with session.open_file(session.find(tag), "/" + path, level=number) as file:
                        assert tree_facts.digest(file.read()) == fact.sha256, (tag, number, path)


# ---------------------------------------------------------------------- the rest
def test_info(sample: Sample, session: Session) -> None:
    told, engine = session.info(), sample.answer("info.json")
    assert (told.driver, told.drivers) == (engine["Driver"], (sample.driver,))
    assert told.counts["containers"] == len(inspected(sample))
    assert told.counts["images"] == len({image["ID"] for image in sample.answer("images-a.jsonl")})
    if sample.has_files:
        assert told.problems == ()
        own = 2 if sample.engine == "docker" else 1
        assert told.counts["layer_directories"] >= told.counts["layers"] + own * told.counts["containers"]
    else:
        assert [problem.severity for problem in told.problems] == ["warning"]


def test_owners(sample: Sample, session: Session) -> None:
    for told in inspected(sample):
        for level in session.levels(session.find(told["Id"])):
            owners = session.owners(level.path or "")
            kinds = {owner.kind for owner in owners}
            assert kinds == {"image": {"image"}, "init": {"init"}, "rw": {"container"}}[str(level.role)]
            if str(level.role) != "image":
                assert {owner.id for owner in owners} == {told["Id"]}


def test_files_that_are_elsewhere_are_said_to_be(sample: Sample, session: Session) -> None:
    if sample.has_files:
        return
    tag, layers = next(saved_layers(sample))
    path = next(path for path, fact in layers[0].entries.items() if fact.type == "0" and fact.size)
    with pytest.raises(UnsupportedError, match=r"pool.*mount"):
        session.open_file(session.find(tag), "/" + path)
    entries: list[Entry] = list(session.entries(session.find(tag), "/", detail=False))
    assert entries
