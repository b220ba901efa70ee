"""Our tables against those of an installed docker client that gets the sample's API answers from a socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from layerscope.formats.gotime import parse_rfc3339

pytestmark = [
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client is installed to print the tables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="sizes of containers need a root that was unpacked by root"),
]


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers GET requests from a table of paths (without version and query)."""

    daemon_threads = True
    answers: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = re.sub(r"^/v1\.\d+", "", self.path.partition("?")[0])
        server = self.server
        assert isinstance(server, Engine)
        body = b"OK" if path == "/_ping" else json.dumps(server.answers.get(path, {})).encode()
        self.send_response(200 if path == "/_ping" or path in server.answers else 404)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(str(tmp_path / "docker.sock"), Handler) as server:
        server.answers = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def docker(engine: Engine, *words: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    environment["DOCKER_HOST"] = f"unix://{engine.server_address!s}"
    done = subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AGES = re.compile(r"(?:Less than a second|About an? \w+|\d+ \w+) ago")


def same_but_for_a_tick(ours: str, theirs: str) -> bool:
    """Whether two lines are equal; two clocks may have been read on both sides of a full unit."""
    return ours == theirs or AGES.sub("", ours).split() == AGES.sub("", theirs).split()


@pytest.mark.parametrize("options", [[], ["--no-trunc"]])
def test_ps_is_laid_out_as_docker_does(
    ask: Any, engine: Engine, overlay2_root: Path, sample_truth: Any, options: list[str]
) -> None:
    answer = ask("ps", *options, root=overlay2_root)
    containers = sample_truth("overlay2", "api-containers")
    status = {name: re.search(r"(Exited \(\d\) .*? ago|Created)", line)[1] for name, line in _by_name(answer.lines)}
    for container in containers:
        # The engine composes the status when it is asked; everything else is as it answered then.
        container["Status"] = status[container["Names"][0].lstrip("/")]
    engine.answers["/containers/json"] = containers
    theirs = docker(engine, "ps", "-as", *options)
    assert len(answer.lines) == len(theirs) == 4
    assert all(map(same_but_for_a_tick, answer.lines, theirs))


def _by_name(lines: list[str]) -> list[tuple[str, str]]:
    return [(name, line) for line in lines for name in ("editor", "writer", "idle") if f" {name} " in line]


@pytest.mark.parametrize("options", [[], ["--no-trunc"]])
def test_images_begins_as_dockers_table_does(
    ask: Any, engine: Engine, overlay2_root: Path, sample_truth: Any, options: list[str]
) -> None:
    images = sample_truth("overlay2", "api-images")
    listed = ask("images", "--json", root=overlay2_root).json
    order = [item["id"] for item in listed]
    shown = [image for image in images if image["Id"] in order]
    assert all(
        image["Created"] == parse_rfc3339(item["created"]) // 10**9 for image, item in zip(shown, listed, strict=True)
    )
    engine.answers["/images/json"] = shown
    theirs = docker(engine, "images", *options)
    ours = ask("images", *options, root=overlay2_root).lines
    assert len(ours) == len(theirs)
    assert ours[0].startswith(theirs[0])
    for line, expected in zip(sorted(ours[1:]), sorted(theirs[1:]), strict=True):
        assert same_but_for_a_tick(line[: len(expected)], expected)


@pytest.mark.parametrize("options", [[], ["--no-trunc"]])
def test_history_begins_as_dockers_table_does(
    ask: Any, engine: Engine, overlay2_root: Path, sample_truth: Any, options: list[str]
) -> None:
    compared = 0
    for image, rows in sample_truth("overlay2", "history").items():
        if options:  # a command's line end breaks docker's row, but not ours
            rows = [{**row, "CreatedBy": row["CreatedBy"].replace("\n", "\\n")} for row in rows]
        engine.answers[f"/images/{image}/history"] = rows
        theirs = docker(engine, "history", *options, image)
        ours = ask("history", *options, image, root=overlay2_root).lines
        assert len(ours) == len(theirs)
        for line, expected in zip(ours, theirs, strict=True):
            assert same_but_for_a_tick(line[: len(expected)], expected)
        compared += 1
    assert compared


def test_diff_is_what_the_client_prints(ask: Any, engine: Engine, overlay2_root: Path, sample_truth: Any) -> None:
    engine.answers["/containers/editor/changes"] = sample_truth("overlay2", "api-changes")["editor"]
    theirs = docker(engine, "diff", "editor")
    assert ask("diff", "editor", root=overlay2_root).lines == sorted(theirs, key=lambda line: line[2:].encode())
