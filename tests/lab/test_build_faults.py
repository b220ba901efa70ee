"""A build that is killed after any step, or whose disk is full: what is listed is whole, and it can be built again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

import pytest
import test_lab_faults as faults_of_labs
from faults import instrumented
from test_lab_faults import (
    FULL,
    SAMPLES,
    Template,
    files,
    fill,
    kill_everywhere,
    listed,
    small_disk,
    steps_of,
    template,
)

from layerscope.cli.build_progress import BuildProgress
from layerscope.errors import CommitError
from layerscope.services.lab.build import build_options, build_request
from layerscope.services.lab.lab import Lab, commit_options, open_lab

__all__ = ["small_disk", "template"]
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes whiteouts and owners as root does")]

DOCKERFILE = b"""FROM base:1.0 AS first
COPY --chown=ada tree /made/
RUN echo x > /etc/motd && rm -r /srv
WORKDIR /some/where
FROM base:1.0
COPY --from=first /made /taken
LABEL a=b
"""


def build(lab: Lab) -> None:
    request = build_request(lab.path.parent / "context", DOCKERFILE)
    options = build_options(commit_options(), "1700000000")
    lab.build(request, ["built:1"], options, BuildProgress(quiet=True))


@pytest.fixture(scope="module")
def with_context(template: Template) -> Template:
    inner = template.folder / "context/tree/inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("file\n")
    (inner.parent / "link").symlink_to("inner/file")
    os.link(inner / "file", inner / "again")
    request = build_request(template.folder / "context", b"FROM base:1.0\nVOLUME /etc /none\nWORKDIR /w/x\n")
    with open_lab(template.folder / "lab") as lab:
        lab.build(request, ["volumes:1"], build_options(commit_options()), BuildProgress(quiet=True))
    return template


@pytest.fixture(autouse=True)
def more_deeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setitem(faults_of_labs.DEEDS, "build", build)
        patch.setitem(faults_of_labs.DEEDS, "volumes", lambda lab: lab.create("volumes:1", "with-volumes"))
        yield


def test_killed_after_some_steps(with_context: Template, tmp_path: Path) -> None:
    count = steps_of("build", with_context, tmp_path)
    assert count > 50
    steps = sorted({round(i * (count - 1) / SAMPLES) for i in range(SAMPLES + 1)})
    kill_everywhere("build", with_context, tmp_path, steps)


def test_a_container_with_volumes_killed_after_some_steps(with_context: Template, tmp_path: Path) -> None:
    count = steps_of("volumes", with_context, tmp_path)
    kill_everywhere("volumes", with_context, tmp_path, list(range(0, count, 9)))


@pytest.mark.full
def test_killed_after_every_step(with_context: Template, tmp_path: Path) -> None:
    kill_everywhere("build", with_context, tmp_path, list(range(steps_of("build", with_context, tmp_path))))


def full_disk(with_context: Template, point: Path, steps: list[int]) -> None:
    before = listed(with_context.folder / "lab")
    done = with_context.copy(point.parent / "done")
    faults_of_labs.act("build", done)
    after = listed(done)
    for step in steps:
        shutil.rmtree(point / "ballast", ignore_errors=True)
        path = with_context.copy(point / "try")
        full = mmap(-1, 1)

        def make_full(number: int, called: str, step: int = step, full: mmap = full) -> None:
            if number == step:
                full[0] = True
                fill(point)

        with instrumented(make_full, lambda _number, _called: None):
            try:
                faults_of_labs.act("build", path)
            except CommitError as error:
                assert any(said in str(error) for said in FULL), error
                assert str(error).startswith("step ") or "cannot tag" in str(error), error
        assert full[0]
        shutil.rmtree(point / "ballast")
        found = listed(path)
        assert before[0] <= found[0] <= after[0], step
        assert found[1] <= before[1] | after[1] | {()}, step
        left = files(path)
        with open_lab(path) as lab:
            assert lab.sweep() == [], step
        assert files(path) == left
        faults_of_labs.act("build", path)
        assert listed(path) == after, step


def test_disk_full_at_some_steps(with_context: Template, small_disk: Path, tmp_path: Path) -> None:
    count = steps_of("build", with_context, tmp_path)
    full_disk(with_context, small_disk, sorted({round(i * (count - 1) / SAMPLES) for i in range(SAMPLES + 1)}))


@pytest.mark.full
def test_disk_full_at_every_step(with_context: Template, small_disk: Path, tmp_path: Path) -> None:
    full_disk(with_context, small_disk, list(range(steps_of("build", with_context, tmp_path))))
