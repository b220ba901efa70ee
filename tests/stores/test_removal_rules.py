"""Rules of docker's removals that no engine of this machine may show: what a newer one takes for anonymous."""

from __future__ import annotations

import pytest

from layerscope.model.digest import ImageID
from layerscope.model.image import Image
from layerscope.model.volume import Volume
from layerscope.stores.docker.removable import made_without_name, references

DIGITS = "0a" * 32
DIGEST = f"@sha256:{'ab' * 32}"
LABEL = {"com.docker.volume.anonymous": ""}


def volume(name: str, labels: dict[str, str] | None = None) -> Volume:
    """One that docker keeps itself."""
    return Volume(name, "local", labels or {}, {}, f"volumes/{name}/_data", "", None)


def test_since_23_an_anonymous_volume_has_a_label() -> None:
    """A name of 64 digits is then a name like any other: its prune leaves a volume that an older docker made."""
    volumes = [volume("named"), volume(DIGITS), volume("f" * 64, LABEL)]
    assert made_without_name(volumes, labelled=True) == {"f" * 64}
    assert made_without_name(volumes, labelled=False) == {DIGITS, "f" * 64}


@pytest.mark.parametrize(
    ("tags", "digests", "wanted"),
    [
        (["a:1"], [f"a{DIGEST}"], ["a:1"]),
        (["a:1"], [f"b{DIGEST}"], ["a:1", f"b{DIGEST}"]),
        (["host:5000/a:1"], [f"host:5000/a{DIGEST}", f"a{DIGEST}"], ["host:5000/a:1", f"a{DIGEST}"]),
        ([], [f"a{DIGEST}"], [f"a{DIGEST}"]),
        ([], [], []),
    ],
)
def test_digests_go_with_the_last_tag_of_their_repository(
    tags: list[str], digests: list[str], wanted: list[str]
) -> None:
    assert references(image(tags, digests)) == tuple(wanted)


def image(tags: list[str], digests: list[str]) -> Image:
    """An image of no layers with these names."""
    return Image(
        id=ImageID(f"sha256:{DIGITS}"),
        repo_tags=tuple(tags),
        repo_digests=tuple(digests),
        parent=None,
        created=None,
        architecture="",
        os="",
        author="",
        diff_ids=(),
        chain_ids=(),
        history=(),
        size=0,
        config={},
        problems=(),
    )
