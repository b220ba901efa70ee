"""The options of an overlay mount, as they are typed and as mountinfo shows them."""

from __future__ import annotations

import pytest

from layerscope.errors import UsageError
from layerscope.stores.bare.mount_options import MountOptions, parse_options, parse_shown_options

# What Linux 6.18 took, and what its mountinfo showed then.
SEEN = [
    (
        r"lowerdir=a\:b:c\,d:sp ace::data,upperdir=up,workdir=work,metacopy=on,redirect_dir=on",
        r"rw,lowerdir=a\134:b:c\134\054d:sp\040ace::data,upperdir=up,workdir=work,redirect_dir=on,uuid=on,metacopy=on",
        MountOptions(("a:b", "c,d", "sp ace"), ("data",), "up", "work"),
    ),
    (
        r"lowerdir=a\:b:data,upperdir=up,workdir=work,userxattr",
        r"rw,lowerdir=a\134:b:data,upperdir=up,workdir=work,redirect_dir=nofollow,uuid=on,userxattr",
        MountOptions(("a:b", "data"), (), "up", "work", True),
    ),
    (
        r"lowerdir=a\:b:back\\slash",
        r"ro,lowerdir=a\134:b:back\134\134slash,redirect_dir=on",
        MountOptions(("a:b", r"back\slash")),
    ),
    (
        r"lowerdir=data,upperdir=u\,p,workdir=w\:k",
        r"rw,lowerdir=data,upperdir=u\134\054p,workdir=w\134:k,uuid=on",
        MountOptions(("data",), (), "u,p", "w:k"),
    ),
]


@pytest.mark.parametrize(("typed", "shown", "wanted"), SEEN)
def test_options_as_the_kernel_takes_and_shows_them(typed: str, shown: str, wanted: MountOptions) -> None:
    assert parse_options(typed) == wanted
    assert parse_shown_options(shown) == wanted


def test_data_only_directories_follow_double_colons() -> None:
    found = parse_options("lowerdir=l1:l2::d1::d2")
    assert (found.lower, found.data) == (("l1", "l2"), ("d1", "d2"))


def test_directories_one_by_one_are_not_escaped() -> None:
    found = parse_options(r"lowerdir+=/a:b,lowerdir+=/c,datadir+=/d")
    assert (found.lower, found.data) == (("/a:b", "/c"), ("/d",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs a lower directory"),
        ("upperdir=/u", "needs a lower directory"),
        ("lowerdir=", "behind ::"),
        ("lowerdir=:a", "needs a lower directory"),
        ("lowerdir=a::b:c", "behind ::"),
        ("lowerdir=a::", "behind ::"),
        ("lowerdir=a:", "behind ::"),
        ("lowerdir=a,upperdir=", "empty name"),
        ("lowerdir=" + ":".join(["/x"] * 501), "501 lower directories"),
        ("lowerdir=" + "a" * (1 << 20), "longer than"),
    ],
)
def test_what_is_no_overlay(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_options(text)


def test_as_many_directories_as_the_kernel_takes() -> None:
    assert len(parse_options("lowerdir=" + ":".join(["/x"] * 500)).lower) == 500
