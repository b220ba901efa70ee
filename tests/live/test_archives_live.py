"""Image archives of a real engine and of skopeo, held against what the daemon says of the same images."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tree_facts
from engine import Engine, Tar
from world import World

from layerscope import open_root
from layerscope.services import Session
from layerscope.services.measured_sizes import measured_history, measured_images

TAGS = ["world/app:1", "world/committed:1", "world/base:1"]
OF_THE_INIT_LAYER = {".dockerenv", "dev", "proc", "sys", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf"}
OF_THE_INIT_LAYER |= {"etc/mtab", "dev/console", "dev/pts", "dev/shm"}
NOT_COMPARED = {*OF_THE_INIT_LAYER, "srv"}
"""``srv`` is in no tar of the base image, so that its time is that of the unpacking."""
SKOPEO = shutil.which("skopeo")


Facts = tuple[int, int, int, int]
"""Mode, owner, group and modification time in whole seconds."""


@dataclass
class Saved:
    """What the daemon said, and where its archives are. ``trees`` are ``docker export`` of containers never started.

    ``relinked`` is what the daemon made of names whose headers in ``relinked.tar`` contradict each other.
    """

    folder: Path
    ids: dict[str, str] = field(default_factory=dict)
    inspected: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    trees: dict[str, tree_facts.Tree] = field(default_factory=dict)
    relinked: dict[str, Facts] = field(default_factory=dict)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    engine = Engine("overlay2")
    folder = tmp_path_factory.mktemp("saved")
    try:
        engine.start()
        World(engine).populate()
        found = Saved(folder)
        for tag in TAGS:
            told = engine.get(f"/images/{tag}/json")
            found.ids[tag], found.inspected[tag] = told["Id"], told
            found.history[tag] = engine.get(f"/images/{tag}/history")
            container = engine.create(tag, ["/bin/busybox", "true"])
            found.trees[tag] = tree_facts.by_first_name(tree_facts.of_tar(engine.export(container)))
        names = "&".join(f"names={tag}" for tag in TAGS)
        (folder / "saved.tar").write_bytes(engine.call("GET", f"/images/get?{names}"))
        engine.import_image(names_with_other_headers(), "world/relinked:1")
        (folder / "relinked.tar").write_bytes(engine.call("GET", "/images/world/relinked:1/get"))
        top = Path(engine.get("/images/world/relinked:1/json")["GraphDriver"]["Data"]["UpperDir"])
        found.relinked = {path.name: facts_of(path.lstat()) for path in top.iterdir()}
    finally:
        engine.remove()
    yield found


def names_with_other_headers() -> bytes:
    """A file and a symlink whose further names say other things of them than their own headers."""
    tar = Tar()
    tar.add("file", b"content", uid=3, gid=4, mode=0o4600)
    tar.link("link", "file", uid=5, gid=6)
    tar.add("second", kind=tarfile.LNKTYPE, linkname="file", uid=7, gid=8, mode=0o751, mtime=1_600_000_000)
    tar.add("third", kind=tarfile.LNKTYPE, linkname="file", uid=9, gid=10, mode=0o2640, mtime=1_500_000_000)
    tar.add("other", kind=tarfile.LNKTYPE, linkname="link", uid=11, gid=12, mode=0o600, mtime=1_400_000_000)
    return tar.bytes()


def facts_of(stat: os.stat_result) -> Facts:
    return stat.st_mode, stat.st_uid, stat.st_gid, int(stat.st_mtime)


# ---------------------------------------------------------------------- the forms that an archive may have
def as_saved(saved: Saved) -> Path:
    return saved.folder / "saved.tar"


def compressed(saved: Saved) -> Path:
    path = saved.folder / "saved.tar.gz"
    if not path.exists():
        path.write_bytes(gzip.compress(as_saved(saved).read_bytes(), 1))
    return path


def by_skopeo(target: str, *options: str) -> Callable[[Saved], Path]:
    def make(saved: Saved) -> Path:
        if SKOPEO is None:
            pytest.skip("skopeo is not installed (apt-get install skopeo)")
        kind, _, name = target.partition(":")
        path = saved.folder / name
        if not path.exists():
            for tag in TAGS:
                source = f"docker-archive:{as_saved(saved)}:{tag}"
                # Of docker archives one holds what is written at once, so that each tag has a file of its own.
                command = [SKOPEO, "--insecure-policy", "copy", "-q", *options, source, f"{kind}:{path}:{tag}"]
                for _ in range(12):
                    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
                    if "write too long" not in done.stderr:
                        break
                    path.unlink(missing_ok=True)  # it copies layers at once, which now and then spoils such a tar
                assert not done.returncode, done.stderr
                if kind != "oci":
                    break
        return path

    return make


def with_both_indexes(saved: Saved) -> Path:
    """The form of docker 25 and newer: an OCI layout whose tar has a ``manifest.json`` for older engines, too."""
    path = saved.folder / "both.tar"
    if not path.exists():
        layout = by_skopeo("oci:gzip-layout")(saved)
        entries = []
        for descriptor in json.loads((layout / "index.json").read_text())["manifests"]:
            manifest = json.loads(blob(layout, descriptor["digest"]).read_text())
            config, *layers = (
                str(blob(layout, part["digest"]).relative_to(layout))
                for part in (manifest["config"], *manifest["layers"])
            )
            name = descriptor["annotations"]["org.opencontainers.image.ref.name"]
            entries.append({"Config": config, "RepoTags": [name], "Layers": layers})
        with tarfile.open(path, "w") as tar:
            tar.add(layout, arcname=".")
            text = json.dumps(entries).encode()
            member = tarfile.TarInfo("manifest.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return path


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


@dataclass(frozen=True)
class Form:
    """How an archive is made, which images it holds, and as what skopeo reads it (None: the daemon wrote it)."""

    make: Callable[[Saved], Path]
    tags: list[str]
    source: str | None = None

    def image_id(self, saved: Saved, tag: str) -> str:
        """skopeo writes configs anew: the image ID is then the digest of what itself reads back."""
        if self.source is None:
            return saved.ids[tag]
        assert SKOPEO is not None
        command = [SKOPEO, "inspect", "--config", "--raw", f"{self.source.format(saved.folder)}:{tag}"]
        return f"sha256:{tree_facts.digest(subprocess.run(command, check=True, capture_output=True).stdout)}"


ZSTD = ("--dest-compress", "--dest-compress-format", "zstd")
FORMS = {
    "saved": Form(as_saved, TAGS),
    "saved-gzip": Form(compressed, TAGS),
    "oci-gzip": Form(by_skopeo("oci:gzip-layout"), TAGS, "oci:{}/gzip-layout"),
    "oci-zstd": Form(by_skopeo("oci:zstd-layout", *ZSTD), TAGS, "oci:{}/zstd-layout"),
    "oci-tar": Form(by_skopeo("oci-archive:layout.tar"), TAGS[:1], "oci-archive:{}/layout.tar"),
    "docker-archive": Form(by_skopeo("docker-archive:skopeo.tar"), TAGS[:1], "docker-archive:{}/skopeo.tar"),
    "both": Form(with_both_indexes, TAGS, "oci:{}/gzip-layout"),
}


@dataclass
class Opened:
    session: Session
    form: Form
    saved: Saved

    @property
    def tags(self) -> list[str]:
        return self.form.tags


@pytest.fixture(scope="module", params=list(FORMS))
def opened(request: pytest.FixtureRequest, saved: Saved) -> Iterator[Opened]:
    form: Form = FORMS[request.param]
    with open_root(form.make(saved)) as session:
        yield Opened(session, form, saved)
        assert list(session.info().problems) == []


def test_images_have_the_daemons_ids_names_and_layers(opened: Opened) -> None:
    images = {tag: usage.image for usage in opened.session.images() for tag in usage.image.repo_tags}
    assert sorted(images) == sorted(opened.tags)
    for tag, image in images.items():
        told = opened.saved.inspected[tag]
        assert image.id == opened.form.image_id(opened.saved, tag)
        assert list(image.diff_ids) == told["RootFS"]["Layers"]
        assert (image.os, image.architecture, image.created) == (told["Os"], told["Architecture"], told["Created"])


def test_history(opened: Opened) -> None:
    for tag in opened.tags:
        rows = measured_history(opened.session, opened.session.find(tag))
        told = [(row["CreatedBy"], row["Comment"], row["Size"]) for row in opened.saved.history[tag]]
        assert [(row.created_by, row.comment, row.size) for row in rows] == told


def test_tree(opened: Opened) -> None:
    for tag in opened.tags:
        ours = tree_facts.of_session(opened.session, opened.session.find(tag))
        wanted = {path: fact for path, fact in opened.saved.trees[tag].items() if path not in NOT_COMPARED}
        assert {path: fact for path, fact in ours.items() if path not in NOT_COMPARED} == wanted, tag


def test_of_several_headers_of_a_file_the_last_counts(saved: Saved) -> None:
    with open_root(saved.folder / "relinked.tar") as session:
        entries = session.entries(session.find("world/relinked:1"))
        assert {entry.name: facts_of(entry.stat) for entry in entries} == saved.relinked


def test_export_is_that_tree(opened: Opened) -> None:
    tag = opened.tags[0]
    out = io.BytesIO()
    assert opened.session.export(opened.session.find(tag), out) == []
    ours = tree_facts.by_first_name(tree_facts.of_tar(out.getvalue()))
    wanted = {path: fact for path, fact in opened.saved.trees[tag].items() if path not in NOT_COMPARED}
    assert {path: fact for path, fact in ours.items() if path not in NOT_COMPARED} == wanted


def test_extract(opened: Opened, tmp_path: Path) -> None:
    subject = opened.session.find(opened.tags[0])
    opened.session.extract(subject, "/etc/app.conf", tmp_path / "app.conf")
    wanted = opened.saved.trees[opened.tags[0]]["etc/app.conf"].sha256
    assert tree_facts.digest((tmp_path / "app.conf").read_bytes()) == wanted


def test_blame_names_the_command_that_changed_a_file(opened: Opened) -> None:
    session = opened.session
    blame = session.blame(session.find("world/app:1"), "/etc/app.conf")
    commands = [step.created_by for step in blame.steps]
    assert len(commands) == 2
    assert "COPY" in commands[0] or "ADD" in commands[0]
    assert "echo later" in commands[1]


def test_what_lies_between_two_images(opened: Opened) -> None:
    if len(opened.tags) < 2:
        pytest.skip("this form holds one image")
    session, trees = opened.session, opened.saved.trees
    found = session.compare(session.find("world/base:1"), session.find("world/app:1"))
    old, new = trees["world/base:1"], trees["world/app:1"]
    added = {path for path in new if path not in old} - OF_THE_INIT_LAYER
    deleted = {path for path in old if path not in new} - OF_THE_INIT_LAYER
    assert {change.path for change in found if change.kind == "A"} - OF_THE_INIT_LAYER == added
    ours = {change.path for change in found if change.kind == "D"} - OF_THE_INIT_LAYER
    # Of a directory that is gone, or of another type, one line tells it all.
    assert ours <= deleted
    assert all(any(path == top or path.startswith(f"{top}/") for top in ours) for path in deleted - ours)


def test_stack_sizes_are_the_daemons(opened: Opened) -> None:
    for tag in opened.tags:
        stack = opened.session.stack(opened.session.find(tag))
        sizes = [row["Size"] for row in opened.saved.history[tag]]
        assert sum(found.size or 0 for found in stack) == sum(sizes) == opened.saved.inspected[tag]["Size"]


def test_image_sizes_are_the_daemons(opened: Opened) -> None:
    usages = {tag: usage for usage in measured_images(opened.session) for tag in usage.image.repo_tags}
    told = {tag: opened.saved.inspected[tag]["Size"] for tag in opened.tags}
    assert {tag: usage.image.size for tag, usage in usages.items()} == told
    for tag, usage in usages.items():
        assert usage.shared_size is not None
        assert usage.unique_size == told[tag] - usage.shared_size
        assert (usage.shared_size > 0) == (len(opened.tags) > 1)
    if len(opened.tags) > 1:
        # All of its layers are below the others.
        assert usages["world/base:1"].shared_size == told["world/base:1"]


def test_layers_are_compressed_as_they_should_be(opened: Opened, request: pytest.FixtureRequest) -> None:
    wanted = {"oci-gzip": "gzip", "oci-tar": "gzip", "oci-zstd": "zstd", "both": "gzip"}
    form = wanted.get(request.node.callspec.params["opened"], "plain")
    assert [text.split()[-1] for text in opened.session.info().features if " layers " in text] == [form]


def test_an_archive_that_lost_its_end_is_made_out_by_the_records_of_layers(saved: Saved) -> None:
    """docker's tar has ``manifest.json`` and the names behind all layers."""
    data = as_saved(saved).read_bytes()
    with tarfile.open(as_saved(saved)) as tar:
        cut = saved.folder / "cut.tar"
        cut.write_bytes(data[: tar.getmember("manifest.json").offset])
    with open_root(cut) as session:
        found = {usage.image.id for usage in session.images()}
        assert found == set(saved.ids.values())
        for tag in TAGS:
            subject = session.find(saved.ids[tag])
            ours = tree_facts.of_session(session, subject)
            wanted = {path: fact for path, fact in saved.trees[tag].items() if path not in NOT_COMPARED}
            assert {path: fact for path, fact in ours.items() if path not in NOT_COMPARED} == wanted
