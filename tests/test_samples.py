"""Every looking verb on real roots against what the engine that wrote them answered: in Python, and as a program."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tree_facts
from usage_rows import by_time, container_row, image_row

from layerscope import open_root
from layerscope.services import Session

ANSWERS = [("overlay2", "truth"), ("overlay2", "truth-26.1"), ("overlay2-buildkit", "truth")]
NAMES = ["-".join(answer) for answer in ANSWERS]
needs_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="owners, device nodes and trusted.* marks of the sample are lost when unpacked without root",
)
pytestmark = [pytest.mark.root, needs_root]


class Sample(NamedTuple):
    """A root, a session on it, and the engine's answers by name."""

    root: Path
    session: Session
    truth: Callable[[str], Any]

    def json(self, *arguments: str) -> Any:
        """What the program answers with ``--json``; it must end well and say nothing else."""
        return json.loads(self.run(*arguments, "--json"))

    def run(self, *arguments: str) -> bytes:
        """What the program writes."""
        command = [sys.executable, "-m", "layerscope", "--root", str(self.root), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout


@pytest.fixture(scope="module", params=ANSWERS, ids=NAMES)
def sample(request: pytest.FixtureRequest) -> Iterator[Sample]:
    """One sample and one engine's answers about it."""
    name, folder = request.param
    root: Path = request.getfixturevalue("overlay2_root" if name == "overlay2" else "buildkit_root")
    answers = Path(__file__).parent / "data" / name / folder
    with open_root(root) as session:
        yield Sample(root, session, lambda answer: json.loads((answers / f"{answer}.json").read_text()))


def container_names(sample: Sample) -> list[str]:
    """The containers of the sample."""
    return sorted(sample.truth("diff"))


# ---------------------------------------------------------------------- images
def image_rows(sample: Sample) -> list[tuple[Any, ...]]:
    """What the engine said of every image, in the order of ``layerscope images``."""
    listed = {image["Id"]: image for image in sample.truth("api-system-df")["Images"]}
    inspected = {image["Id"]: image for image in sample.truth("inspect-images")}
    parents = {image["ParentId"] for image in sample.truth("api-images")}
    rows = []
    for image in sample.truth("api-images"):
        tags = [tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>"]
        digests = [name for name in image["RepoDigests"] or [] if name != "<none>@<none>"]
        counted = listed.get(image["Id"])
        rows.append(
            (
                image["Id"],
                tags,
                digests,
                image["ParentId"] or None,
                image["Size"],
                counted["SharedSize"] if counted else None,
                counted["Size"] - counted["SharedSize"] if counted else None,
                counted["Containers"] if counted else 0,
                not tags and image["Id"] not in parents,
                inspected[image["Id"]]["Created"],
                inspected[image["Id"]]["RootFS"]["Layers"],
                inspected[image["Id"]]["Architecture"],
                inspected[image["Id"]]["Os"],
            )
        )
    return sorted(sorted(rows), key=lambda row: by_time(row[9]), reverse=True)


def test_images(sample: Sample) -> None:
    assert [image_row(usage) for usage in sample.session.images()] == image_rows(sample)


def test_images_as_json(sample: Sample) -> None:
    keys = (
        *("id", "repo_tags", "repo_digests", "parent", "size", "shared_size", "unique_size", "containers", "dangling"),
        *("created", "diff_ids", "architecture", "os"),
    )
    assert [tuple(image[key] for key in keys) for image in sample.json("images", "--all")] == image_rows(sample)


def test_history(sample: Sample) -> None:
    for image, told in sample.truth("history").items():
        wanted = [(row["CreatedBy"], row["Comment"], row["Size"]) for row in told]
        rows = sample.session.history(sample.session.find(image))
        assert [(row.created_by, row.comment, row.size) for row in rows] == wanted
        layers = {image["Id"]: image["RootFS"]["Layers"] for image in sample.truth("inspect-images")}[image]
        assert [row.diff_id for row in rows[::-1] if row.diff_id] == layers


def test_history_as_json(sample: Sample) -> None:
    told = {image["RepoTags"][0]: image["Id"] for image in sample.truth("inspect-images") if image["RepoTags"]}
    for tag, image in told.items():
        rows = sample.json("history", tag)
        wanted = [(row["CreatedBy"], row["Comment"], row["Size"]) for row in sample.truth("history")[image]]
        assert [(row["created_by"], row["comment"], row["size"]) for row in rows] == wanted


def test_stack_of_images(sample: Sample) -> None:
    """What each layer holds: counted in the layer's own tar, as the engine saved it."""
    for tag, saved in sample.truth("save-layers").items():
        told = sample.json("stack", tag)
        assert [level["diff_id"] for level in told[::-1]] == [layer["diff_id"] for layer in saved["layers"]]
        for level, layer in zip(told[::-1], saved["layers"], strict=True):
            names = [os.path.basename(entry["name"]) for entry in layer["entries"] if entry["name"] not in (".", "./")]
            opaque = names.count(".wh..wh..opq")
            assert level["opaque"] == opaque
            assert level["deleted"] == sum(name.startswith(".wh.") for name in names) - opaque
            touched = level["added"] + level["modified"] + level["metadata"] + level["opaque"]
            assert touched <= sum(not name.startswith(".wh.") for name in names)
            if level["level"] == 1:
                assert level["added"] == len(names)


# ---------------------------------------------------------------------- containers
def container_rows(sample: Sample) -> list[tuple[Any, ...]]:
    """What the engine said of every container, newest first."""
    inspected = {container["Id"]: container for container in sample.truth("inspect-containers")}
    return [
        (
            container["Id"],
            container["Names"][0].removeprefix("/"),
            container["Image"],
            container["ImageID"],
            container["Command"],
            container["State"],
            inspected[container["Id"]]["State"]["ExitCode"],
            inspected[container["Id"]]["Created"],
            container.get("SizeRw", 0),
            container["SizeRootFs"],
            container["Labels"],
        )
        for container in sample.truth("api-containers")
    ]


def test_ps(sample: Sample) -> None:
    assert [container_row(usage) for usage in sample.session.containers()] == container_rows(sample)
    assert not any(usage.container.unclean for usage in sample.session.containers())


def test_ps_as_json(sample: Sample) -> None:
    keys = (
        *("id", "name", "image", "image_id", "command", "state", "exit_code", "created", "size_rw", "size_root_fs"),
        "labels",
    )
    assert [tuple(container[key] for key in keys) for container in sample.json("ps")] == container_rows(sample)


def test_stack_of_containers(sample: Sample) -> None:
    sizes = {container["Id"]: container.get("SizeRw", 0) for container in sample.truth("api-containers")}
    images = {image["Id"]: image["Size"] for image in sample.truth("api-images")}
    for container in sample.truth("inspect-containers"):
        mounted = container["GraphDriver"]["Data"]
        directories = [mounted["UpperDir"], *mounted["LowerDir"].split(":")]
        told = sample.json("stack", container["Id"])
        assert [level["path"] for level in told] == [path.removeprefix("/var/lib/docker/") for path in directories]
        assert [level["role"] for level in told[:3]] == ["rw", "init", "image"]
        assert told[0]["size"] == sizes[container["Id"]]
        assert sum(level["size"] for level in told[2:]) == images[container["Image"]]


def test_diff(sample: Sample) -> None:
    for name, lines in sample.truth("diff").items():
        wanted = sorted(lines, key=lambda line: os.fsencode(line[2:]))
        changes = sample.session.changes(sample.session.find(name))
        assert [f"{change.kind} /{change.path}" for change in changes] == wanted


def test_diff_as_program(sample: Sample) -> None:
    for name, lines in sample.truth("diff").items():
        wanted = sorted(lines, key=lambda line: os.fsencode(line[2:]))
        assert os.fsdecode(sample.run("diff", name)).splitlines() == wanted
        assert [f"{change['kind']} {change['path']}" for change in sample.json("diff", name)] == wanted


def test_directories_on_the_way_to_a_change_have_their_levels(sample: Sample) -> None:
    """A line that stands for what is below it names the levels that hold the directory, too."""
    seen = 0
    for container in sample.truth("inspect-containers"):
        mounted = container["GraphDriver"]["Data"]
        paths = [mounted["UpperDir"], *mounted["LowerDir"].split(":")]
        tops = [sample.root / path.removeprefix("/var/lib/docker/") for path in paths]
        for change in sample.json("diff", container["Id"]):
            if change["reason"] == "ancestor":
                seen += 1
                holding = [len(tops) - place for place, top in enumerate(tops) if (top / change["path"][1:]).is_dir()]
                assert (change["level"], change["level_below"]) == (len(tops), holding[1])
    assert seen


def test_corrected_diff_has_what_the_layer_tar_has(sample: Sample) -> None:
    """``committed`` is a commit of ``editor``: its top layer's tar lists what the container's layer holds."""
    saved = sample.truth("save-layers")["layerscope/committed:1.0"]["layers"][-1]["entries"]
    names = {entry["name"].strip("/") for entry in saved}
    changes = sample.json("diff", "editor", "--corrected")
    changed = {change["path"].strip("/") for change in changes if change["kind"] != "D"}
    assert changed <= {name for name in names if "/.wh." not in name}
    whiteouts = {name.replace("/.wh.", "/") for name in names if "/.wh." in name and not name.endswith("/.wh..wh..opq")}
    assert {change["path"].strip("/") for change in changes if change["reason"] == "whiteout"} == whiteouts


# ---------------------------------------------------------------------- the merged tree
def test_tree(sample: Sample) -> None:
    for name in container_names(sample):
        wanted = tree_facts.of_export_truth(sample.truth("export")[name])
        assert tree_facts.of_session(sample.session, sample.session.find(name)) == wanted


def test_tree_as_program(sample: Sample) -> None:
    for name in container_names(sample):
        wanted = tree_facts.of_export_truth(sample.truth("export")[name])
        assert tree_facts.without_contents(wanted) == tree_facts.of_json(sample.json("ls", "-R", name))
        assert tree_facts.of_tar(sample.run("export", name)) == wanted
        out = io.BytesIO()
        assert sample.session.export(sample.session.find(name), out) == []
        assert tree_facts.of_tar(out.getvalue()) == wanted


def test_order_of_a_listing(sample: Sample) -> None:
    paths = [entry.path for entry in sample.session.entries(sample.session.find("editor"), recursive=True)]
    assert paths == sorted(paths, key=os.fsencode)


def test_cat(sample: Sample) -> None:
    wanted = {entry["name"]: entry["sha256"] for entry in sample.truth("export")["editor"] if entry["type"] == "0"}
    for path in ("etc/motd", "data/sparse", "data/ünï ✓.txt"):
        assert tree_facts.digest(sample.run("cat", f"editor:/{path}")) == wanted[path]


# ---------------------------------------------------------------------- the rest
def test_info(sample: Sample) -> None:
    told, engine = sample.json("info"), sample.truth("info")
    assert told["driver"] == engine["Driver"]
    assert told["counts"]["images"] == engine.get("Images", len(sample.truth("api-images")))
    assert told["counts"]["containers"] == engine.get("Containers", len(sample.truth("api-containers")))
    assert told["counts"]["running"] == 0
    assert told["counts"]["volumes"] == len(sample.truth("api-volumes")["Volumes"])
    assert told["daemon"]["held"] is not True
    assert told["xattr_prefix"] == "trusted"
    assert told["problems"] == []


def test_whose(sample: Sample) -> None:
    for container in sample.truth("inspect-containers"):
        mounted = container["GraphDriver"]["Data"]
        upper = mounted["UpperDir"].removeprefix("/var/lib/docker/")
        owners = sample.json("whose", upper)
        assert [(owner["kind"], owner["id"]) for owner in owners] == [("container", container["Id"])]
        mount = f"overlay on / type overlay (rw,lowerdir={mounted['LowerDir']},upperdir={mounted['UpperDir']})"
        told = sample.json("whose", mount)
        assert {owner["id"] for owner in told if owner["kind"] == "container"} == {container["Id"]}
        assert container["Image"] in {owner["id"] for owner in told if owner["kind"] == "image"}


def test_inspect(sample: Sample) -> None:
    for container in sample.truth("inspect-containers"):
        text = json.dumps(sample.json("inspect", container["Id"]))
        for fact in (container["Created"], container["Config"]["Image"], *container["Args"]):
            assert json.dumps(fact) in text
