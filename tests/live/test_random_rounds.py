"""Random changes in real containers, layer upon layer: docker's answers and ours must be the same each time."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pytest
import tree_facts
from engine import Engine, minimal_tar, started
from world import setter

from layerscope import open_root

NAMES = ("a", "b", "c", "d e", "ü", "a-b")
LAYERS = 4
OPERATIONS = 40


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One engine for all rounds."""
    with started() as made:
        yield made


def random_path(rng: random.Random) -> str:
    """A path of one to three names; most exist sooner or later."""
    return "/t/" + "/".join(rng.choices(NAMES, k=rng.choice((1, 1, 2, 2, 3))))


def random_operation(rng: random.Random) -> str:
    """A shell command that changes something, or fails."""
    one, other = f"'{random_path(rng)}'", f"'{random_path(rng)}'"
    stamp = f"'20{rng.randint(10, 29)}-0{rng.randint(1, 9)}-11 10:11:12'"
    operations = [
        f"rm -f {one}",
        f"rm -rf {one}",
        f"mkdir -p {one}",
        f"mkdir {one}",
        f"test -p {one} || echo {rng.randint(0, 99)} > {one}",  # nobody reads a FIFO: writing to one would wait
        f"test -p {one} || echo more >> {one}",
        f"chmod {rng.choice(('644', '600', '755', '4711', '1777'))} {one}",
        f"chown {rng.choice((0, 1000))}:{rng.choice((0, 5))} {one}",
        f"touch -d {stamp} {one}",
        f"touch {one}",
        f"truncate -s {rng.choice((0, 3, 70000))} {one}",
        f"ln {one} {other}",
        f"ln -s {random_path(rng)!r} {one}",
        f"timeout 2 /bin/busybox mv {one} {other}",
        f"timeout 2 /bin/busybox cp -a {one} {other}",
        f"mkfifo {one}",
        f"mknod {one} c {rng.randint(1, 3)} {rng.randint(1, 5)}",
        f"rm -rf {one}; mkdir {one}",
        f"rm -rf {one}; mkdir {one}; echo in > {one}/a",
        f"rm -rf {one}; echo file > {one}",
    ]
    if setter() is not None:
        operations.append(f"/bin/tl x {one} user.x {rng.randint(0, 3)}")
    return f"({rng.choice(operations)}) 2>/dev/null || true"


def random_base(rng: random.Random) -> bytes:
    """A small random tree, with a busybox beside it."""
    tar = minimal_tar()
    if (tool := setter()) is not None:
        tar.add("bin/tl", tool, mode=0o755)
    tar.folder("t")
    pending = [("t", 0)]
    while pending:
        folder, depth = pending.pop()
        for name in NAMES:
            path, dice = f"{folder}/{name}", rng.random()
            if dice < 0.35 and depth < 3:
                tar.folder(path, mode=rng.choice((0o755, 0o700, 0o1777)))
                pending.append((path, depth + 1))
            elif dice < 0.6:
                tar.add(path, rng.randbytes(rng.choice((0, 5, 3000))), uid=rng.choice((0, 1000)))
            elif dice < 0.7:
                tar.link(path, rng.choice((*NAMES, "/t/a", "nowhere")))
    return tar.bytes()


def check(engine: Engine, container: str) -> None:
    """Everything that docker says of one container."""
    with open_root(engine.root) as session:
        subject = session.find(container)
        told = [(str(change.kind), "/" + change.path) for change in session.changes(subject)]
        assert told == engine.diff(container)
        size = engine.get(f"/containers/{container}/json?size=1").get("SizeRw", 0)
        assert next(usage.size_rw for usage in session.containers() if usage.container.id == container) == size
        exported = engine.export(container)
        assert tree_facts.of_session(session, subject) == tree_facts.by_first_name(tree_facts.of_tar(exported))
        out = io.BytesIO()
        assert session.export(subject, out) == []
        assert tree_facts.of_tar(out.getvalue()) == tree_facts.of_tar(exported)
        assert session.problems() == ()


def play(engine: Engine, seed: int) -> None:
    """One image, changed in one container after the other, each made from a commit of the one before."""
    rng = random.Random(seed)
    image = f"random/round{seed}:0"
    engine.import_image(random_base(rng), image)
    for number in range(1, LAYERS + 1):
        operations = "\n".join(random_operation(rng) for _ in range(OPERATIONS))
        container = engine.shell(image, operations)
        check(engine, container)
        image = f"random/round{seed}:{number}"
        engine.commit(container, image)


@pytest.mark.parametrize("seed", range(4))
def test_round(engine: Engine, seed: int) -> None:
    play(engine, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_rounds(engine: Engine, seed: int) -> None:
    play(engine, seed)
