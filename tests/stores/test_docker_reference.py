"""Image references: short and full forms as docker prints them. Cases of github.com/distribution/reference."""

from __future__ import annotations

import pytest

from layerscope.formats.reference import familiar_name, full_name, parse_reference


@pytest.mark.parametrize(
    ("familiar", "full"),
    [
        ("redis", "docker.io/library/redis"),
        ("redis:7", "docker.io/library/redis:7"),
        ("dmcgowan/myapp", "docker.io/dmcgowan/myapp"),
        ("xn--n3h.com/myapp", "xn--n3h.com/myapp"),
        ("127.0.0.1:8000/myapp", "127.0.0.1:8000/myapp"),
        ("localhost/myapp", "localhost/myapp"),
        ("myhost:5000/a/b:1", "myhost:5000/a/b:1"),
        ("Uppercase/bar", "Uppercase/bar"),
    ],
)
def test_short_and_full_forms(familiar: str, full: str) -> None:
    assert full_name(familiar) == full
    assert familiar_name(full) == familiar
    assert familiar_name(familiar) == familiar


def test_other_spellings_of_the_default_domain() -> None:
    assert familiar_name("index.docker.io/library/redis:7") == "redis:7"
    assert familiar_name("docker.io/redis") == "redis"
    assert familiar_name("library/redis") == "redis"
    assert familiar_name("docker.io/library/a/b") == "library/a/b"


def test_parts_of_a_reference() -> None:
    digest = f"sha256:{'a' * 64}"
    assert parse_reference("host:5000/a/b:1.0") == ("host:5000/a/b", "1.0", None)
    assert parse_reference(f"a@{digest}") == ("a", None, digest)
    assert parse_reference(f"a:1@{digest}") == ("a", "1", digest)


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a b", "a:", "a@", "a@sha256:12", "../a", "/a", "a//b", "a:b:c", "-a", "a" * 256, "a\n", "é"]
)
def test_what_is_no_reference(text: str) -> None:
    assert parse_reference(text) is None


def test_a_long_hostile_name_takes_no_time() -> None:
    assert parse_reference("a" + "-a" * 300 + "!") is None
    assert parse_reference("a." * 120 + "/" * 2) is None
