"""What changed, told without privilege where some directories may not be searched: the rest is told, and nothing else.

The directories that this user can't look into are told from their modes, the lines are podman's own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import podman_engine
import pytest
from podman_engine import Podman
from podman_story import base_tar

from layerscope import open_root
from layerscope.cli.main import run

pytestmark = [pytest.mark.root, pytest.mark.podman]
Nobody = Callable[[], AbstractContextManager[None]]

MODES = ("755", "744", "711", "700")
BASE = "demo/base:1"
MAKE = (
    f"for m in {' '.join(MODES)}; do mkdir -p /b$m/sub; echo o > /b$m/old; echo o > /b$m/gone; echo o > /b$m/sub/o; "
    "chmod $m /b$m; done; echo o > /file"
)
CHANGE = (
    f"for m in {' '.join(MODES)}; do echo n > /b$m/new; echo n >> /b$m/old; rm /b$m/gone; echo n >> /b$m/sub/o; "
    "echo n > /b$m/sub/n; done; mkdir /last; echo l > /last/l; echo n >> /file;"
)
CHANGES = {
    "same": CHANGE,
    "opened": f"{CHANGE} chmod 755 /b7*",
    "shut": f"{CHANGE} chmod 744 /b755 /b755/sub; mkdir -m 700 /own; echo x > /own/x",
}


@pytest.fixture(scope="module", params=podman_engine.KINDS)
def podman(request: pytest.FixtureRequest) -> Iterator[Podman]:
    podman = podman_engine.made(request.param)
    try:
        podman.import_tar(base_tar(), "base:1")
        podman.shell("seed", "base:1", MAKE)
        podman.run("commit", "seed", BASE)
        podman.run("rm", "seed")
        for name, script in CHANGES.items():
            podman.shell(name, BASE, script)
        podman.home.resolve().chmod(0o755)
        # What is still mounted must not be touched: that would change the layer.
        layers = [word for part in ("*/diff", "*/merged", "*/vfs/dir/*") for word in ("-path", part, "-prune", "-o")]
        words = ["find", podman.root, *layers, "(", "-type", "f", "-o", "-type", "d", ")"]
        subprocess.run([*words, "-exec", "chmod", "a+rX", "{}", "+"], check=True)
        yield podman
    finally:
        podman.remove()


def lines_of(text: str) -> set[str]:
    return set(text.splitlines())


@pytest.mark.parametrize("name", CHANGES)
def test_the_rest_is_told(
    podman: Podman, name: str, nobody: Nobody, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    told = lines_of(podman.run("diff", name))
    run(["diff", name, "--root", str(podman.root)])  # what is imported late may lie where nobody may read
    capsysbinary.readouterr()
    with nobody():
        code = run(["diff", name, "--root", str(podman.root)])
    captured = capsysbinary.readouterr()
    ours = lines_of(os.fsdecode(captured.out))
    assert code == 1
    assert "cannot read this directory: Permission denied" in captured.err.decode()
    assert ours <= told, "a line that podman doesn't have"
    readable = {line for line in told if not line.split(" ", 1)[1].startswith("/b7") and "/own/" not in line}
    readable |= {line for line in told if line.split(" ", 1)[1].startswith("/b755")} if name != "shut" else set()
    assert {"A /last", "A /last/l", "C /file"} <= readable <= ours


@pytest.mark.parametrize("name", CHANGES)
def test_two_views_are_compared_as_far_as_can_be(podman: Podman, name: str, nobody: Nobody) -> None:
    """What is told without privilege is a part of what is told with it, and the rest lies where none may look."""
    with open_root(podman.root) as session:
        whole = {(change.kind, change.path) for change in session.compare(session.find(BASE), session.find(name))}
    with nobody(), open_root(podman.root) as session:
        some = {(change.kind, change.path) for change in session.compare(session.find(BASE), session.find(name))}
        problems = {problem.path for problem in session.problems()}
    assert some < whole
    lost = {path for _, path in whole - some}
    assert all(path.startswith(("b7", "own")) for path in lost), "what lies elsewhere can be read"
    assert problems
    assert all(path.startswith(("b7", "own")) for path in problems)
    if name != "shut":
        assert not {path for path in lost if path.startswith("b755")}


def test_a_sum_that_lacks_a_directory_is_unknown(podman: Podman, nobody: Nobody) -> None:
    with open_root(podman.root) as session:
        whole = {usage.container.name: usage.size_rw for usage in session.containers()}
    with nobody(), open_root(podman.root) as session:
        sizes = {usage.container.name: usage.size_rw for usage in session.containers()}
    # Its own layer can be read whole, which is enough where layers are changes. Newer releases count more than that.
    sums = {one["Names"][0]: one["Size"]["rwSize"] for one in podman.json("ps", "-a", "--size")}
    if podman.driver == "overlay":
        assert sizes.pop("opened") in {sums["opened"], whole["opened"]}
    assert set(sizes.values()) == {None}
    assert set(sums) == set(whole) == set(CHANGES)
