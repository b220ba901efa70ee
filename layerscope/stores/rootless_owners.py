"""Whose IDs the files of a rootless engine's root are: what the machine that it belongs to says of its user.

In the namespace that a rootless engine works in its user is 0, and his subordinate IDs are 1 and up. No record in the
root tells which those are, but ``etc/subuid`` and ``etc/subgid`` of the machine that it belongs to: of the nearest
directory above the root that has an ``etc/passwd``, so of a mounted disk. The root directory of this machine only
counts for a root in the home that ``/etc/passwd`` has for its owner: any other may be part of a disk that is mounted
somewhere.
Sources: subuid(5); containers/storage pkg/idtools/idtools.go ``NewIDMappings``; seen with podman 4.3, RootlessKit 1.1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from layerscope.formats.passwd import home_of, user_names
from layerscope.formats.subordinate_ids import subordinate_ranges
from layerscope.hostfs import Directory
from layerscope.hostfs.owner_map import OwnerMap, OwnerRange, Ranges, sound_ranges
from layerscope.stores.owners import RootOwners
from layerscope.stores.records.files import Fault, read_bytes, shown

_FILE_LIMIT = 1 << 24
_MOST_ABOVE = 64
_MOST_LOOKED_AT = 64


def rootless_owners(root: Directory, path: Path | str, podmans: bool = False, system: Path = Path("/")) -> RootOwners:
    """How owners are mapped in the rootless ``root``, which lies at ``path``; ``system``: this machine's own root.

    Of several ranges RootlessKit, in which docker runs, takes the first line first, ``podmans`` engine the lowest.
    """
    owner = root.stat_self()
    user, group = owner.st_uid, owner.st_gid
    if user == 0:
        return _unknown("the root belongs to root: its own owner, the engine's user, was lost")
    machine = _machine(Path(os.path.realpath(path)), user, system)
    if machine is None:
        return _unknown(f"whose machine user {user} is of isn't known")
    try:
        top = Directory.open_root(machine)
    except OSError as error:
        return _unknown(f"{shown(machine, 200)} can't be opened: {error.strerror}")
    try:
        folder = top.enter("etc")
        passwd = _read(folder, "passwd")
        name = user_names(passwd).get(user)
        ranges = [subordinate_ranges(_read(folder, file), user, name) for file in ("subuid", "subgid")]
    finally:
        top.close()
    if podmans:
        ranges = [sorted(one) for one in ranges]
    place = f"{machine}/etc".replace("//", "/")
    who = shown(os.fsdecode(name)) if name is not None else str(user)
    if not ranges[0] or not ranges[1]:
        return _unknown(f"{shown(place, 200)} has no range of {who} in subuid, or none in subgid")
    users, groups = _ranges(user, ranges[0]), _ranges(group, ranges[1])
    stranger = _stranger(root, users)
    if stranger is not None:
        return _unknown(f"something in the root belongs to {stranger}, whom {who} can't be in a namespace")
    first = f"{users[1].outside}:{groups[1].outside}" if min(len(users), len(groups)) > 1 else "nothing"
    told = f"rootless: owners are shown as containers see them, {user}:{group} on disk is 0:0 and {first} is 1:1"
    return RootOwners(OwnerMap(users, groups), f"{told} (subuid and subgid of {who} in {shown(place, 200)})")


def _stranger(root: Directory, users: Ranges) -> int | None:
    """An owner of what lies in the root that can't be there if its engine worked with these ranges."""
    try:
        entries = root.stats(name for name, _kind in root.scan()[:_MOST_LOOKED_AT])
    except OSError:
        return None
    owners = (entry.st_uid for entry in entries if entry is not None)
    return next((one for one in owners if not any(0 <= one - each.outside < each.count for each in users)), None)


def _unknown(why: str) -> RootOwners:
    return RootOwners(None, f"rootless: owners are shown as on disk, how containers see them is not known ({why})")


def _machine(path: Path, user: int, system: Path) -> Path | None:
    """The root directory of the machine that the root at ``path`` belongs to."""
    for above in list(path.parents)[:_MOST_ABOVE]:
        if above in (system, Path("/")):
            break
        if _passwd(above):
            return above
    home = home_of(_passwd(system), user)
    if not home:
        return None
    place = Path(os.path.realpath(os.path.join(system, os.fsdecode(home).replace("\0", "").lstrip("/"))))
    return system if place != system and place in path.parents else None


def _passwd(machine: Path) -> bytes:
    try:
        top = Directory.open_root(machine)
    except OSError:
        return b""
    try:
        return _read(top.enter("etc"), "passwd")
    finally:
        top.close()


def _read(folder: Directory, name: str) -> bytes:
    found = read_bytes(folder, name, _FILE_LIMIT)
    return b"" if isinstance(found, Fault) else found


def _ranges(own: int, subordinate: list[tuple[int, int]]) -> Ranges:
    """The user's own ID, then his ranges one behind the other."""
    return sound_ranges(_in_a_row(own, subordinate))


def _in_a_row(own: int, subordinate: list[tuple[int, int]]) -> Iterator[OwnerRange]:
    yield OwnerRange(0, own, 1)
    inside = 1
    for first, count in subordinate:
        yield OwnerRange(inside, first, count)
        inside += count
