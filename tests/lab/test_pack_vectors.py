"""The layer tar of every vector against what docker's own commit made of the same upper."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from lab import golden

from layerscope.formats.engine_rules import rules_of
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer.pack import Packed, pack
from layerscope.lab.layer.upper import CommitRules
from layerscope.model.tree import LayerDirectory

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and trusted.* marks need root")


def packed(top: LayerDirectory, rules: CommitRules) -> tuple[Packed, bytes, bytes]:
    """The result, the tar, and the text of its tar-split record."""
    tar, record = io.BytesIO(), io.BytesIO()
    writer = TarSplitWriter(record, empty_last_segment=rules.engine.empty_last_segment)
    made = pack(top, rules, tar.write, record=writer)
    return made, tar.getvalue(), gzip.decompress(record.getvalue())


def check(name: str, engine: str, top: LayerDirectory) -> None:
    told = golden.truth(engine)["vectors"][name]
    made, tar, text = packed(top, golden.commit_rules(name, engine, rules_of(engine)))
    assert made.diff_id == told["diff_id"] == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert made.tar_bytes == told["tar_size"] == len(tar)
    if "tar_split_sha256" in told:
        assert hashlib.sha256(text).hexdigest() == told["tar_split_sha256"]
        assert text.count(b"\n") == told["tar_split_entries"]
    else:
        assert made.members == 0
    assert made.problems == ()


@pytest.mark.parametrize("engine", golden.TRUTHS)
@pytest.mark.parametrize("name", golden.NAMES)
def test_the_tar_is_dockers(name: str, engine: str) -> None:
    check(name, engine, golden.upper(name))


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("name", golden.NAMES)
def test_the_tar_of_the_directory_on_disk_is_dockers(name: str, tmp_path: Path) -> None:
    top = Directory.open_root(golden.unpacked(name, tmp_path / "upper"))
    for engine in golden.TRUTHS:
        check(name, engine, top)
    top.close()


def without_owner_names(tar: bytes) -> bytes:
    """docker's own bytes with the name fields blanked, as an engine leaves them that asks nobody for names."""
    blocks = bytearray(tar)
    position = 0
    while any(blocks[position : position + 512]):
        header = blocks[position : position + 512]
        header[265:329] = bytes(64)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks[position : position + 512] = header
        size = int(header[124:135], 8)
        position += 512 + size + -size % 512
    return bytes(blocks)


@pytest.mark.parametrize("name", [name for name in golden.NAMES if name != "names"])
def test_23_is_20_10_without_owner_names(name: str) -> None:
    """The tar code of 23.0.1 keeps the type bits and has dropped the names; nothing else of it changed."""
    _, of_docker, _ = packed(golden.upper(name), golden.commit_rules(name, "20.10", rules_of("20.10")))
    assert f"sha256:{hashlib.sha256(of_docker).hexdigest()}" == golden.truth("20.10")["vectors"][name]["diff_id"]
    _, tar, _ = packed(golden.upper(name), golden.commit_rules(name, "20.10", rules_of("23")))
    assert tar == without_owner_names(of_docker)


def test_23_needs_no_records_for_names() -> None:
    """What was PAX only for its owner's name is plain from 23 on; type bits are still there."""
    _, tar, _ = packed(golden.upper("names"), golden.commit_rules("names", "20.10", rules_of("23.0.6")))
    with tarfile.open(fileobj=io.BytesIO(tar)) as read:
        members = read.getmembers()
    assert len(tar) == golden.truth("28.5.2")["vectors"]["names"]["tar_size"]
    assert not any(member.pax_headers or member.uname or member.gname for member in members)
    files, folders = (
        sum(of_kind(member) for member in golden.archive("names").members.values())
        for of_kind in (tarfile.TarInfo.isreg, tarfile.TarInfo.isdir)
    )
    assert (tar.count(b"\0000100644\0"), tar.count(b"\0000040755\0")) == (files, folders)


@pytest.mark.parametrize(("version", "same"), [("24.0.9", "28.5.2"), ("26.1.5+dfsg1", "28.5.2"), ("19.03.15", "20.10")])
def test_versions_of_a_group_agree(version: str, same: str) -> None:
    top = golden.upper("modes")
    made = pack(top, golden.commit_rules("modes", same, rules_of(version)))
    assert made.diff_id == golden.truth(same)["vectors"]["modes"]["diff_id"]
