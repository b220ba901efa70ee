"""Unpacked layers: as docker's own directories of the same tars; and back to the same tar, without privilege, too."""

from __future__ import annotations

import gzip
import io
import os
import stat as modes
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from lab import golden
from lab.facts import Fact, facts
from msgspec.structs import replace

from layerscope.formats.engine_rules import rules_of
from layerscope.formats.override_stat import OVERRIDE_STAT
from layerscope.formats.tar.split import reassemble
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.hostfs import Directory
from layerscope.lab.layer.pack import LayerTar, Packed, pack
from layerscope.lab.layer.unpack import Unpacked, unpack
from layerscope.lab.layer.upper import CommitRules
from layerscope.lab.root.abilities import ROOT, Abilities, DeviceForm, WhiteoutForm, abilities_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and trusted.* marks need root"),
]
RULES = CommitRules(rules_of("24"))


def pack_folder(path: Path, rules: CommitRules = RULES) -> tuple[Packed, bytes]:
    top, out = Directory.open_root(path), io.BytesIO()
    try:
        return pack(top, rules, out.write), out.getvalue()
    finally:
        top.close()


def unpack_into(target: Path, tar: bytes, abilities: Abilities = ROOT, **more: object) -> Unpacked:
    target.mkdir()
    return unpack(io.BytesIO(tar), target, abilities, **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- docker's own directories
@pytest.mark.parametrize("sample", ["overlay2_root", "buildkit_root"])
def test_a_layer_lies_as_docker_left_it(sample: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root: Path = request.getfixturevalue(sample)
    checked = 0
    for record in sorted((root / "image/overlay2/layerdb/sha256").iterdir()):
        layer = root / "overlay2" / (record / "cache-id").read_text() / "diff"

        def opened(name: str, size: int, layer: Path = layer) -> io.BufferedReader:
            return (layer / name).open("rb")

        with (record / "tar-split.json.gz").open("rb") as stored:
            tar = b"".join(reassemble(stored, opened))
        again = io.BytesIO()
        writer = TarSplitWriter(again, empty_last_segment=True)
        made = unpack_into(tmp_path / record.name, tar, record=writer)
        assert made.diff_id == (record / "diff").read_text()
        assert gzip.decompress(again.getvalue()) == gzip.decompress((record / "tar-split.json.gz").read_bytes())
        of_docker, of_ours = _marks_only(facts(layer)), facts(tmp_path / record.name)
        if _made_by_buildkit(of_docker):
            # BuildKit's snapshot has times to the nanosecond that its tar, and docker's own unpacking of it, hasn't.
            of_docker = {p: f._replace(mtime_ns=(f.mtime_ns or 0) // 10**9 * 10**9) for p, f in of_docker.items()}
            of_ours = {p: f._replace(mtime_ns=f.mtime_ns or 0) for p, f in of_ours.items()}
        else:
            assert made.size == int((record / "size").read_text())
        assert of_ours == of_docker
        assert made.problems == ()
        checked += 1
    assert checked >= 4


def _marks_only(of_docker: dict[str, Fact]) -> dict[str, Fact]:
    """Without the notes that the kernel keeps for itself in a layer that was an upper once (origin, impure)."""

    def counts(key: str) -> bool:
        return key == "trusted.overlay.opaque" or not key.startswith("trusted.overlay.")

    return {
        path: fact._replace(xattrs={key: value for key, value in fact.xattrs.items() if counts(key)})
        for path, fact in of_docker.items()
    }


def _made_by_buildkit(of_docker: dict[str, Fact]) -> bool:
    return any((fact.mtime_ns or 0) % 10**9 for fact in of_docker.values())


# ---------------------------------------------------------------------- there and back
def kept_time(mtime_ns: int | None, kind: str) -> int | None:
    """Whole seconds, and docker's zero for what is before 1970 or behind 2262, but for symlinks."""
    if mtime_ns is None:
        return None
    seconds = mtime_ns // 10**9 * 10**9
    return seconds if kind == oct(modes.S_IFLNK) or 0 <= seconds < 2**63 else 0


def expected_of(before: dict[str, Fact]) -> dict[str, Fact]:
    """What a layer keeps of an upper: capabilities in revision 2, opaque marks; no sockets, other attributes."""
    kept = {}
    for path, fact in before.items():
        xattrs = {}
        capability = fact.xattrs.get("security.capability")
        if capability is not None:
            new = capability[3] == 3
            xattrs["security.capability"] = capability[:3] + b"\2" + capability[4:20] if new else capability
        if fact.xattrs.get("trusted.overlay.opaque") == b"y":
            xattrs["trusted.overlay.opaque"] = b"y"
        kept[path] = fact._replace(xattrs=xattrs, mtime_ns=kept_time(fact.mtime_ns, fact.kind))
    return kept


@pytest.mark.parametrize("name", golden.NAMES)
def test_what_was_packed_comes_back(name: str, tmp_path: Path) -> None:
    upper = golden.unpacked(name, tmp_path / "upper")
    packed, tar = pack_folder(upper)
    made = unpack_into(tmp_path / "back", tar, link_whiteouts=True)
    assert facts(tmp_path / "back") == expected_of(facts(upper))
    assert (made.diff_id, made.tar_bytes, made.size) == (packed.diff_id, packed.tar_bytes, packed.size)
    if name not in ("times", "fuzz-1"):  # where times were lost
        assert pack_folder(tmp_path / "back")[1] == tar


def test_a_tar_is_unpacked_while_it_is_packed(tmp_path: Path) -> None:
    """As a commit does it: one pass, no file in between."""
    upper = golden.unpacked("fuzz-8", tmp_path / "upper")
    top = Directory.open_root(upper)
    (tmp_path / "layer").mkdir()
    made = unpack(LayerTar(top, RULES).open(), tmp_path / "layer")
    top.close()
    assert made.diff_id == golden.truth("28.5.2")["vectors"]["fuzz-8"]["diff_id"]
    assert facts(tmp_path / "layer") == expected_of(facts(upper))


def test_whiteouts_get_an_inode_each_as_docker_makes_them(tmp_path: Path) -> None:
    _, tar = pack_folder(golden.unpacked("delete-files", tmp_path / "upper"))
    unpack_into(tmp_path / "back", tar)
    stats = [path.lstat() for path in (tmp_path / "back").rglob("*") if path.lstat().st_rdev == 0 and not path.is_dir()]
    assert len(stats) >= 6
    assert {stat.st_nlink for stat in stats} == {1}


# ---------------------------------------------------------------------- without privilege
@contextmanager
def _owned_by_nobody(home: Path) -> Iterator[Path]:
    os.chown(home, 65534, 65534)
    yield home
    os.chown(home, 0, 0)


WITHOUT = ["fuzz-8", "hardlinks", "capabilities", "modes", "ids", "symlinks", "opaque-nested", "whiteouts-long"]


@pytest.mark.parametrize("name", WITHOUT)
def test_the_digest_is_roots_without_privilege(
    name: str, tmp_path: Path, nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    packed, tar = pack_folder(golden.unpacked(name, tmp_path / "upper"))
    # Not below tmp_path, which only root may enter.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, _owned_by_nobody(Path(folder)) as home, nobody():
        abilities = abilities_in(home)
        made = unpack_into(home / "back", tar, abilities, link_whiteouts=True)
        rules = replace(RULES, dialect=abilities.dialect, overrides=True, side_record=made.side_record)
        assert {path.lstat().st_uid for path in home.rglob("*")} == {65534}
        again, _ = pack_folder(home / "back", rules)
    assert not abilities.owners
    assert abilities.prefix == "user.overlay."
    assert again.diff_id == made.diff_id == packed.diff_id
    assert again.size == packed.size == made.size


FORMS = {
    "devices": Abilities("user.overlay.", owners=False),
    "attributes": Abilities("user.overlay.", WhiteoutForm.XATTR, owners=False, devices=DeviceForm.OVERRIDE),
    "names": Abilities("user.overlay.", WhiteoutForm.NAME, False, DeviceForm.OVERRIDE, user_xattrs=False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["fuzz-1", "opaque", "opaque-nested", "delete-dirs", "devices", "hardlinks", "modes"])
def test_every_form_of_marks_and_owners_packs_to_the_same_tar(name: str, form: str, tmp_path: Path) -> None:
    """Whiteouts get an inode each first: the other forms can't share one."""
    abilities = FORMS[form]
    _, tar = pack_folder(golden.unpacked(name, tmp_path / "upper"))
    unpack_into(tmp_path / "plain", tar)
    wanted, plain = pack_folder(tmp_path / "plain")
    made = unpack_into(tmp_path / "kept", plain, abilities)
    rules = replace(RULES, dialect=abilities.dialect, overrides=True, side_record=made.side_record)
    assert pack_folder(tmp_path / "kept", rules)[0].diff_id == wanted.diff_id == made.diff_id


def test_the_attribute_says_what_the_file_should_be(tmp_path: Path) -> None:
    _, tar = pack_folder(golden.unpacked("modes", tmp_path / "upper"))
    unpack_into(tmp_path / "kept", tar, FORMS["devices"])
    seen = 0
    for path, fact in facts(tmp_path / "upper").items():
        if fact.kind not in (oct(modes.S_IFREG), oct(modes.S_IFDIR)):
            continue
        kept = os.getxattr(tmp_path / "kept" / path, OVERRIDE_STAT).decode()
        word = "dir" if fact.kind == oct(modes.S_IFDIR) else "file"
        assert kept == f"{fact.uid}:{fact.gid}:{fact.mode:04o}:{word}"
        assert (tmp_path / "kept" / path).stat().st_mode & 0o7000 == 0, "no setuid file of another owner"
        seen += 1
    assert seen > 8
