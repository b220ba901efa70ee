"""Whose IDs files are: a rootless root beside what its machine says of its user."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from layerscope.hostfs import Directory
from layerscope.hostfs.owner_map import MOST_RANGES, OwnerMap, OwnerRange, sound_ranges
from layerscope.stores.owners import RootOwners, root_owners
from layerscope.stores.rootless_owners import rootless_owners

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to a user")
USER, GROUP = 1000, 1001
PASSWD = f"root:x:0:0::/root:/bin/sh\nme:x:{USER}:{GROUP}::/home/me:/bin/sh\n"


def of(users: tuple[OwnerRange, ...], *owners: int) -> list[int]:
    """What each owner is inside."""
    made = OwnerMap(users, ())
    found = []
    for owner in owners:
        stat = os.stat_result((0o100644, 1, 1, 1, owner, 7, 0, 0, 0, 0))
        seen = made.inside(stat)
        assert seen.st_gid == 7, "without ranges all are the same"
        found.append(seen.st_uid)
    return found


def test_ranges() -> None:
    ranges = (OwnerRange(0, 1000, 1), OwnerRange(1, 200_000, 10))
    assert of(ranges, 1000, 200_000, 200_009, 200_010, 0) == [0, 1, 10, 65534, 65534]


def test_a_namespace_within_a_namespace() -> None:
    """0 to 4 there are 8 to 12 in the outer one, which has 11 IDs: the last two are nobody's."""
    outer = OwnerMap((OwnerRange(0, 1000, 1), OwnerRange(1, 200_000, 10)), ())
    both = outer.then(OwnerMap((OwnerRange(0, 8, 5), OwnerRange(5, 0, 1)), (OwnerRange(0, 3, 1),)))
    assert of(both.users, 200_007, 200_009, 200_010, 1000, 200_000) == [0, 2, 65534, 5, 65534]
    assert both.groups == (OwnerRange(0, 3, 1),)
    nothing = outer.then(OwnerMap((OwnerRange(0, 5000, 1),), ()))
    assert of(nothing.users, 5000, 0, 1000) == [65534, 65534, 65534]


def test_ranges_that_there_cannot_be() -> None:
    wild = [OwnerRange(-1, 0, 1), OwnerRange(0, -1, 1), OwnerRange(0, 0, 0), OwnerRange(0, 1, 1 << 32)]
    assert sound_ranges(wild) == ()
    assert len(sound_ranges(OwnerRange(number, number, 1) for number in range(100_000))) == MOST_RANGES
    many = sound_ranges(OwnerRange(number, number, 1 << 20) for number in range(1000))
    assert len(OwnerMap(many, many).then(OwnerMap(many, many)).users) == MOST_RANGES


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's root directory, with a user's root in his home."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/subuid").write_text("me:200000:65536\n")
    (tmp_path / "etc/subgid").write_text("me:300000:65536\n")
    root = tmp_path / "home/me/.local/share/docker"
    root.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(root, USER, GROUP)
    return tmp_path


ROOT = "home/me/.local/share/docker"


def owners(path: Path, how: Callable[[Directory, Path], RootOwners]) -> RootOwners:
    """What is found for the root at ``path``."""
    root = Directory.open_root(path)
    try:
        return how(root, path)
    finally:
        root.close()


@needs_root
def test_next_to_a_mounted_disk(machine: Path) -> None:
    found = owners(machine / ROOT, rootless_owners)
    assert found.map == OwnerMap(
        (OwnerRange(0, USER, 1), OwnerRange(1, 200_000, 65_536)),
        (OwnerRange(0, GROUP, 1), OwnerRange(1, 300_000, 65_536)),
    )
    assert f"in “{machine}/etc”" in found.told and "“me”" in found.told


@needs_root
def test_what_the_user_cannot_own(machine: Path) -> None:
    """A rootful engine's root that was given to a user isn't rootless: no namespace of his has the host's root."""
    for name, owner in (("image", USER), ("overlay2", 200_005)):
        (machine / ROOT / name).mkdir()
        os.chown(machine / ROOT / name, owner, GROUP)
    assert owners(machine / ROOT, rootless_owners).map is not None
    os.chown(machine / ROOT / "image", 0, 0)
    found = owners(machine / ROOT, rootless_owners)
    assert found.map is None and "something in the root belongs to 0" in found.told


@needs_root
def test_several_ranges(machine: Path) -> None:
    (machine / "etc/subuid").write_text("me:200000:5\nme:100000:7\n")
    found = [owners(machine / ROOT, partial(rootless_owners, podmans=one)).map for one in (False, True)]
    own, first, second = OwnerRange(0, USER, 1), OwnerRange(1, 200_000, 5), OwnerRange(6, 100_000, 7)
    assert [one.users for one in found if one] == [
        (own, first, second),
        (own, OwnerRange(1, 100_000, 7), OwnerRange(8, 200_000, 5)),
    ]


@needs_root
@pytest.mark.parametrize("lost", ["etc/subuid", "etc/subgid"])
def test_without_ranges_owners_are_as_on_disk(machine: Path, lost: str) -> None:
    (machine / lost).unlink()
    found = owners(machine / ROOT, rootless_owners)
    assert found.map is None and "no range of “me” in subuid, or none in subgid" in found.told


@needs_root
def test_a_link_does_not_lead_out_of_the_disk(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (machine / "etc/subuid").rename(elsewhere / "subuid")
    (machine / "etc/subuid").symlink_to(elsewhere / "subuid")
    assert owners(machine / ROOT, rootless_owners).map is None


@needs_root
def test_this_machine_counts_for_the_homes_of_its_users_only(machine: Path) -> None:
    def here(root: Directory, path: Path) -> RootOwners:
        return rootless_owners(root, path, system=machine)

    found = owners(machine / ROOT, here).map
    assert found is not None and found.users[1].outside == 200_000
    disk = machine / "mnt/home/me/.local/share/docker"
    disk.mkdir(parents=True)
    os.chown(disk, USER, GROUP)
    told = owners(disk, here)
    assert told.map is None and "isn't known" in told.told
    (machine / "mnt/etc").mkdir()
    (machine / "mnt/etc/passwd").write_text(PASSWD)
    (machine / "mnt/etc/subuid").write_text("me:700000:65536\n")
    (machine / "mnt/etc/subgid").write_text("1000:800000:65536\n")
    found = owners(disk, here).map
    assert found is not None and (found.users[1].outside, found.groups[1].outside) == (700_000, 800_000)


@needs_root
def test_a_copy_that_lost_its_owner(machine: Path) -> None:
    os.chown(machine / ROOT, 0, 0)
    found = owners(machine / ROOT, rootless_owners)
    assert found.map is None and "was lost" in found.told


def test_other_roots(tmp_path: Path) -> None:
    plain = tmp_path / "docker"
    remapped = tmp_path / "165536.231072"
    plain.mkdir()
    remapped.mkdir()
    assert owners(plain, lambda root, path: root_owners(root, path, False)) == RootOwners(None, "")
    found = owners(remapped, lambda root, path: root_owners(root, path, False))
    assert found.map == OwnerMap.remapped(165_536, 231_072)
    assert "165536:231072 on disk is 0:0" in found.told
