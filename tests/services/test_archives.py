"""Image archives as roots: their forms, and what is left of them when they are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from archive_makers import BASE, TOP, archive, config_of, entry, layout_members, saved_members, sha256, tar_of

from layerscope import open_root
from layerscope.cli.main import run
from layerscope.errors import LayerscopeError, RootError, UnsupportedError
from layerscope.model.problem import Problem
from layerscope.services import Session

EXPECTED = {"big": b"b" * 9000, "etc/motd": b"hello again\n", "etc/new": b"new\n"}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def files(session: Session, name: str = "shop/app:1") -> dict[str, bytes]:
    """Every regular file of the merged view."""
    subject = session.find(name)
    found = {}
    for shown in session.entries(subject, recursive=True):
        if shown.type == "file":
            with session.open_file(subject, f"/{shown.path}") as file:
                found[shown.path] = file.read()
    return found


def problems(session: Session) -> list[Problem]:
    """All of them, those of layers that were read included."""
    return list(session.info().problems)


def opened_layer(tmp_path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, **options: int) -> Session:
    """An archive with one layer of these members."""
    return open_root(write(tmp_path / "a.tar", archive(saved_members([tar_of(members, **options)]))))


# ---------------------------------------------------------------------- forms
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip-members": lambda data: b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700)),
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("compress", list(COMPRESSIONS))
def test_layers_of_a_layout_may_be_compressed(tmp_path: Path, compress: str) -> None:
    path = write(tmp_path / "a.tar", archive(layout_members([BASE, TOP], COMPRESSIONS[compress])))
    with open_root(path) as session:
        assert files(session) == EXPECTED
        assert problems(session) == []


@pytest.mark.parametrize("compress", list(COMPRESSIONS))
def test_the_whole_archive_may_be_compressed(tmp_path: Path, compress: str) -> None:
    path = write(tmp_path / "a", COMPRESSIONS[compress](archive(saved_members([BASE, TOP]))))
    with open_root(path) as session:
        assert files(session) == EXPECTED
        assert problems(session) == []


def test_a_layout_may_be_a_folder(tmp_path: Path) -> None:
    for name, data in layout_members([BASE, TOP], gzip.compress).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with open_root(tmp_path) as session:
        assert files(session) == EXPECTED
        assert (session.store.name, session.driver) == ("archive", "tar")


def test_links_of_a_layout_folder_are_not_followed(tmp_path: Path) -> None:
    members = layout_members([BASE, TOP])
    outside = write(tmp_path / "secret", BASE)
    home = tmp_path / "layout"
    for name, data in members.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if data == BASE:
            (home / name).symlink_to(outside)
        else:
            (home / name).write_bytes(data)
    with open_root(home) as session:
        assert files(session) == {path: data for path, data in EXPECTED.items() if path != "big"}
        assert any(f"blobs/sha256/{sha256(BASE)}" == problem.path for problem in problems(session))


def test_a_layer_that_two_images_have_may_be_a_link(tmp_path: Path) -> None:
    members = saved_members([BASE, TOP])
    first = next(name for name, data in members.items() if data == BASE)
    others = [(name, data) for name, data in members.items() if data != BASE]
    link = entry(first, tarfile.SYMTYPE, "../shared/layer.tar")
    path = write(tmp_path / "a.tar", tar_of([("shared/layer.tar", BASE), link, *others]))
    with open_root(path) as session:
        assert files(session) == EXPECTED


def test_platforms_of_an_index(tmp_path: Path) -> None:
    """One image for each platform that is there; attestations are none, other platforms are a note."""
    members = layout_members([BASE], gzip.compress)
    descriptor = json.loads(members.pop("index.json"))["manifests"][0]
    notes = descriptor.pop("annotations")
    other = layout_members([TOP], gzip.compress)
    arm = json.loads(other.pop("index.json"))["manifests"][0]
    del arm["annotations"]
    index = json.dumps(
        {
            "manifests": [
                {**descriptor, "platform": {"os": "linux", "architecture": "amd64"}},
                {**arm, "platform": {"os": "linux", "architecture": "arm64"}},
                {**arm, "digest": f"sha256:{'5' * 64}", "platform": {"os": "linux", "architecture": "s390x"}},
                {**arm, "digest": f"sha256:{'6' * 64}", "platform": {"os": "unknown", "architecture": "unknown"}},
            ]
        }
    ).encode()
    members |= other
    members[f"blobs/sha256/{sha256(index)}"] = index
    kind = "application/vnd.oci.image.index.v1+json"
    target = {"mediaType": kind, "digest": f"sha256:{sha256(index)}", "size": len(index), "annotations": notes}
    members["index.json"] = json.dumps({"manifests": [target]}).encode()
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        assert len(session.images()) == 2
        assert sorted(len(usage.image.repo_tags) for usage in session.images()) == [0, 1]
        assert [(problem.path, problem.severity) for problem in problems(session)] == [
            (f"blobs/sha256/{'5' * 64}", "note")
        ]


def test_all_looking_verbs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.tar", archive(layout_members([BASE, TOP], gzip.compress)))
    name = "shop/app:1"
    for verb in ("info", "images", "images --tree", "ps", f"history {name}", f"stack {name}", f"diff {name}@1 {name}"):
        assert run(["--root", str(path), *verb.split()]) == 0, verb
    assert capfd.readouterr().out.splitlines()[-4:] == ["C /etc", "D /etc/gone", "C /etc/motd", "A /etc/new"]
    for verb in (f"ls {name}:/etc", f"blame {name}:/etc/motd", f"explain {name}:/etc/gone", f"inspect {name}"):
        assert run(["--root", str(path), *verb.split()]) == 0, verb
        assert run(["--root", str(path), *verb.split(), *(["--json"] if verb[:3] != "ins" else [])]) == 0, verb
    capfd.readouterr()
    assert run(["--root", str(path), "cat", f"{name}:/etc/motd", "--from", "1"]) == 0
    assert capfd.readouterr().out == "hello\n"
    assert run(["--root", str(path), "export", name, "-o", str(tmp_path / "out.tar")]) == 0
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert sorted(tar.getnames()) == ["big", "etc", "etc/motd", "etc/new"]
    assert run(["--root", str(path), "extract", f"{name}:/etc", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "motd").read_text() == "hello again\n"


# ---------------------------------------------------------------------- damage of the archive
def without(members: Mapping[str, bytes], *gone: bytes) -> dict[str, bytes]:
    return {name: data for name, data in members.items() if data not in gone}


@pytest.mark.parametrize("make", [saved_members, layout_members])
def test_a_missing_layer_is_named_with_its_place(tmp_path: Path, make: Callable[..., dict[str, bytes]]) -> None:
    members = make([BASE, TOP])
    place = next(name for name, data in members.items() if data == BASE)
    with open_root(write(tmp_path / "a.tar", archive(without(members, BASE)))) as session:
        assert files(session) == {"etc/motd": b"hello again\n", "etc/new": b"new\n"}
        assert {problem.path for problem in problems(session)} == {place}
        assert session.levels(session.find("shop/app:1"))[0].path == place


def test_a_missing_config_leaves_the_files(tmp_path: Path) -> None:
    members = saved_members([BASE, TOP])
    config = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    with open_root(write(tmp_path / "a.tar", archive(without(members, members[config])))) as session:
        assert files(session) == EXPECTED
        assert session.images()[0].image.id == f"sha256:{config.removesuffix('.json')}"
        assert config in {problem.path for problem in problems(session)}


def test_a_changed_config_is_told(tmp_path: Path) -> None:
    members = saved_members([BASE, TOP])
    config = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    members[config] += b" "
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        assert files(session) == EXPECTED
        assert session.images()[0].image.id == f"sha256:{sha256(members[config])}"
        assert [problem.path for problem in problems(session)] == [config]


def test_a_config_with_fewer_layers_than_the_manifest(tmp_path: Path) -> None:
    members = saved_members([BASE, TOP])
    config = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    members[config] = config_of([BASE])
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        assert files(session) == EXPECTED
        assert any("names 1 layers, but the archive has 2" in problem.what for problem in problems(session))


@pytest.mark.parametrize("make", [saved_members, layout_members])
def test_an_archive_cut_anywhere_gives_what_is_left(tmp_path: Path, make: Callable[..., dict[str, bytes]]) -> None:
    data = archive(make([BASE, TOP]))
    shown = 0
    for length in range(0, len(data), 3001):
        path = write(tmp_path / "a.tar", data[:length])
        try:
            session = open_root(path)
        except RootError as error:
            assert str(path) in str(error)
            continue
        with session:
            shown += 1
            for usage in session.images():
                got = files(session, usage.image.id)
                assert all(EXPECTED.get(name, b"hello\n gone\n").startswith(part[:5]) for name, part in got.items())
    assert shown or make is saved_members


def test_a_layout_whose_index_is_lost_is_known_by_its_manifests(tmp_path: Path) -> None:
    members = layout_members([BASE, TOP], gzip.compress)
    del members["index.json"]
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        assert files(session, session.images()[0].image.id) == EXPECTED


@pytest.mark.parametrize("lost", ["manifest.json", "manifest.json and the lower layer"])
def test_an_archive_of_skopeo_that_lost_its_manifest_is_known_by_its_configs(tmp_path: Path, lost: str) -> None:
    """Its layers bear the names of their diff IDs; the manifest comes last, so a copy that was cut lacks it first."""
    members = {f"{sha256(layer)}.tar": layer for layer in (BASE, TOP)}
    config = config_of([BASE, TOP])
    members[f"{sha256(config)}.json"] = config
    if "layer" in lost:
        del members[f"{sha256(BASE)}.tar"]
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        (usage,) = session.images()
        assert usage.image.id == f"sha256:{sha256(config)}"
        if "layer" in lost:
            assert files(session, usage.image.id) == {"etc/motd": b"hello again\n", "etc/new": b"new\n"}
            assert f"{sha256(BASE)}.tar" in {problem.path for problem in problems(session)}
        else:
            assert files(session, usage.image.id) == EXPECTED


def test_a_config_alone_makes_no_image(tmp_path: Path) -> None:
    config = config_of([BASE, TOP])
    with pytest.raises(RootError, match="neither a root nor an image archive"):
        open_root(write(tmp_path / "a.tar", archive({f"{sha256(config)}.json": config, "x.tar": BASE})))


def old_members() -> dict[str, bytes]:
    """What docker before 1.10 saved: records of layers that name their parents."""
    base, top = "a" * 64, "b" * 64
    return {
        f"{base}/json": json.dumps({"id": base, "created": "2014-01-01T00:00:00Z"}).encode(),
        f"{base}/layer.tar": BASE,
        f"{top}/json": json.dumps({"id": top, "parent": base, "created": "2014-01-02T00:00:00Z"}).encode(),
        f"{top}/layer.tar": TOP,
        "repositories": json.dumps({"shop/app": {"1": top}}).encode(),
    }


def test_an_archive_from_before_docker_1_10(tmp_path: Path) -> None:
    with open_root(write(tmp_path / "a.tar", archive(old_members()))) as session:
        assert files(session) == EXPECTED
        assert session.images()[0].image.created == "2014-01-02T00:00:00Z"
        assert "neither a manifest.json nor an index.json" in problems(session)[0].what


def test_parents_in_a_circle(tmp_path: Path) -> None:
    members = old_members()
    members[f"{'a' * 64}/json"] = json.dumps({"parent": "b" * 64}).encode()
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        assert files(session) == EXPECTED


def test_a_layer_cut_short(tmp_path: Path) -> None:
    members = saved_members([BASE, TOP])
    place = next(name for name, data in members.items() if data == BASE)
    members[place] = BASE[: BASE.index(b"bbbb") + 1000]
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        subject = session.find("shop/app:1")
        assert {shown.path for shown in session.entries(subject, recursive=True)} == {"etc", *EXPECTED}
        with session.open_file(subject, "/etc/motd") as file:
            assert file.read() == b"hello again\n"
        with session.open_file(subject, "/big") as file, pytest.raises(OSError, match="ends after"):
            file.read()
        assert any(problem.path == place and "ends inside of big" in problem.what for problem in problems(session))
        out = io.BytesIO()
        assert [problem.path for problem in session.export(subject, out)] == ["big"]


@pytest.mark.parametrize("compress", ["gzip", "zstd", "bzip2", "xz"])
def test_compressed_data_cut_short(tmp_path: Path, compress: str) -> None:
    long = tar_of([("first", b"1" * 100), ("random", os.urandom(300_000)), ("last", b"")])
    members = layout_members([long], lambda data: COMPRESSIONS[compress](data)[:-100_000])
    with open_root(write(tmp_path / "a.tar", archive(members))) as session:
        subject = session.find("shop/app:1")
        paths = {shown.path for shown in session.entries(subject, recursive=True)}
        # bzip2 gives whole blocks of 900 kB only, and this is a single one.
        assert paths == (set() if compress == "bzip2" else {"first", "random"})
        told = [problem for problem in session.problems() if "damaged" in problem.what]
        assert len(told) == 1
        assert told[0].path.startswith("blobs/sha256/")


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    for data in (b"\x1f\x8bnot gzip", b"\x28\xb5\x2f\xfdnot zstd" * 99, b"neither" * 300, b""):
        members = saved_members([data, TOP])
        place = next(name for name, there in members.items() if there == data)
        with open_root(write(tmp_path / "a.tar", archive(members))) as session:
            assert files(session) == {"etc/motd": b"hello again\n", "etc/new": b"new\n"}
            assert {problem.path for problem in session.problems()} == ({place} if data else set())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "nothing in it"),
        (b"no tar at all" * 100, "no tar"),
        (tar_of([("a", b"b")]), "no manifest.json and no index.json"),
        (tar_of([("repositories", b"{}"), ("x/json", b"{}")]), "no manifest.json and no index.json"),
        (tar_of([("manifest.json", b"[]")]), "describes no image"),
        (tar_of([("manifest.json", b"{")]), "manifest.json"),
        (tar_of([("manifest.json", b"[" * 100_000)]), "manifest.json"),
        (tar_of([("index.json", b'{"manifests":[{"digest":"sha256:../../x"}]}')]), "describes no image"),
        (gzip.compress(b"x" * 5000, mtime=0), "no tar"),
    ],
    ids=["empty", "text", "neither", "repositories", "none", "cut", "deep", "digest", "gzip"],
)
def test_what_is_no_image_archive(tmp_path: Path, data: bytes, told: str) -> None:
    path = write(tmp_path / "a.tar", data)
    with pytest.raises(RootError, match=told):
        open_root(path)
    assert run(["--root", str(path), "info"]) == 3


# ---------------------------------------------------------------------- odd members of layers
def test_names_that_lead_out_are_shown_inside(tmp_path: Path) -> None:
    with opened_layer(tmp_path, ("../../escaped", b"1"), ("/absolute", b"2"), ("a/../../b", b"3")) as session:
        assert files(session) == {"escaped": b"1", "absolute": b"2", "b": b"3"}
        assert sum("leads out of the layer" in problem.what for problem in session.problems()) == 2


def test_the_last_of_several_members_of_a_name_counts(tmp_path: Path) -> None:
    with opened_layer(tmp_path, ("a", b"1"), ("d/x", b"x"), ("a", b"22"), entry("d", tarfile.DIRTYPE)) as session:
        assert files(session) == {"a": b"22", "d/x": b"x"}


def test_hard_links(tmp_path: Path) -> None:
    links = [entry(name, tarfile.LNKTYPE, target) for name, target in (("b", "a"), ("c", "b"), ("lost", "nowhere"))]
    with opened_layer(tmp_path, ("a", b"one inode"), *links) as session:
        assert files(session) == dict.fromkeys("abc", b"one inode")
        shown = {one.path: one for one in session.entries(session.find("shop/app:1"))}
        assert [shown[name].stat.st_nlink for name in "abc"] == [3, 3, 3]
        assert [shown[name].link_to for name in "abc"] == [None, "a", "a"]
        assert [problem.what for problem in session.problems()] == [
            "has the hard link lost to nowhere, which isn't in it"
        ]


def test_headers_that_are_too_long_end_the_layer(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("huge")
    huge.pax_headers = {"comment": "x" * (2 << 20)}
    with opened_layer(tmp_path, ("before", b"1"), huge, ("behind", b"2"), format=tarfile.PAX_FORMAT) as session:
        assert files(session) == {"before": b"1"}
        assert [problem.effect for problem in session.problems()] == ["the entries before are shown"]


def test_long_names(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 15)
    long = "/".join(["e" * 200] * 40)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with opened_layer(
            tmp_path, (f"{deep}/f", b"deep"), (f"{long}/f", b"long"), ("z", b"z"), format=form
        ) as session:
            assert files(session) == {f"{deep}/f": b"deep", "z": b"z"}
            assert ["a name of 8041 characters" in problem.what for problem in session.problems()] == [True]


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax", "--sparse-version=0.1"], ["--format=pax"]])
def test_sparse_members_are_read_whole(tmp_path: Path, options: list[str]) -> None:
    """As GNU tar writes them, with more pieces than one header holds."""
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(40):
            file.seek(number * 100_000)
            file.write(bytes([number + 1]) * 4096)
        file.truncate(5_000_000)
    command = ["tar", "-C", str(tmp_path), "-cS", *options, "sparse"]
    layer = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(layer) < 1_000_000
    with open_root(write(tmp_path / "a.tar", archive(saved_members([layer])))) as session:
        assert files(session) == {"sparse": (tmp_path / "sparse").read_bytes()}
        assert session.problems() == ()


def test_a_sparse_member_whose_map_is_lost_is_named(tmp_path: Path) -> None:
    """Version 0.0 repeats one key of the header, which Go's reader takes, too."""
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(1_000_000)
        file.write(b"end")
    command = ["tar", "-C", str(tmp_path), "-cS", "--format=pax", "--sparse-version=0.0", "sparse"]
    layer = subprocess.run(command, check=True, capture_output=True).stdout
    with open_root(write(tmp_path / "a.tar", archive(saved_members([layer])))) as session:
        subject = session.find("shop/app:1")
        assert [(one.path, one.stat.st_size) for one in session.entries(subject)] == [("sparse", 1_000_003)]
        with pytest.raises(UnsupportedError, match="map of a sparse file"):
            session.open_file(subject, "/sparse")
        assert [problem.effect for problem in session.problems()] == ["its bytes can't be shown"]


def test_special_files_and_marks(tmp_path: Path) -> None:
    top = tar_of(
        [
            entry("etc", tarfile.DIRTYPE, mode=0o700),
            ("etc/.wh..wh..opq", b""),
            entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("pipe", tarfile.FIFOTYPE),
            entry("link", tarfile.SYMTYPE, "../../../etc/passwd"),
            (".wh..wh.plnk", b"bookkeeping"),
            entry(".wh.big", tarfile.REGTYPE),
        ]
    )
    with open_root(write(tmp_path / "a.tar", archive(saved_members([BASE, top])))) as session:
        shown = {one.path: one for one in session.entries(session.find("shop/app:1"), recursive=True)}
        assert {path: one.type for path, one in shown.items()} == {
            "etc": "dir",
            "link": "symlink",
            "null": "char",
            "pipe": "fifo",
        }
        assert (os.major(shown["null"].stat.st_rdev), os.minor(shown["null"].stat.st_rdev)) == (1, 3)
        with pytest.raises(LayerscopeError):
            session.open_file(session.find("shop/app:1"), "/link")


def test_every_entry_before_damage_is_shown(tmp_path: Path) -> None:
    """Compressed in pieces of one header each, one of them spoiled: the entries before it are all there."""
    names = [f"file-{number:02}" for number in range(40)]
    layer = tar_of([(name, b"") for name in names])
    pieces = [gzip.compress(layer[at : at + 512]) for at in range(0, len(layer), 512)]
    for spoiled in (1, 17, 39):
        damaged = b"".join([*pieces[:spoiled], pieces[spoiled][:-8] + bytes(8), *pieces[spoiled + 1 :]])
        members = layout_members([layer], lambda _, damaged=damaged: damaged)
        with open_root(write(tmp_path / "a.tar", archive(members))) as session:
            shown = [one.path for one in session.entries(session.find("shop/app:1"))]
            assert names[:spoiled] == [name for name in shown if name in names[:spoiled]]
            assert len(shown) <= spoiled + 1  # the bytes of the spoiled one come before its checksum
            assert len(session.problems()) == 1
