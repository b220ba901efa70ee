"""What a name means, as a real podman has it: short ones, those of several registries, and those that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import podman_engine
import pytest
from engine import Tar
from podman_engine import Podman

from layerscope import open_root
from layerscope.errors import UsageError
from layerscope.services import Session

pytestmark = [pytest.mark.root, pytest.mark.podman]

IMAGES = [
    *("localhost/foo:latest", "docker.io/library/foo:latest", "docker.io/library/bar:latest", "quay.io/team/baz:1"),
    *("localhost:5000/app:2", "localhost/team/app:3", "docker.io/team/app:3", "docker.io/team/web:3"),
    *("quay.io/other/web:3", "example.com/dup:1", "example.org/dup:1", "localhost/v:1", "localhost/v:2"),
    *("registry.example/deep/er/name:latest", "localhost/ab:latest"),
]
NAMES = [
    *("foo", "foo:latest", "docker.io/foo", "docker.io/library/foo", "library/foo", "localhost/foo", "bar"),
    *("docker.io/bar", "library/bar", "localhost/bar", "index.docker.io/library/bar", "baz:1", "baz", "team/baz:1"),
    *("app:2", "app", "team/app:3", "team/app", "team/web:3", "other/web:3", "v", "v:2", "localhost/v"),
    *("quay.io/baz:1", "oo", "5000/app:2", "am/baz:1", "name", "er/name", "deep/er/name", "eep/er/name", "ab", "FOO"),
]


@pytest.fixture(scope="module", params=podman_engine.KINDS[1::2])
def engine(request: pytest.FixtureRequest) -> Iterator[Podman]:
    """A store with an image of its own for each name."""
    podman = podman_engine.made(str(request.param))
    try:
        for number, name in enumerate(IMAGES):
            tar = Tar()
            tar.add("file", f"{number}".encode())
            podman.import_tar(tar.bytes(), name)
        yield podman
    finally:
        podman.remove()


def meant_by(session: Session, name: str) -> str | None:
    """The ID of the image; None if there is none."""
    try:
        image = session.find(name, kind="image").image
    except UsageError as error:
        assert f"no image '{name}' here" in str(error)
        return None
    assert image is not None
    return image.id.removeprefix("sha256:")


def test_names_mean_what_podman_means(engine: Podman) -> None:
    wanted = {}
    for name in NAMES:
        try:
            wanted[name] = engine.json("inspect", "--type", "image", name)[0]["Id"]
        except RuntimeError:
            wanted[name] = None
    with open_root(engine.root) as session:
        assert {name: meant_by(session, name) for name in NAMES} == wanted
    assert len({image for image in wanted.values() if image}) > 10
    assert None in wanted.values()


@pytest.mark.parametrize("name", ["dup:1", "app:3", "web:3"])
def test_where_podman_takes_one_of_several_we_ask(engine: Podman, name: str) -> None:
    assert engine.json("inspect", "--type", "image", name)
    with open_root(engine.root) as session, pytest.raises(UsageError, match=r"is ambiguous: it fits image .*; image "):
        session.find(name)


def test_a_prefix_of_several_ids_is_told(engine: Podman) -> None:
    with open_root(engine.root) as session:
        ids = sorted(image.id.removeprefix("sha256:") for image in session.store.images())
        first = next(one[0] for one, other in pairwise(ids) if one[0] == other[0])
        with pytest.raises(UsageError, match=f"'{first}' is ambiguous: it fits image .*write image: or container:"):
            session.find(first)
        assert meant_by(session, ids[0][:20]) == ids[0]
