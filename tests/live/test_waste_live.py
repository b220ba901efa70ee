"""An image built by a live engine with waste that is known: what it costs, who did it, where the bytes still are."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from engine import Engine, Tar, minimal_tar

DOCKERFILE = """
FROM waste/base:1
COPY secret /srv/secret
RUN ["/bin/busybox", "rm", "/srv/secret"]
RUN ["/bin/busybox", "chmod", "0600", "/srv/keep"]
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox rm -r /srv/cache; /bin/busybox mkdir /srv/cache"]
RUN ["/bin/busybox", "sh", "-c", "echo more >> /srv/grows; /bin/busybox rm /srv/linked"]
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox cp /srv/twin /srv/twin2"]
"""
SIZES = {"secret": 700_001, "keep": 600_003, "cache/a": 50_021, "cache/b/c": 40_009, "grows": 30_011, "twin": 20_021}
SEEDS = {name: number for number, name in enumerate(SIZES)}


def content(name: str) -> bytes:
    return Random(SEEDS[name]).randbytes(SIZES[name])


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with the image, and a container that removed one more file."""
    made = Engine()
    try:
        made.start()
        base = minimal_tar()
        for folder in ("srv", "srv/cache", "srv/cache/b"):
            base.folder(folder)
        for name in SIZES:
            if name != "secret":
                base.add(f"srv/{name}", content(name))
        base.add("srv/first", b"l" * 9_001)
        base.add("srv/linked", kind=tarfile.LNKTYPE, linkname="srv/first")
        base.link("srv/way", "first")
        made.import_image(base.bytes(), "waste/base:1")
        context = Tar()
        context.add("Dockerfile", DOCKERFILE.encode())
        context.add("secret", content("secret"))
        made.build(context.bytes(), "waste/app:1")
        made.run("waste/app:1", ["/bin/busybox", "rm", "/srv/twin2"], name="remover")
        yield made
    finally:
        made.remove()


def ask(engine: Engine, *words: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "layerscope", "--root", str(engine.root), *words, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == code, done
    return json.loads(done.stdout)


def test_known_waste(engine: Engine) -> None:
    waste = ask(engine, "waste", "waste/app:1")
    assert waste["paid_bytes"] == engine.get("/images/waste/app:1/json")["Size"]
    found = {(item["path"], item["cause"], item["bytes"]) for item in waste["items"]}
    assert found == {
        ("/srv/secret", "deleted", SIZES["secret"]),
        ("/srv/keep", "metadata", SIZES["keep"]),
        ("/srv/cache/a", "opaque", SIZES["cache/a"]),
        ("/srv/cache/b/c", "opaque", SIZES["cache/b/c"]),
        ("/srv/grows", "overwritten", SIZES["grows"]),
        ("/srv/twin2", "same-content", SIZES["twin"]),
    }
    assert waste["wasted_bytes"] == sum(SIZES.values())


def test_the_commands_that_did_it(engine: Engine) -> None:
    """The engine's own history names the step of each."""
    history = [row["CreatedBy"] for row in engine.get("/images/waste/app:1/history")]
    items = {item["path"]: item for item in ask(engine, "waste", "waste/app:1")["items"]}
    for path, words in (
        ("/srv/secret", "rm /srv/secret"),
        ("/srv/keep", "chmod 0600 /srv/keep"),
        ("/srv/cache/a", "mkdir /srv/cache"),
        ("/srv/grows", "echo more >> /srv/grows"),
        ("/srv/twin2", "cp /srv/twin /srv/twin2"),
    ):
        (command,) = [command for command in history if words in command]
        assert items[path]["created_by"] == command
    assert "COPY file:" in items["/srv/secret"]["stored_by"] and ".dockerignore" in items["/srv/secret"]["remedy"]


def test_visible_bytes_are_those_that_docker_exports(engine: Engine) -> None:
    exported = engine.export("remover")
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        members = tar.getmembers()
    size = sum(member.size for member in members if member.isreg() and not member.islnk())
    size += sum(len(member.linkname) for member in members if member.issym())
    assert ask(engine, "waste", "remover")["visible_bytes"] == size


def test_rules_in_a_pipeline(engine: Engine) -> None:
    assert ask(engine, "waste", "waste/app:1", "--max-waste", "1MB", code=1)["rules"][0]["ok"] is False
    assert ask(engine, "waste", "waste/app:1", "--max-waste", "2MB")["rules"][0]["ok"] is True


def test_what_is_gone_can_be_read_again(engine: Engine) -> None:
    (entry,) = ask(engine, "find", "secret", "--deleted")
    assert entry["hidden_by"] == entry["level"] + 1
    command = [sys.executable, "-m", "layerscope", "--root", str(engine.root), "cat", entry["ref"]]
    assert subprocess.run(command, capture_output=True, check=True).stdout == content("secret")
    gone = {entry["path"] for entry in ask(engine, "find", "*", "remover", "--deleted", "--type", "f")}
    assert gone == {"/srv/secret", "/srv/cache/a", "/srv/cache/b/c", "/srv/linked", "/srv/twin2"}
    lines = engine.diff("remover")
    assert ("D", "/srv/twin2") in lines
