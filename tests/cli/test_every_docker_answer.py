"""What the program says of each graph driver's root, field by field, against everything that its daemon was asked.

``tests/drivers/conformance.py`` has trees, changes and layers; here are the records: images, containers, volumes,
history and the tables of ``docker system df -v``, exact where the API was asked, in docker's words elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from differences import check, check_one
from driver_samples import SAMPLES, Sample
from sample_roots import DATA

from layerscope.formats.units import human_size

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="sizes of containers and volumes need a root unpacked by root"),
]
ROOT = "/var/lib/docker/"
NEVER = "0001-01-01T00:00:00Z"
AGES = re.compile(r"(?:Less than a second|About an? \w+|\d+ \w+) ago")


class Asked:
    """One sample: what its daemon answered, and what the program says."""

    def __init__(self, sample: Sample, root: Path, ask: Any) -> None:
        self.sample, self.root, self._ask = sample, root, ask

    def answer(self, name: str) -> Any:
        """The daemon's answer, by its file's name; empty if that wasn't asked."""
        return self.sample.answer(name) or []

    def said(self, *words: str) -> Any:
        """What a verb says with ``--json``."""
        return self._ask(*words, "--json", root=self.root).json

    def lines(self, *words: str) -> list[str]:
        """What a verb prints."""
        lines: list[str] = self._ask(*words, root=self.root).lines
        return lines

    def containers(self) -> list[dict[str, Any]]:
        """``docker inspect`` of every container; one of aufs was made later than the others."""
        return [*self.answer("inspect-containers.json"), *self.answer("aufs-inspect-c4.json")]

    def check(self, question: str, subject: str, ours: object, theirs: object) -> None:
        """The same, but for what the table of differences says."""
        check_one(self.sample.folder, question, subject, ours, theirs)


@pytest.fixture(
    params=[sample for sample in SAMPLES if sample.engine == "docker"], ids=lambda one: f"{one.folder}-{one.answers}"
)
def asked(request: pytest.FixtureRequest, unpacked: Callable[[str], Path], ask: Any) -> Asked:
    """Each root of docker's graph drivers in turn."""
    sample: Sample = request.param
    if sample.folder == "devicemapper/xfs":
        pytest.importorskip("dissect.xfs", reason="dissect.xfs, which is optional, isn't installed")
    return Asked(sample, unpacked(sample.folder), ask)


def seconds(text: str) -> int:
    """RFC 3339 in UTC to seconds since 1970."""
    return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())


def listed_at(text: str) -> str:
    """RFC 3339 in UTC as docker's ``CreatedAt`` has it."""
    return f"{text[:10]} {text[11:19]} +0000 UTC"


def named(names: list[str] | None) -> list[str]:
    """The names of an image without docker's word for none."""
    return [name for name in names or [] if not name.startswith("<none>")]


# ---------------------------------------------------------------------- images
def test_images(asked: Asked) -> None:
    ours = {image["id"]: image for image in asked.said("images", "--all")}
    for told in asked.answer("inspect-images.json"):
        image, records = ours[told["Id"]], asked.said("inspect", told["Id"])
        assert (image["repo_tags"], image["repo_digests"]) == (told["RepoTags"], told["RepoDigests"])
        assert (image["parent"] or "", image["created"]) == (told["Parent"], told["Created"])
        assert (image["size"], image["size"]) == (told["Size"], told["VirtualSize"])
        assert (image["architecture"], image["os"]) == (told["Architecture"], told["Os"])
        assert image["diff_ids"] == told["RootFS"]["Layers"]
        config = records["config"]
        assert (config.get("author", ""), config.get("docker_version", "")) == (told["Author"], told["DockerVersion"])
        # An image without a comment of its own has that of its newest step.
        assert (config.get("comment") or config["history"][-1].get("comment", "")) == told["Comment"]
        assert config.get("container", "") == told.get("Container", config.get("container", ""))
        assert config["config"].get("Labels") == told["Config"]["Labels"]
    rows = asked.answer("images-a.jsonl")
    assert ours.keys() == {row["ID"] for row in rows}
    names = {(key, name) for key, image in ours.items() for name in image["repo_tags"] or ["<none>:<none>"]}
    assert {(row["ID"], f"{row['Repository']}:{row['Tag']}") for row in rows} == names
    for row in rows:
        image = ours[row["ID"]]
        assert [human_size(image["size"], digits) for digits in (3, 4)] == [row["Size"], row["VirtualSize"]]
        assert (listed_at(image["created"]), row["Digest"]) == (row["CreatedAt"], "<none>")


def test_images_of_the_api(asked: Asked) -> None:
    ours = {image["id"]: image for image in asked.said("images", "--all")}
    for told in asked.answer("api-images.json"):
        image = ours.pop(told["Id"])
        assert (image["repo_tags"], image["repo_digests"]) == (named(told["RepoTags"]), named(told["RepoDigests"]))
        assert (image["parent"] or "", seconds(image["created"])) == (told["ParentId"], told["Created"])
        assert image["size"] == told["Size"]
        labels = asked.said("inspect", told["Id"])["config"]["config"].get("Labels")
        assert labels == told["Labels"]
    assert not ours or not asked.answer("api-images.json")
    for key, told in dict(asked.answer("image-tree.json")).items():
        image = next(image for image in asked.said("images", "--all") if image["id"] == key)
        assert (image["diff_ids"], image["parent"] or "") == (told["Layers"], told["Parent"])
        assert image["repo_tags"] == named(told["RepoTags"])


def test_images_without_all_are_those_of_disk_usage(asked: Asked) -> None:
    ours = {image["id"]: image for image in asked.said("images")}
    assert ours.keys() == {told["ID"] for told in asked.answer("system-df-v.json")["Images"]}
    for told in asked.answer("system-df-v.json")["Images"]:
        image = ours[told["ID"]]
        assert [human_size(image["size"], digits) for digits in (3, 4)] == [told["Size"], told["VirtualSize"]]
        assert human_size(image["shared_size"], 4) == told["SharedSize"]
        assert human_size(image["unique_size"], 4) == told["UniqueSize"]
        assert listed_at(image["created"]) == told["CreatedAt"]
        name = f"{told['Repository']}:{told['Tag']}"
        assert name in image["repo_tags"]
        asked.check("containers of", name, image["containers"], told["Containers"])
    exact = dict(asked.answer("api-system-df.json"))
    for told in exact.get("Images", []):
        image = ours[told["Id"]]
        assert (image["size"], image["shared_size"], image["containers"]) == (
            told["Size"],
            told["SharedSize"],
            told["Containers"],
        )
        assert image["unique_size"] == told["Size"] - told["SharedSize"]
        assert (image["repo_tags"], image["parent"] or "") == (named(told["RepoTags"]), told["ParentId"])
        assert seconds(image["created"]) == told["Created"]


def test_history(asked: Asked) -> None:
    tables = asked.answer("history-cli.json")
    exact = dict(asked.answer("history.json"))
    assert not exact or exact.keys() == tables.keys()
    for image, told in tables.items():
        rows = asked.said("history", image)
        assert [(row["created_by"], row["comment"]) for row in rows] == [
            (row["CreatedBy"], row["Comment"]) for row in told
        ]
        assert all(
            row["Size"] in (str(ours["size"]), human_size(ours["size"])) for ours, row in zip(rows, told, strict=True)
        )
        assert [row["created"][:19] for row in rows] == [row["CreatedAt"][:19] for row in told]
        assert asked.lines("history", image, "--no-trunc", "-q") == [row["ID"] for row in told]
        if exact:
            assert [(row["created_by"], row["comment"], row["size"], seconds(row["created"])) for row in rows] == [
                (row["CreatedBy"], row["Comment"], row["Size"], row["Created"]) for row in exact[image]
            ]
            assert [row["Id"] for row in exact[image]] == [row["ID"] for row in told]


# ---------------------------------------------------------------------- containers
def test_containers(asked: Asked) -> None:
    ours = {one["id"]: one for one in asked.said("ps")}
    assert ours.keys() == {told["Id"] for told in asked.containers()}
    for told in asked.containers():
        one, state = ours[told["Id"]], told["State"]
        assert (f"/{one['name']}", one["image"], one["image_id"]) == (
            told["Name"],
            told["Config"]["Image"],
            told["Image"],
        )
        assert (one["created"], one["driver"]) == (told["Created"], told["Driver"])
        assert (one["state"], one["exit_code"], one["unclean"]) == (state["Status"], state["ExitCode"], False)
        name = one["name"]
        for key, moment in (("started_at", state["StartedAt"]), ("finished_at", state["FinishedAt"])):
            asked.check(key, name, one[key], None if moment == NEVER else moment)
        assert one["labels"] == (told["Config"]["Labels"] or {})
        assert one["mounts"] == sorted(
            (
                {
                    "type": mount["Type"],
                    "name": mount["Name"],
                    "source": mount["Source"],
                    "destination": mount["Destination"],
                    "rw": mount["RW"],
                }
                for mount in told["Mounts"]
            ),
            key=lambda mount: str(mount["destination"]),
        )
        log = told["LogPath"]
        assert (one["log_path"] or "") == log[log.find("containers/") :] if log else one["log_path"] is None
        records = asked.said("inspect", told["Id"])
        config = records["config.v2.json"]
        assert (config["Path"], config["Args"], config["RestartCount"]) == (
            told["Path"],
            told["Args"],
            told["RestartCount"],
        )
        assert config["State"]["OOMKilled"] == state["OOMKilled"]
    for told in asked.answer("inspect-cli.json"):
        one = ours[told["Id"]]
        assert (one["size_rw"], one["size_root_fs"]) == (told.get("SizeRw", 0), told["SizeRootFs"])


def test_containers_of_the_api(asked: Asked) -> None:
    ours = {one["id"]: one for one in asked.said("ps")}
    usage = dict(asked.answer("api-system-df.json")).get("Containers", [])
    for told in (*asked.answer("api-containers.json"), *usage):
        one = ours[told["Id"]]
        assert ([f"/{one['name']}"], one["image"], one["image_id"]) == (told["Names"], told["Image"], told["ImageID"])
        assert (one["command"], seconds(one["created"])) == (told["Command"], told["Created"])
        assert (one["state"], one["labels"]) == (told["State"], told["Labels"])
        assert (one["size_rw"], one["size_root_fs"]) == (told.get("SizeRw", 0), told["SizeRootFs"])
        keys = {"type": "Type", "name": "Name", "destination": "Destination", "rw": "RW"}  # lists leave sources out
        mounts = sorted(told["Mounts"], key=lambda mount: str(mount["Destination"]))
        assert [{key: mount[key] for key in keys} for mount in one["mounts"]] == [
            {key: mount[name] for key, name in keys.items()} for mount in mounts
        ]


def without_age(text: str) -> str:
    """A status with its age left out, which is another one now."""
    return AGES.sub("AGE", text)


def test_tables_of_containers(asked: Asked) -> None:
    """``docker ps -as`` and ``docker system df -v``: the cells that don't age are ours."""
    told = asked.answer("ps-as.jsonl")
    titles = {"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "Status": "STATUS", "Ports": "PORTS"}
    titles |= {"Names": "NAMES", "Size": "SIZE"}
    cells = by_title(asked.lines("ps", "--no-trunc"))
    ours = {row["CONTAINER ID"]: row for row in cells}
    by_id = {one["id"]: one for one in asked.said("ps")}
    for row in (*told, *asked.answer("system-df-v.json")["Containers"]):
        mine, one = ours[row["ID"]], by_id[row["ID"]]
        for key, title in titles.items():
            if key == "Size":
                if asked.sample.has_files:
                    assert mine[title].startswith(row[key])
            else:
                assert without_age(mine[title]) == without_age(row[key])
        assert (one["state"], listed_at(one["created"])) == (row["State"], row["CreatedAt"])
        assert one["labels"] == dict(label.split("=", 1) for label in row["Labels"].split(",") if label)
        volumes = [mount["name"] for mount in one["mounts"] if mount["type"] == "volume"]
        assert str(len(volumes)) == row["LocalVolumes"]
        assert sorted(volumes) == sorted(name for name in row["Mounts"].split(",") if name)


def by_title(lines: list[str]) -> list[dict[str, str]]:
    """The rows of a table as docker prints them, by the titles of its columns."""
    found = [(match[0], match.start()) for match in re.finditer(r"\S+(?: \S+)*", lines[0])]
    ends = [*found, ("", None)]
    return [
        {title: line[start:end].rstrip() for (title, start), (_, end) in pairwise(ends)} for line in lines[1:] if line
    ]


# ---------------------------------------------------------------------- volumes, and docker's own summary
def test_volumes(asked: Asked) -> None:
    told = [*asked.answer("volume-ls.jsonl"), *dict(asked.answer("api-volumes.json")).get("Volumes", [])]
    if not told:
        assert asked.said("info")["counts"]["volumes"] == 0
        return
    assert asked.said("info")["counts"]["volumes"] == len({volume["Name"] for volume in told})
    for volume in told:
        path = volume["Mountpoint"].removeprefix(ROOT)
        owners = asked.said("whose", path)
        assert [(owner["kind"], owner["names"]) for owner in owners] == [("volume", [volume["Name"]])]
        assert volume["Scope"] == "local"


def part(lines: list[str], heading: str) -> list[dict[str, str]]:
    """One table of ``df --docker``."""
    start = next(number for number, line in enumerate(lines) if line.startswith(heading)) + 2
    stop = next((number for number, line in enumerate(lines[start:], start) if not line), len(lines))
    return by_title(lines[start:stop])


def test_tables_of_disk_usage(asked: Asked) -> None:
    lines = asked.lines("df", "--docker")
    told = asked.answer("system-df-v.json")
    images = {row["IMAGE ID"]: row for row in part(lines, "Images space")}
    assert len(images) == len(told["Images"])
    for row in told["Images"]:
        mine = images[row["ID"].removeprefix("sha256:")[:12]]
        keys = ("REPOSITORY", "TAG", "SIZE", "SHARED SIZE", "UNIQUE SIZE")
        names = ("Repository", "Tag", "VirtualSize", "SharedSize", "UniqueSize")
        assert [mine[key] for key in keys] == [row[name] for name in names]
        asked.check("containers of", f"{row['Repository']}:{row['Tag']}", mine["CONTAINERS"], row["Containers"])
    containers = {row["CONTAINER ID"]: row for row in part(lines, "Containers space")}
    assert len(containers) == len(asked.containers())
    for row in told["Containers"]:
        mine = containers[row["ID"][:12]]
        assert (mine["IMAGE"], mine["LOCAL VOLUMES"], mine["NAMES"]) == (
            row["Image"],
            row["LocalVolumes"],
            row["Names"],
        )
        assert without_age(mine["STATUS"]) == without_age(row["Status"])
        assert mine["SIZE"] == row["Size"] if asked.sample.has_files else mine["SIZE"] == "?"
    volumes = {row["VOLUME NAME"]: row for row in part(lines, "Local Volumes")}
    assert volumes.keys() == {row["Name"] for row in told["Volumes"] or []}
    for row in told["Volumes"] or []:
        assert (volumes[row["Name"]]["LINKS"], volumes[row["Name"]]["SIZE"]) == (row["Links"], row["Size"])
    cache = {row["CACHE ID"]: row for row in part(lines, "Build cache")}
    assert cache.keys() == {row["ID"][:12] for row in told["BuildCache"] or []}
    for row in told["BuildCache"] or []:
        mine = cache[row["ID"][:12]]
        keys, names = ("CACHE TYPE", "SIZE", "USAGE", "SHARED"), ("CacheType", "Size", "UsageCount", "Shared")
        assert [mine[key] for key in keys] == [row[name] for name in names]


def test_summary_of_disk_usage(asked: Asked) -> None:
    """The lines of ``docker system df`` are sums of what the tables hold."""
    told = {row["Type"]: row for row in asked.answer("system-df.jsonl")}
    if not told:
        return
    exact = asked.answer("api-system-df.json") or {}
    images, containers = asked.said("images"), asked.said("ps")
    assert told["Images"]["TotalCount"] == str(len(images))
    assert told["Images"]["Active"] == str(sum(image["containers"] > 0 for image in images))
    layers: dict[str, int] = {}
    for image in images:
        for level in asked.said("stack", image["id"]):
            layers[level["chain_id"]] = level["size"]
    assert human_size(sum(layers.values()), 4) == told["Images"]["Size"]
    if exact:
        assert sum(layers.values()) == exact["LayersSize"]
    assert told["Containers"]["TotalCount"] == str(len(containers))
    assert told["Containers"]["Active"] == str(sum(one["state"] == "running" for one in containers))
    assert human_size(sum(one["size_rw"] for one in containers), 4) == told["Containers"]["Size"]
    lines = asked.lines("df", "--docker")
    volumes = part(lines, "Local Volumes")
    assert told["Local Volumes"]["TotalCount"] == str(len(volumes))
    assert told["Local Volumes"]["Active"] == str(sum(row["LINKS"] != "0" for row in volumes))
    cache = part(lines, "Build cache")
    assert told["Build Cache"]["TotalCount"] == str(len(cache))
    if exact:
        sizes = {volume["Name"]: volume["UsageData"] for volume in exact["Volumes"]}
        assert {row["VOLUME NAME"]: (row["LINKS"], row["SIZE"]) for row in volumes} == {
            name: (str(data["RefCount"]), human_size(data["Size"], 4)) for name, data in sizes.items()
        }


def test_changes_of_the_api(asked: Asked) -> None:
    for name, told in dict(asked.answer("api-changes.json")).items():
        ours = {f"{change['kind']}{change['path']}" for change in asked.said("diff", name)}
        check(
            asked.sample.folder,
            "diff",
            name,
            ours,
            {f"{'CAD'[change['Kind']]}{change['Path']}" for change in told or []},
        )


def test_info(asked: Asked) -> None:
    told, ours = asked.answer("info.json"), asked.said("info")
    assert (ours["driver"], ours["drivers"]) == (told["Driver"], [told["Driver"]])
    asked.check(
        "number of", "containers", ours["counts"]["containers"], told.get("Containers", len(asked.containers()))
    )
    assert ours["counts"]["running"] == told.get("ContainersRunning", 0)
    assert ours["counts"]["images"] == told.get("Images", len(asked.answer("inspect-images.json")))


# ---------------------------------------------------------------------- what one driver's engine was asked besides
def lines_of(folder: str, name: str) -> list[str]:
    """One of the texts beside the answers."""
    return (DATA / folder / "truth" / name).read_text().splitlines()


def test_the_container_of_aufs_that_was_made_later(unpacked: Callable[[str], Path], ask: Any) -> None:
    """``docker export``'s names, and the branches of its mount while it ran, top first."""
    root = unpacked("aufs")
    entries = ask("ls", "-R", "c4", "--json", root=root).json
    names = {entry["path"][1:] + ("/" if entry["type"] == "dir" else "") for entry in entries}
    assert names == set(lines_of("aufs", "aufs-export-c4.txt"))
    branches = [line.split()[1] for line in lines_of("aufs", "aufs-sysfs.txt") if re.search(r"/br\d+ ", line)]
    paths = [branch.partition("=")[0].partition("/root/")[2] for branch in branches]
    levels = ask("stack", "c4", "--json", root=root).json
    assert [level["path"] for level in levels] == paths
    (mount,) = lines_of("aufs", "mounts-aufs-live.txt")
    owners = ask("whose", f"aufs/mnt/{Path(mount.split()[1]).name}", "--json", root=root).json
    assert {(owner["kind"], *owner["names"]) for owner in owners} == {("container", "c4")}


def test_directories_of_aufs_are_those_of_the_engines_machine(unpacked: Callable[[str], Path]) -> None:
    """The sample is what the engine left: every entry of its driver's folder with type, mode, links and target."""
    top = unpacked("aufs") / "aufs"
    told = {line.split()[0]: line.split()[1:] for line in lines_of("aufs", "aufs-find.txt") if " " in line}
    assert len(told) > 200
    for name, (kind, mode, size, links, *target) in told.items():
        stat = os.lstat(top / name)
        assert f"{stat.st_mode & 0o7777:o}" == mode, name
        if kind != "d":
            assert (str(stat.st_size), str(stat.st_nlink)) == (size, links), name
        assert target == ([os.readlink(top / name)] if kind == "l" else []) or kind != "l"


def test_a_list_of_zfs_gives_each_level_its_bytes(unpacked: Callable[[str], Path], ask: Any) -> None:
    rows = {line.split("\t")[0].rpartition("/")[2]: line.split("\t") for line in lines_of("zfs", "zfs-list.tsv")}
    listed = DATA / "zfs" / "truth" / "zfs-list.tsv"
    seen = set()
    for name in ("c1", "c2", "c3", "lab/base:1", "lab/a:1", "lab/b:1"):
        drawn = ask("--zfs-list", str(listed), "stack", name, root=unpacked("zfs")).lines
        for level in ask("--zfs-list", str(listed), "stack", name, "--json", root=unpacked("zfs")).json:
            referenced, by_dataset = (int(value) for value in rows[level["cache_id"]][2:4])
            assert (level["disk"]["referenced"], level["disk"]["exclusive"]) == (referenced, by_dataset)
            words = f"{human_size(by_dataset, 3)} its own of {human_size(referenced, 3)}"
            assert any(line.startswith(f"{level['level']} ") and words in line for line in drawn)
            seen.add(level["cache_id"])
    assert seen == {name for name in rows if name != "docker" and "@" not in name}
