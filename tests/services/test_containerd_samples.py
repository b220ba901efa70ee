"""Real roots with a containerd store against what the engines that wrote them answered: in Python, and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tree_facts
from containerd_roots import truth
from usage_rows import by_time, image_row

from layerscope import open_root
from layerscope.model.level import Role
from layerscope.model.subject import ContainerUsage, Subject
from layerscope.services import Session
from layerscope.stores.base import CountsImages, Store, TellsOfRoot, TwoRoots

needs_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="owners, device nodes and trusted.* marks of the sample are lost when unpacked without root",
)
pytestmark = [pytest.mark.root, needs_root]


class Sample(NamedTuple):
    """A root, a session on it, and the folder of its engine's answers."""

    root: Path
    session: Session
    folder: str

    def truth(self, name: str) -> Any:
        """The engine's answer ``name``."""
        return truth(self.folder, name)

    def run(self, *arguments: str) -> bytes:
        """What the program writes; it must end well and say nothing else."""
        command = [sys.executable, "-m", "layerscope", "--root", str(self.root), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What the program answers with ``--json``."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module", params=["truth", "truth-managed"])
def sample(request: pytest.FixtureRequest, containerd_samples: Path) -> Iterator[Sample]:
    """docker 29 with a containerd root beside it; docker 28 with one inside."""
    root = containerd_samples / ("root" if request.param == "truth" else "root-managed") / "docker"
    with open_root(root) as session:
        yield Sample(root, session, request.param)


def blocks_survive(folder: Path) -> bool:
    """Whether writable snapshots, measured here, give the sizes that their engine measured.

    The samples come from ext4 with blocks of 4 KiB. Elsewhere a directory or a short file takes another number of
    blocks, so sizes of writable snapshots (SizeRw, and SizeRootFs that contains it) can't be compared; those of
    committed snapshots are stored, and compared everywhere.
    """
    probe = folder / "probe"
    (probe / "directory").mkdir(parents=True, exist_ok=True)
    (probe / "file").write_bytes(b"x")
    os.sync()
    return all((probe / name).stat().st_blocks == 8 for name in ("directory", "file"))


# ---------------------------------------------------------------------- images
def image_rows(sample: Sample) -> list[tuple[Any, ...]]:
    """What the engine said of every image, newest first."""
    inspected = sample.truth("image-inspect")
    rows = [
        (
            image["Id"],
            image["RepoTags"] or [],
            image["RepoDigests"] or [],
            image["ParentId"] or None,
            image["Size"],
            image["SharedSize"],
            image["Size"] - image["SharedSize"],
            image["Containers"],
            not image["RepoTags"] and image["Id"] not in {one["ParentId"] for one in sample.truth("images-all")},
            inspected[image["Id"]]["Created"],
            inspected[image["Id"]]["RootFS"]["Layers"],
            inspected[image["Id"]]["Architecture"],
            inspected[image["Id"]]["Os"],
            sum(manifest["Size"]["Content"] for manifest in image["Manifests"]),
            sum(manifest.get("ImageData", {}).get("Size", {}).get("Unpacked", 0) for manifest in image["Manifests"]),
        )
        for image in sample.truth("images-all")
    ]
    return sorted(sorted(rows), key=lambda row: by_time(row[9]), reverse=True)


def test_images(sample: Sample) -> None:
    told = [
        (*image_row(usage), usage.image.content_size, usage.image.unpacked_size) for usage in sample.session.images()
    ]
    assert told == image_rows(sample)
    assert len(told) == 15 and not any(usage.image.problems for usage in sample.session.images())


def test_images_as_json(sample: Sample) -> None:
    keys = (
        *("id", "repo_tags", "repo_digests", "parent", "size", "shared_size", "unique_size", "containers", "dangling"),
        *("created", "diff_ids", "architecture", "os", "content_size", "unpacked_size"),
    )
    told = [tuple(image[key] for key in keys) for image in sample.json("images", "--all")]
    wanted = image_rows(sample)
    assert told == wanted


def test_intermediate_images_are_listed_with_all_only(sample: Sample) -> None:
    listed = {image["Id"] for image in sample.truth("images")}
    assert {usage.image.id for usage in sample.session.images() if not usage.intermediate} == listed


def test_manifests(sample: Sample) -> None:
    """Platforms and attestations: which are here, which are unpacked, what each takes."""
    wanted = {
        image["Id"]: [
            (
                manifest["ID"],
                platform_of(manifest["Descriptor"]),
                manifest.get("AttestationData", {}).get("For"),
                manifest["Available"],
                manifest["Size"]["Content"],
                manifest.get("ImageData", {}).get("Size", {}).get("Unpacked", 0),
            )
            for manifest in image["Manifests"]
        ]
        for image in sample.truth("images-all")
    }
    for usage in sample.session.images():
        told = [
            (
                manifest.digest,
                manifest.platform if len(usage.image.manifests or ()) > 1 else None,
                manifest.attests,
                manifest.available,
                manifest.content_size,
                manifest.unpacked_size,
            )
            for manifest in usage.image.manifests or ()
        ]
        assert told == wanted[usage.image.id]
        assert [manifest.unpacked for manifest in usage.image.manifests or ()] == [row[5] > 0 for row in told]
    assert any(not row[3] for rows in wanted.values() for row in rows), "a platform that isn't here tests more"


def platform_of(descriptor: dict[str, Any]) -> str | None:
    """``os/architecture`` of a descriptor in an index."""
    platform = descriptor.get("platform")
    return None if platform is None else f"{platform['os']}/{platform['architecture']}"


def test_size_in_inspect_is_that_of_the_compressed_platform(sample: Sample) -> None:
    for image in sample.truth("images-all"):
        records = sample.session.records(sample.session.find(image["Id"]))
        assert records["pulled_size"] == sample.truth("image-inspect")[image["Id"]]["Size"]


def test_history(sample: Sample) -> None:
    for image in sample.truth("images-all"):
        rows = sample.session.history(sample.session.find(image["Id"]))
        wanted = sample.truth("image-history")[image["Id"]]
        assert [(row.created_by, row.comment, row.size) for row in rows] == [
            (row["CreatedBy"], row["Comment"], row["Size"]) for row in wanted
        ]
        levels = {level.number: level for level in sample.session.levels(sample.session.find(image["Id"]))}
        for row in rows:
            if row.level is not None:
                assert (levels[row.level].chain_id, levels[row.level].cache_id) == (row.chain_id, row.cache_id)


# ---------------------------------------------------------------------- stacks
def snapshots(sample: Sample) -> dict[str, tuple[str, str]]:
    """Parent ("" for none) and kind of each snapshot, as ``ctr snapshots ls`` printed them."""
    text = (Path(__file__).parents[1] / "data/containerd" / sample.folder / "ctr.txt").read_text()
    return read_snapshots(text.partition("== snapshots --snapshotter overlayfs ls\n")[2].partition("\n==")[0])


def read_snapshots(table: str) -> dict[str, tuple[str, str]]:
    """A table of ``ctr snapshots ls`` by key."""
    found = {}
    for line in table.splitlines()[1:]:
        words = line.split()
        found[words[0]] = (words[1] if len(words) == 3 else "", words[-1].lower())
    return found


def usage(sample: Sample) -> dict[str, int]:
    """Bytes of each snapshot, as ``ctr snapshots usage`` printed them."""
    text = (Path(__file__).parents[1] / "data/containerd" / sample.folder / "ctr-usage.txt").read_text()
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}


def test_snapshots(sample: Sample) -> None:
    store: Any = sample.session.store
    by_key = store.snapshots.by_key
    assert {key: (one.parent or "", one.kind) for key, one in by_key.items()} == snapshots(sample)
    sizes = usage(sample)
    committed = {key: one.size for key, one in by_key.items() if one.kind == "committed"}
    assert committed == {key: sizes[key] for key in committed} and len(committed) > 30


def chain(sample: Sample, top: str) -> list[str]:
    """The keys from the base to ``top`` by containerd's own list."""
    known, keys = snapshots(sample), []
    while top:
        keys.append(top)
        top = known[top][0]
    return keys[::-1]


def test_stacks_of_containers(sample: Sample) -> None:
    """Every member of the chain of parents is a level; those without a chain ID are init layers."""
    store: Any = sample.session.store
    sizes = usage(sample)
    hidden = 0
    for container in sample.truth("ps-as"):
        keys = chain(sample, container["Id"])
        levels = sample.session.levels(sample.session.find(container["Id"]))
        assert [level.cache_id for level in levels] == [store.snapshots.by_key[key].cache_id for key in keys]
        assert [level.chain_id for level in levels] == [key if key.startswith("sha256:") else None for key in keys]
        assert [level.size for level in levels[:-1]] == [sizes[key] for key in keys[:-1]]
        roles = [Role.IMAGE if key.startswith("sha256:") else Role.INIT for key in keys[:-1]]
        assert [level.role for level in levels] == [*roles, Role.RW]
        for level, key in zip(levels, keys, strict=True):
            if level.role is Role.INIT:
                assert level.created_by == f"layer for mount points of container {key[:12]}"
        hidden += roles.count(Role.INIT) - 1
    assert hidden == 6, "init layers of containers that are gone lie between the layers of committed images"


def test_stack_as_program(sample: Sample) -> None:
    told = sample.json("stack", "run1")
    assert [level["role"] for level in told] == ["rw", "init", "image", "image", "init", "image", "init", "image"]
    base = "io.containerd.snapshotter.v1.overlayfs/snapshots"
    inside = "containerd/daemon" if sample.folder == "truth-managed" else str(sample.root.parent / "containerd")
    assert [level["path"] for level in told] == [f"{inside}/{base}/{level['cache_id']}/fs" for level in told]
    assert all((sample.root / level["path"]).is_dir() for level in told)


# ---------------------------------------------------------------------- containers
def container_rows(sample: Sample) -> list[tuple[Any, ...]]:
    """What the engine said of every container, newest first."""
    inspected = sample.truth("container-inspect")
    rows = [
        (
            container["Id"],
            container["Names"][0].removeprefix("/"),
            container["ImageID"],
            container["Command"],
            container["State"],
            inspected[container["Names"][0].removeprefix("/")]["State"]["ExitCode"],
            inspected[container["Names"][0].removeprefix("/")]["Created"],
            dict(container["Labels"]),
        )
        for container in sample.truth("ps-as")
    ]
    return sorted(sorted(rows), key=lambda row: by_time(row[6]), reverse=True)


def test_ps(sample: Sample) -> None:
    told = [
        (
            one.id,
            one.name,
            one.image_id,
            one.command,
            one.state,
            one.exit_code,
            one.created,
            dict(one.labels),
        )
        for one in (usage.container for usage in sample.session.containers(sizes=False))
    ]
    assert told == container_rows(sample)
    assert not any(usage.container.problems for usage in sample.session.containers())


def test_sizes_of_containers(sample: Sample, tmp_path: Path) -> None:
    if not blocks_survive(tmp_path):
        pytest.skip("this file system is no ext4 with blocks of 4 KiB: measured sizes differ from the engine's")
    wanted = {one["Id"]: (one.get("SizeRw", 0), one["SizeRootFs"]) for one in sample.truth("ps-as")}
    told = {one.container.id: (one.size_rw, one.size_root_fs) for one in sample.session.containers()}
    assert told == wanted
    listed = {one["id"]: (one["size_rw"], one["size_root_fs"]) for one in sample.json("ps")}
    assert listed == wanted
    for id_, (size_rw, _) in wanted.items():
        assert sample.session.stack(sample.session.find(id_), counts=False)[0].size == size_rw


def test_everything_below_the_writable_layer_counts_as_recorded(sample: Sample) -> None:
    """On any file system: what isn't measured is the daemon's own."""
    below = {one["Id"]: one["SizeRootFs"] - one.get("SizeRw", 0) for one in sample.truth("ps-as")}

    def difference(one: ContainerUsage) -> int:
        assert one.size_root_fs is not None and one.size_rw is not None
        return one.size_root_fs - one.size_rw

    assert {one.container.id: difference(one) for one in sample.session.containers()} == below


def diff_lines(sample: Sample, name: str) -> list[str]:
    """The engine's list of changes in the client's form, sorted by path."""
    changes = sample.truth("container-diff")[name] or []
    lines = [f"{'CAD'[change['Kind']]} {change['Path']}" for change in changes]
    return sorted(lines, key=lambda line: os.fsencode(line[2:]))


def test_diff(sample: Sample) -> None:
    names = sample.truth("container-diff")
    assert set(names) >= {"run1", "exit1", "created1", "fromcommit", "orphan"}
    for name in names:
        changes = sample.session.changes(sample.session.find(name))
        assert [f"{change.kind} /{change.path}" for change in changes] == diff_lines(sample, name)
    assert len(diff_lines(sample, "run1")) == 50


def test_diff_as_program(sample: Sample) -> None:
    assert os.fsdecode(sample.run("diff", "run1")).splitlines() == diff_lines(sample, "run1")


def test_volumes(sample: Sample) -> None:
    wanted = [(volume["Name"], volume["Driver"]) for volume in sample.truth("volumes")["Volumes"]]
    assert [(volume.name, volume.driver) for volume in sample.session.store.volumes()] == wanted


def test_info(sample: Sample) -> None:
    told, engine = sample.json("info"), sample.truth("info")
    assert (told["store"], told["driver"], told["drivers"]) == ("containerd", engine["Driver"], [engine["Driver"]])
    assert told["counts"]["containers"] == engine["Containers"]
    assert told["counts"]["images"] == len(sample.truth("images-all"))
    assert told["counts"]["snapshots"] == len(snapshots(sample))
    assert told["engine"] == ("docker 29 or newer" if sample.folder == "truth" else "docker 24 to 28")
    assert told["namespace"] == engine["Containerd"]["Namespaces"]["Containers"]
    assert told["namespaces"] == ["moby", "moby_history"]
    place = "containerd/daemon" if sample.folder == "truth-managed" else "../containerd"
    assert told["containerd_root"] == os.path.normpath(sample.root / place)
    assert told["daemon"]["held"] is not True
    assert told["problems"] == []
    features = "; ".join(told["features"])
    for wanted in ("proved by 6", "hidden init layers", "attestations", "several platforms", "build cache"):
        assert wanted in features


def test_inspect(sample: Sample) -> None:
    for image in sample.truth("images-all"):
        records = json.dumps(sample.session.records(sample.session.find(image["Id"])))
        for manifest in image["Manifests"]:
            assert manifest["ID"] in records
    for container in sample.truth("container-inspect").values():
        text = json.dumps(sample.session.records(sample.session.find(container["Id"])))
        for fact in (container["Created"], container["Config"]["Image"], *container["Args"]):
            assert json.dumps(fact) in text


# ---------------------------------------------------------------------- the merged tree
@contextmanager
def kernel_mount(session: Session, subject: Subject, point: Path) -> Iterator[Path]:
    """All levels of a subject, mounted by the kernel, read-only."""
    point.mkdir(exist_ok=True)
    levels = session.levels(subject)
    folders = [os.fspath(session.path / (level.path or "")) for level in reversed(levels)]
    if len(folders) == 1:
        subprocess.run(["mount", "--bind", "-o", "ro", folders[0], str(point)], check=True)
    else:
        option = f"lowerdir={':'.join(folders)},ro"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", option, str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.overlayfs
def test_trees_of_containers(sample: Sample, tmp_path: Path) -> None:
    for name in ("run1", "exit1", "created1", "fromcommit", "orphan", "scratch1"):
        subject = sample.session.find(name)
        with kernel_mount(sample.session, subject, tmp_path / "merged") as merged:
            wanted = tree_facts.of_kernel(merged)
        assert tree_facts.exact_of_session(sample.session, subject) == wanted
        assert len(wanted) > 5


@pytest.mark.overlayfs
def test_trees_of_images(sample: Sample, tmp_path: Path) -> None:
    for name in ("demo/base:1", "demo/app:legacy", "demo/app:bk", "demo/commit:1", "demo/scratch:zstd", "demo/multi:1"):
        subject = sample.session.find(name)
        with kernel_mount(sample.session, subject, tmp_path / "merged") as merged:
            wanted = tree_facts.of_kernel(merged)
        assert tree_facts.exact_of_session(sample.session, subject) == wanted
        assert len(wanted) > 1


def test_files_as_program(sample: Sample) -> None:
    assert sample.run("cat", "exit1:/bye") == b"bye\n"
    assert tree_facts.of_json(sample.json("ls", "-R", "run1"))["etc/motd"].type == "0"
    exported = tree_facts.of_tar(sample.run("export", "run1"))
    assert tree_facts.by_first_name(exported) == tree_facts.of_session(sample.session, sample.session.find("run1"))


# ---------------------------------------------------------------------- containerd alone, under Kubernetes and ctr
@pytest.fixture(scope="module")
def node(containerd_samples: Path) -> Iterator[Session]:
    """The namespace ``k8s.io``, which is the default of that root."""
    with open_root(containerd_samples / "root-k8s/containerd") as session:
        yield session


def nanoseconds(text: str | None) -> int:
    """RFC 3339 to nanoseconds since 1970."""
    assert text is not None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0") or "0")


def test_kubernetes_images(node: Session) -> None:
    wanted = {
        image["repo_tags"][0]: (image["size"], image["id"]) for image in truth("truth-k8s", "cri-images")["images"]
    }
    assert sorted(wanted) == sorted(tag for usage in node.images() for tag in usage.image.repo_tags)
    for tag, (size, config) in wanted.items():
        subject = node.find(tag)
        records = node.records(subject)
        assert records["pulled_size"] == size, "Kubernetes counts what was pulled"
        assert config in {name["name"] for name in records["names"]}, "its own ID of the image is one of the names"
        assert node.find(tag.removeprefix("docker.io/")).image == subject.image


def test_kubernetes_containers(node: Session, tmp_path: Path) -> None:
    told = {usage.container.id: usage for usage in node.containers()}
    containers = truth("truth-k8s", "cri-containers")["containers"]
    states = {0: "created", 1: "running", 2: "exited"}
    for one in containers:
        container = told[one["id"]].container
        assert container.name == one["metadata"]["name"]
        assert container.image == one["image"]["image"]
        assert container.state == states[one["state"]]
        assert nanoseconds(container.created) == one["created_at"]
        assert one["labels"].items() <= container.labels.items()
        assert container.init_id is None and container.mount_id is not None
    (sandbox,) = truth("truth-k8s", "cri-sandboxes")["items"]
    assert told[sandbox["id"]].container.name == sandbox["metadata"]["name"]
    assert set(told) == {sandbox["id"], *(one["id"] for one in containers)}
    assert {usage.container.name: usage.container.exit_code for usage in told.values()} == {
        "web": 137,
        "job": 0,
        "pod1": None,
    }
    if not blocks_survive(tmp_path):
        pytest.skip("this file system is no ext4 with blocks of 4 KiB: measured sizes differ from the engine's")
    for one in truth("truth-k8s", "cri-container-stats")["stats"]:
        assert told[one["attributes"]["id"]].size_rw == one["writable_layer"]["used_bytes"]["value"]


def test_kubernetes_commands_are_those_of_the_specification(node: Session) -> None:
    for usage in node.containers(sizes=False):
        info = truth("truth-k8s", f"ctr-info-{usage.container.id}")
        words = [f"'{word}'" if " " in word else word for word in info["Spec"]["process"]["args"]]
        assert usage.container.command == " ".join(words)
        if info["Labels"]["io.cri-containerd.kind"] == "sandbox":
            assert usage.container.created == info["CreatedAt"]
        assert usage.container.config == info["Spec"]


@pytest.mark.parametrize("namespace", ["k8s.io", "default"])
def test_snapshots_of_each_namespace(containerd_samples: Path, namespace: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "data/containerd/truth-k8s/ctr.txt").read_text()
    table = text.partition(f"== {namespace} snapshots ls\n")[2].partition("\n==")[0]
    sizes = text.partition(f"== {namespace} usage\n")[2].partition("\n==")[0].splitlines()[1:]
    with open_root(containerd_samples / "root-k8s/containerd", namespace=namespace) as session:
        store: Any = session.store
        by_key = store.snapshots.by_key
        assert {key: (one.parent or "", one.kind) for key, one in by_key.items()} == read_snapshots(table)
        measured = {usage.container.id: usage.size_rw for usage in session.containers()}
        for line in sizes:
            key, size, _ = line.split()
            if by_key[key].kind == "committed":
                assert by_key[key].size == int(size)
            elif blocks_survive(tmp_path):
                assert measured[key] == int(size)


def test_a_container_of_ctr(containerd_samples: Path) -> None:
    with open_root(containerd_samples / "root-k8s/containerd", namespace="default") as session:
        (usage,) = session.containers()
        info = truth("truth-k8s", "ctr-info-plain1")
        assert (usage.container.id, usage.container.name) == ("plain1", "plain1")
        assert usage.container.image == info["Image"]
        assert usage.container.labels == info["Labels"]
        assert [level.role for level in session.levels(session.find("plain1"))] == [Role.IMAGE, Role.IMAGE, Role.RW]


@pytest.mark.overlayfs
def test_trees_under_kubernetes(node: Session, tmp_path: Path) -> None:
    for name in ("web", "job", "pod1"):
        subject = node.find(name)
        with kernel_mount(node, subject, tmp_path / "merged") as merged:
            wanted = tree_facts.of_kernel(merged)
        assert tree_facts.exact_of_session(node, subject) == wanted
        assert len(wanted) > 50


def test_a_levels_path_leads_to_its_directory(sample: Sample) -> None:
    for level in sample.session.levels(sample.session.find("run1")):
        assert level.path is not None
        wanted = sorted(os.listdir(sample.root / level.path), key=os.fsencode)
        assert sample.session.directory(level.path).names() == wanted
    assert sample.session.directory("containers").names() == sorted(os.listdir(sample.root / "containers"))


def test_the_store_has_every_ability(sample: Sample) -> None:
    store = sample.session.store
    assert isinstance(store, Store) and isinstance(store, TellsOfRoot)
    assert isinstance(store, TwoRoots) and isinstance(store, CountsImages)
    assert {path.name for path in sample.session.paths} == {"docker", sample.session.paths[-1].name}
