"""``rmi`` and ``rm`` against docker's: the same words, the same refusals, the same things left, step after step."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from live.engine import ApiError, Engine, Tar, missing

from layerscope.errors import LayerscopeError
from layerscope.services.lab.lab import open_lab
from layerscope.services.opening.root import open_root

REASON = missing()
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

STEPS: list[tuple[str, bool]] = [
    ("two/tags:1", False),  # another tag stays
    ("@two", False),  # by id, the last one
    ("@three", False),  # by id, with several tags: refused
    ("three/a:1", False),
    ("@three", True),  # forced
    ("used/x:1", False),  # its container keeps it
    ("@used", False),
    ("used/x:1", True),  # loses its name, the container keeps the image
    ("@used", True),
    ("parent/x:1", False),  # has a child: only the name goes
    ("@parent", False),  # has a child: can't be forced
    ("@parent", True),
    ("child/x:1", False),  # takes its nameless parent with it
    ("digest/x:1", False),  # the digest of the same repository goes, too
    ("docker.io/library/plain:latest", False),
    ("library/again", False),
    ("shared/a:1", False),  # its layers are another's
    ("shared/b:1", False),
]


def _image(engine: Engine, name: str, content: str) -> str:
    tar = Tar()
    tar.folder("bin")
    tar.add(content, content.encode())
    return engine.import_image(tar.bytes(), name)


def _id_of(engine: Engine, name: str) -> str:
    return str(engine.get(f"/images/{name}/json")["Id"])


def _commit(engine: Engine, image: str, name: str, path: str) -> str:
    container = engine.create(image, ["/bin/none"])
    tar = Tar()
    tar.add(path, path.encode())
    engine.put(container, tar.bytes())
    made = engine.commit(container, name)
    engine.call("DELETE", f"/containers/{container}")
    return made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path, dict[str, str]]]:
    """An engine with images to remove, running; a copy of its root; ids of the images."""
    engine = Engine()
    try:
        engine.start()
        ids = {}
        for name in ("two/tags:1", "three/a:1", "used/x:1", "parent/x:1", "digest/x:1", "plain:latest", "again:latest"):
            _image(engine, name, name.partition("/")[0].partition(":")[0])
            ids[name.partition("/")[0]] = _id_of(engine, name)
        for image, more in (
            ("two/tags:1", ("two/tags", "2")),
            ("three/a:1", ("three/b", "1")),
            ("three/a:1", ("c", "2")),
        ):
            engine.call("POST", f"/images/{quote(image, safe='')}/tag?repo={quote(more[0], safe='')}&tag={more[1]}")
        engine.create("used/x:1", ["/bin/none"], "user")
        ids["child"] = _commit(engine, "parent/x:1", "child/x:1", "child")
        _image(engine, "shared/base:1", "shared")
        for name in ("shared/a:1", "shared/b:1"):
            ids[name] = _commit(engine, "shared/base:1", name, name.replace("/", "-").replace(":", "-"))
        engine.stop()
        names = engine.root / "image/overlay2/repositories.json"
        content = json.loads(names.read_text())
        digest = "digest/x@sha256:" + "ab" * 32
        content["Repositories"]["digest/x"][digest] = ids["digest"]
        names.write_text(json.dumps(content))
        copy = tmp_path_factory.mktemp("removal") / "root"
        subprocess.run(["cp", "-a", engine.root, copy], check=True)
        engine.start()
        yield engine, copy, ids
    finally:
        engine.remove()


def _theirs(engine: Engine, name: str, force: bool) -> list[tuple[str, str]] | str:
    try:
        data = engine.call("DELETE", f"/images/{quote(name, safe='')}?force={int(force)}")
    except ApiError as error:
        return str(json.loads(str(error).partition(": ")[2].partition(" ")[2])["message"])
    return [next(iter(row.items())) for row in json.loads(data)]


def _ours(root: Path, name: str, force: bool) -> list[tuple[str, str]] | str:
    with open_lab(root, allow_real_root=True) as lab:
        try:
            return [(done.word.capitalize(), done.what) for done in lab.remove_image(name, force)]
        except LayerscopeError as error:
            return str(error)


def _left(root: Path) -> dict[str, Any]:
    records = root / "image/overlay2"
    return {
        "names": json.loads((records / "repositories.json").read_text()),
        "images": sorted(os.listdir(records / "imagedb/content/sha256")),
        "metadata": sorted(os.listdir(records / "imagedb/metadata/sha256")),
        "layers": sorted(os.listdir(records / "layerdb/sha256")),
        "directories": sorted(set(os.listdir(root / "overlay2")) - {"l", "backingFsBlockDev"}),
        "links": len(os.listdir(root / "overlay2/l")),
    }


def test_each_step_is_dockers(stage: tuple[Engine, Path, dict[str, str]]) -> None:
    engine, copy, ids = stage
    for name, force in STEPS:
        asked = ids[name.removeprefix("@")] if name.startswith("@") else name
        expected, found = _theirs(engine, asked, force), _ours(copy, asked, force)
        assert found == expected or (isinstance(expected, str) and expected.startswith("No such image")), (name, force)
        assert isinstance(found, str) == isinstance(expected, str), (name, force)
        assert _left(copy) == _left(engine.root), (name, force)
    with open_lab(copy, allow_real_root=True) as lab:
        lab.remove("user")
    engine.call("DELETE", "/containers/user")
    for name in ("@used", "shared/base:1"):
        asked = ids[name.removeprefix("@")] if name.startswith("@") else name
        expected, found = _theirs(engine, asked, True), _ours(copy, asked, True)
        assert isinstance(found, str) == isinstance(expected, str)
    left = _left(copy)
    assert left == _left(engine.root)
    with open_root(copy) as session:
        assert [problem for problem in session.problems() if problem.severity != "note"] == []
