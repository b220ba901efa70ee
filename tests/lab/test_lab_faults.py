"""Killed after any step, or with the disk full before it: what is listed afterwards is whole, and a sweep cleans up."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import pytest
from faults import count_steps, instrumented, killed_after

from layerscope.errors import CommitError
from layerscope.model.problem import Severity
from layerscope.services.lab.lab import Lab, commit_options, import_maker, new_lab, open_lab, save
from layerscope.services.opening.root import open_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes whiteouts and owners as root does")]
SAMPLES = 14
"""Steps of each deed that are tried in the ordinary run, spread evenly; the full run tries all."""

FULL = ("No space left on device", "are free on the disk", "the disk is full")

SCRIPT = (
    "echo x > /etc/motd; rm -r /srv; mkdir /srv; echo new > /srv/new; ln /etc/motd /hard; chown 1:2 /opt; mkdir -p /a/b"
)


def _commit(lab: Lab) -> None:
    lab.commit("web", "made:1", options=commit_options(created="2024-02-03T04:05:06Z"))


def _import(lab: Lab) -> None:
    tar = (lab.path.parent / "layer.tar").read_bytes()
    lab.import_tar(io.BytesIO(tar), "layer.tar", "made:2", maker=import_maker("2024-02-03T04:05:06Z", "x"))


DEEDS: dict[str, Callable[[Lab], object]] = {
    "create": lambda lab: lab.create("base:1.0", "later"),
    "commit": _commit,
    "load": lambda lab: lab.load(lab.path.parent / "more.tar", "more.tar"),
    "import": _import,
    "tag": lambda lab: lab.tag("base:1.0", "other:1"),
    "rm": lambda lab: lab.remove("spare"),
    "rm-with-layers": lambda lab: lab.remove("last"),
    "rmi": lambda lab: _remove(lab),
}


def _remove(lab: Lab) -> None:
    """By name; by id if an interrupted removal took the name already."""
    with open_root(lab.path) as session:
        nameless = [usage.image.id for usage in session.images() if not usage.image.repo_tags]
    lab.remove_image(nameless[0] if nameless else "old:1")


@dataclass(frozen=True)
class Template:
    """A folder with a root ``lab`` and the archives beside it, to be copied for each try."""

    folder: Path

    def copy(self, target: Path) -> Path:
        """A fresh copy; gives the root."""
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", self.folder, target], check=True)
        return target / "lab"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("template")
    path, other = folder / "lab", folder / "other"
    for root, tag in ((path, "old:1"), (other, "more:1")):
        new_lab(root)
        with open_lab(root) as lab:
            lab.create("base:1.0", "web")
            with lab.overlay("web") as overlay:
                assert lab.shell(overlay, io.BytesIO(), print).run(f"{SCRIPT}; echo {tag} > /tag") == 0
            lab.commit("web", tag, options=commit_options(created="2024-01-03T04:05:06Z"))
    with open_lab(path) as lab:
        lab.create("base:1.0", "spare")
        with lab.overlay("spare") as overlay:
            overlay.write_bytes("/only", b"kept by its container")
        lab.commit("spare", "gone:1", options=commit_options(created="2024-01-03T04:05:06Z"))
        lab.create("gone:1", "last")
        lab.remove_image("gone:1", force=True)
    with open_lab(other) as lab:
        lab.tag("more:1", "again:1")
    with open_root(other) as session, (folder / "more.tar").open("wb") as file:
        save(session, ["more:1", "base:1.0"], file)
    subprocess.run(["tar", "-cf", folder / "layer.tar", "-C", path / "image", "."], check=True)
    shutil.rmtree(other)
    return Template(folder)


def listed(path: Path) -> tuple[frozenset[str], frozenset[tuple[str, ...]], frozenset[str]]:
    """What the root lists: images, their names, names of containers. All of it must be whole."""
    with open_root(path) as session:
        images = [usage.image for usage in session.images()]
        containers = [usage.container for usage in session.containers()]
        for thing in [*images, *containers]:
            assert not [p for p in thing.problems if p.severity is not Severity.NOTE], thing.problems
            subject = session.find(thing.id)
            levels = session.levels(subject)
            assert all(level.cache_id is not None for level in levels)
            view = session.view(subject)
            assert sum(1 for _ in view.walk()) > 3
            assert view.problems == []
        assert not [p for p in session.problems() if p.severity is Severity.ERROR]
        # Every layer's tar has its diff ID.
        save(session, [image.id for image in images], io.BytesIO())
    names = frozenset(image.repo_tags for image in images)
    return frozenset(image.id for image in images), names, frozenset(container.name for container in containers)


def files(path: Path) -> list[str]:
    """Everything below a root outside of the layers, and the layers' directories; ids of new things vary."""
    found = subprocess.run(
        ["find", ".", "-path", "./overlay2/*/diff/*", "-prune", "-o", "-print"],
        cwd=path,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(found.stdout.splitlines())


def act(name: str, path: Path) -> None:
    with open_lab(path) as lab:
        DEEDS[name](lab)


def shape(path: Path) -> list[str]:
    """As :func:`files`, ids left out."""
    return sorted("/".join("*" if len(part) >= 26 else part for part in line.split("/")) for line in files(path))


def steps_of(name: str, template: Template, work: Path) -> int:
    """How many operations a deed makes."""
    path = template.copy(work / "count")
    return len(count_steps(lambda: act(name, path)))


def kill_everywhere(name: str, template: Template, work: Path, steps: list[int], *, alone: bool = False) -> None:
    before = listed(template.folder / "lab")
    done = template.copy(work / "done")
    act(name, done)
    after, final = listed(done), shape(done)
    for step in steps:
        path = template.copy(work / "try")
        assert killed_after(lambda path=path: act(name, path), step, alone=alone), f"{name} has no step {step}"
        found = listed(path)
        assert found[0] in (before[0], after[0]) or before[0] < found[0] < after[0] or after[0] < found[0] < before[0]
        assert found[2] in (before[2], after[2]), (step, found[2])
        assert found[1] <= before[1] | after[1] | {()}, (step, found[1])
        with open_lab(path) as lab:
            lab.sweep()
            assert lab.sweep() == []
        assert listed(path) == found, f"the sweep after step {step} changed what is listed"
        with open_root(path) as session:
            assert [problem for problem in session.problems() if problem.severity is not Severity.NOTE] == [], step
        if found != after:
            act(name, path)
            assert listed(path) == after, step
        assert shape(path) == final, f"left after step {step} of {name}"


@pytest.mark.parametrize("name", DEEDS)
def test_killed_after_some_steps(name: str, template: Template, tmp_path: Path) -> None:
    count = steps_of(name, template, tmp_path)
    assert count > 5
    kill_everywhere(name, template, tmp_path, sorted({round(i * (count - 1) / SAMPLES) for i in range(SAMPLES + 1)}))


@pytest.mark.full
@pytest.mark.parametrize("name", DEEDS)
def test_killed_after_every_step(name: str, template: Template, tmp_path: Path) -> None:
    count = steps_of(name, template, tmp_path)
    kill_everywhere(name, template, tmp_path, list(range(count)))


WITH_LAYERS = ["commit", "load", "import"]


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_one_process_killed_after_some_steps(name: str, template: Template, tmp_path: Path) -> None:
    """The other one is left, which may be the one that makes the layer's files or the one that tells it which."""
    count = steps_of(name, template, tmp_path)
    steps = [round((i + 0.5) * 2 * (count - 1) / SAMPLES) for i in range(SAMPLES // 2)]
    kill_everywhere(name, template, tmp_path, steps, alone=True)


@pytest.mark.full
@pytest.mark.parametrize("name", WITH_LAYERS)
def test_one_process_killed_after_every_step(name: str, template: Template, tmp_path: Path) -> None:
    count = steps_of(name, template, tmp_path)
    kill_everywhere(name, template, tmp_path, list(range(count)), alone=True)


# ---------------------------------------------------------------------- the disk is full
@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes and some thousand inodes."""
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=4000", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


def fill(point: Path) -> None:
    """Take every byte and every inode."""
    ballast = point / "ballast"
    ballast.mkdir()
    with (ballast / "bytes").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    try:
        for number in range(1 << 20):
            (ballast / str(number)).touch()
    except OSError:
        return


def full_everywhere(name: str, template: Template, point: Path, steps: list[int]) -> None:
    before, untouched = listed(template.folder / "lab"), None
    for step in steps:
        shutil.rmtree(point / "ballast", ignore_errors=True)
        path = template.copy(point / "try")
        untouched = files(path)
        full = mmap(-1, 1)  # whichever process it was

        def make_full(number: int, called: str, step: int = step, full: mmap = full) -> None:
            if number == step:
                full[0] = True
                fill(point)

        failed = False
        with instrumented(make_full, lambda _number, _called: None):
            try:
                act(name, path)
            except CommitError as error:
                failed = True
                assert any(said in str(error) for said in FULL), error
        assert full[0]
        found = listed(path)
        if failed:
            assert found == before, step
            assert files(path) == untouched, f"left by {name} after the disk was full at step {step}"
        else:
            assert found != before or name == "tag", step


@pytest.mark.parametrize("name", DEEDS)
def test_disk_full_at_some_steps(name: str, template: Template, small_disk: Path, tmp_path: Path) -> None:
    count = steps_of(name, template, tmp_path)
    steps = sorted({round(i * (count - 1) / SAMPLES) for i in range(SAMPLES + 1)})
    full_everywhere(name, template, small_disk, steps)


@pytest.mark.full
@pytest.mark.parametrize("name", DEEDS)
def test_disk_full_at_every_step(name: str, template: Template, small_disk: Path, tmp_path: Path) -> None:
    count = steps_of(name, template, tmp_path)
    full_everywhere(name, template, small_disk, list(range(count)))
