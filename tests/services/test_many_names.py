"""Names of many images: each is looked at once, however many are looked up; and what prefixes of ids mean."""

from __future__ import annotations

import random

import pytest

from layerscope.errors import UsageError
from layerscope.model.digest import ImageID
from layerscope.model.image import Image
from layerscope.model.ref import Ref
from layerscope.services import resolve
from layerscope.services.resolve import Names

COUNT = 300


def image(number: int, *tags: str) -> Image:
    hexadecimal = f"{random.Random(number).getrandbits(256):064x}"
    return Image(ImageID(f"sha256:{hexadecimal}"), tags, (), None, None, "amd64", "linux", "", (), (), (), None, {})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every reference that was brought into docker's form."""
    asked: list[str] = []
    call = resolve.familiar

    def counted(reference: str) -> str:
        asked.append(reference)
        return call(reference)

    monkeypatch.setattr(resolve, "familiar", counted)
    return asked


def test_each_name_is_looked_at_once(looks: list[str]) -> None:
    images = [image(number, f"docker.io/library/app{number}:latest") for number in range(COUNT)]
    names = Names(images)
    for number in range(COUNT):
        assert names.subject(Ref(f"app{number}")).image is images[number]
    assert len(looks) < 4 * COUNT


@pytest.mark.parametrize("length", [6, 12, 64])
def test_a_prefix_is_that_of_one_thing_or_of_several(length: int) -> None:
    images = [image(number) for number in range(COUNT)]
    names = Names(images)
    digits = [one.id.removeprefix("sha256:") for one in images]
    for one, text in zip(images, digits, strict=True):
        alike = [other for other in digits if other.startswith(text[:length])]
        for spelled in (text[:length], f"sha256:{text[:length]}"):
            if len(alike) == 1:
                assert names.subject(Ref(spelled)).image is one
            else:
                with pytest.raises(UsageError, match="ambiguous"):
                    names.subject(Ref(spelled))


def test_a_short_prefix_names_all_that_it_fits() -> None:
    images = [image(number) for number in range(COUNT)]
    fits = sorted(one.id[7:19] for one in images if one.id[7] == "a")
    assert len(fits) > 8
    with pytest.raises(UsageError) as caught:
        Names(images).subject(Ref("a"))
    assert f"and {len(fits) - 8} more" in str(caught.value)
    assert sum(one in str(caught.value) for one in fits) == 8
