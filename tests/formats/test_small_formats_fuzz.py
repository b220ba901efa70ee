"""Mutated inputs for the parsers of small records: only our own errors get out, in bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from sample_roots import DATA

from layerscope.errors import LayerscopeError
from layerscope.formats.device_record import parse_device, parse_file_system_name, parse_transaction
from layerscope.formats.file_pattern import IgnoreRules, ignore_rules
from layerscope.formats.gotime import parse_binary, parse_rfc3339
from layerscope.formats.override_stat import parse_override, parse_side_record
from layerscope.formats.passwd import group_names, home_of, user_names
from layerscope.formats.protobuf_any import parse_any
from layerscope.formats.sqlite_pages import current_state
from layerscope.formats.subordinate_ids import subordinate_ranges
from layerscope.formats.zfs_list import parse_zfs_list
from layerscope.hostfs.mounts import parse_mountinfo
from layerscope.stores.bare.mount_options import parse_options, parse_shown_options

_SECONDS = 5.0
_WORDS = (
    b"\n",
    b"\t",
    b" ",
    b"\\",
    b"\\134",
    b"\\777",
    b":",
    b"::",
    b"=",
    b",",
    b"-",
    b"[",
    b"]",
    b"**",
    b"\x00",
    b"\x0b",
)
_NUMBERS = (b"0", b"-1", b"9" * 40, b"0x7f", b"1e9", b"\xc2\xb2", b"\xd9\xa3", b"4294967296", b"18446744073709551616")


class Format(NamedTuple):
    """A well-formed input, and everything that reads such a one."""

    good: bytes
    read: Callable[[bytes], object]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _patterns(data: bytes) -> None:
    rules = IgnoreRules(ignore_rules(data))
    for path in ("a/b/c.txt", "keep/b.txt", "top*", "x"):
        rules.leaves_out(path)
        rules.may_keep_below(path)


def _times(data: bytes) -> None:
    parse_binary(data)
    parse_rfc3339(_text(data))


_MOUNTINFO = b"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
95 22 0:45 / /var/lib/docker/overlay2/ab/merged rw,relatime shared:7 - overlay overlay rw,lowerdir=/a:/b,upperdir=/c
96 22 0:46 / /mnt/with\\040blank rw - tmpfs tmpfs rw,size=65536k
"""
_SIDE = b"""{"a":{"uid":1,"gid":2,"mode":493},"b/c":{"uid":0,"gid":0,"mode":420,"devmajor":1}}"""
_FORMATS = {
    "zfs list": Format(
        b"".join((DATA / "zfs/truth/zfs-list.tsv").read_bytes().splitlines(keepends=True)[:9]),
        lambda data: parse_zfs_list(_text(data)),
    ),
    "mountinfo": Format(_MOUNTINFO, lambda data: list(parse_mountinfo(_text(data)))),
    "mount options": Format(
        b"lowerdir=/a\\:b:/c::/data,upperdir=/u,workdir=/w,userxattr", lambda data: parse_options(_text(data))
    ),
    "shown mount options": Format(
        b"rw,lowerdir=/a\\134:b:/c,upperdir=/u\\040v,workdir=/w,redirect_dir=on",
        lambda data: parse_shown_options(_text(data)),
    ),
    "passwd": Format(b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n", user_names),
    "home": Format(
        b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n", lambda data: home_of(data, 1000)
    ),
    "group": Format(b"root:x:0:\nme:x:1000:me,other\n", group_names),
    "subordinate ids": Format(
        b"me:100000:65536\n1000:300000:65536\n", lambda data: subordinate_ranges(data, 1000, b"me")
    ),
    "override": Format(b"1000:1000:0100755:file", parse_override),
    "side record": Format(_SIDE, parse_side_record),
    "any": Format(b"\n\x1acontainerd.runc.v1.Options\x12\x04\x0a\x02ab", parse_any),
    "device record": Format(
        b'{"device_id":20,"size":314572800,"transaction_id":32,"initialized":false,"deleted":false}',
        lambda data: parse_device(data, "x"),
    ),
    "device set": Format(b'{"next_device_id":24,"BaseDeviceFilesystem":"ext4"}', parse_file_system_name),
    "transaction": Format(b'{"open_transaction_id":36,"device_hash":"","device_id":24}', parse_transaction),
    "ignore rules": Format(b"# no\n*.txt\n!keep/[a-c]?.txt\n**/x\n/top\\*\n", _patterns),
    "times": Format(b"2026-11-21T20:19:28.648857255Z", _times),
    "sqlite": Format(
        b"SQLite format 3\x00\x10\x00\x02\x02\x00@  " + bytes(4096 - 24), lambda data: current_state(data, data[::-1])
    ),
}


def mutated(good: bytes, rng: random.Random) -> bytes:
    """One to six small changes: bytes, cuts, repeats, words and numbers that mean something in one of the formats."""
    data = bytearray(good)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        change = rng.randrange(6)
        if change == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif change == 1:
            del data[at : at + rng.randint(1, 40)]
        elif change == 2:
            data[at:at] = data[at : at + 60] * rng.randint(1, 50)
        elif change == 3:
            data[at:at] = rng.choice(_WORDS) * rng.choice((1, 1, 2, 3000))
        elif change == 4:
            data[at : at + rng.randint(0, 9)] = rng.choice(_NUMBERS)
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 30))
    return bytes(data)


def survive(name: str, seeds: range) -> None:
    """Read one mutated input for each seed."""
    good, read = _FORMATS[name]
    read(good)
    for seed in seeds:
        data = mutated(good, random.Random(f"{name} {seed}"))
        began = time.process_time()
        try:
            read(data)
        except LayerscopeError:
            pass
        except BaseException as error:
            error.add_note(f"seed {seed} of {name}: {data[:200]!r}")
            raise
        assert time.process_time() - began < _SECONDS, f"seed {seed} of {name} takes too long"


@pytest.mark.parametrize("name", _FORMATS)
def test_300_mutated_records_raise_only_our_own_errors(name: str) -> None:
    survive(name, range(300))


@pytest.mark.full
@pytest.mark.parametrize("name", _FORMATS)
def test_10000_mutated_records_raise_only_our_own_errors(name: str) -> None:
    survive(name, range(300, 10_300))
