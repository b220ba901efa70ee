"""Layer tars outside any root: made of an upper directory, and unpacked into a directory of their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from layerscope.errors import CommitError, CorruptError, PermissionDenied, RootError, UsageError
from layerscope.formats.engine_rules import EngineRules, rules_of
from layerscope.formats.escape import escape
from layerscope.formats.override_stat import (
    SIDE_RECORD,
    SIDE_RECORD_LIMIT,
    SideEntry,
    parse_side_record,
    side_record_text,
)
from layerscope.formats.passwd import group_names, user_names
from layerscope.formats.whiteout import Dialect, dialect_for
from layerscope.hostfs import Directory
from layerscope.hostfs.privilege import privilege
from layerscope.hostfs.removal import remove_tree
from layerscope.lab.layer.pack import Packed, pack
from layerscope.lab.layer.unpack import Unpacked, unpack
from layerscope.lab.layer.upper import DOCKER_MARKS, CommitRules
from layerscope.lab.root.abilities import abilities_in
from layerscope.model.problem import Problem, Severity

__all__ = ["Packed", "Unpacked", "pack_directory", "unpack_tar"]

_NAMES_LIMIT = 64 << 20


def pack_directory(
    upper: Path,
    *,
    engine: str = "24",
    passwd: Path | None = None,
    group: Path | None = None,
    xattr_prefix: str | None = None,
    write: Callable[[bytes], object] | None = None,
) -> Packed:
    """Make the layer tar that a commit would make of the directory ``upper``.

    Args:
        upper: a directory; as the user names it, links in the path are followed.
        engine: whose rules apply, by version.
        passwd: where owner names come from, for engines that write them; None is the machine's own file.
        group: as ``passwd``.
        xattr_prefix: whose marks count: ``trusted`` as docker's own, or ``user`` as those made without privilege, with
            owners and modes kept in overrides. None: ``trusted`` if this user can see such.
        write: gets the tar.

    Raises:
        UsageError: there is no such directory or file, or no such engine.
        CommitError: an entry can't be put into a layer.
        RootError: something can't be read.
    """
    engine_rules = rules_of(engine)
    prefix = xattr_prefix or ("trusted" if privilege().trusted_xattrs else "user")
    users = user_names(_name_file(passwd, "/etc/passwd", engine_rules))
    groups = group_names(_name_file(group, "/etc/group", engine_rules))
    without_privilege = prefix == "user"
    rules = CommitRules(
        engine=engine_rules,
        dialect=_dialect(prefix),
        users=users,
        groups=groups,
        overrides=without_privilege,
        side_record=_side_record(upper) if without_privilege else {},
    )
    try:
        top = Directory.open_root(upper)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"cannot pack {escape(str(upper))}: there is no such directory") from None
    except OSError as error:
        raise RootError(f"cannot pack {escape(str(upper))}: {os.strerror(error.errno or 0)}") from None
    try:
        packed = pack(top, rules, write)
        foreign = top.stat_self().st_uid != os.geteuid()
    finally:
        top.close()
    if not privilege().trusted_xattrs and (foreign or xattr_prefix == "trusted"):
        what = "this user can't see the marks trusted.overlay.*, of which root may have made some"
        unseen = Problem(
            "", what, "opaque directories made by root are missing in the tar", "run as root", Severity.WARNING
        )
        packed = replace(packed, problems=(*packed.problems, unseen))
    return packed


def _dialect(prefix: str) -> Dialect:
    if prefix == "trusted":
        return DOCKER_MARKS
    # Without a system call for attributes (macOS), marks are names.
    return Dialect(dialect_for(prefix).prefix, names=not hasattr(os, "getxattr"))


def _name_file(path: Path | None, usual: str, rules: EngineRules) -> bytes:
    if not rules.owner_names:
        return b""
    try:
        with open(path or usual, "rb") as file:
            data = file.read(_NAMES_LIMIT + 1)
    except OSError as error:
        if path is None:
            return b""  # a machine without such a file knows no names
        raise UsageError(f"cannot read {escape(str(path))}: {os.strerror(error.errno or 0)}") from None
    if len(data) > _NAMES_LIMIT:
        raise UsageError(f"cannot read {escape(str(path or usual))}: it is longer than {_NAMES_LIMIT} bytes")
    return data


# ---------------------------------------------------------------------- the side record
def _beside(directory: Path) -> Path:
    whole = directory.resolve()
    return whole.with_name(whole.name + SIDE_RECORD)


def _side_record(upper: Path) -> dict[str, SideEntry]:
    path = _beside(upper)
    try:
        with open(path, "rb") as file:
            data = file.read(SIDE_RECORD_LIMIT + 1)
        if len(data) > SIDE_RECORD_LIMIT:
            raise CorruptError(f"longer than {SIDE_RECORD_LIMIT} bytes")
        return parse_side_record(data)
    except FileNotFoundError:
        return {}
    except (OSError, CorruptError) as error:
        raise CommitError(f"cannot pack {escape(str(upper))}: {escape(path.name)}: {error}") from None


# ---------------------------------------------------------------------- unpacking
def unpack_tar(tar: BinaryIO, target: Path, *, xattr_prefix: str | None = None) -> Unpacked:
    """Unpack a layer tar into ``target``, which is there with all of it afterwards, or as it was.

    Args:
        tar: plain or compressed, read from where it stands.
        target: a directory that isn't there yet, or is empty.
        xattr_prefix: whose marks are made; None is ``trusted`` where this user can, else ``user``.

    Raises:
        UsageError: there is no directory to make it in.
        CommitError: ``target`` isn't empty, the tar is damaged or breaks a rule, or the system refused.
    """
    target = Path(os.path.abspath(target))
    shown = escape(str(target))
    if os.path.lexists(target):
        if target.is_symlink() or not target.is_dir():
            raise CommitError(f"cannot unpack into {shown}: it is no directory")
        if _listed(target):
            raise CommitError(f"cannot unpack into {shown}: it is not empty")
    if not target.parent.is_dir():
        raise UsageError(f"cannot unpack into {shown}: there is no directory {escape(str(target.parent))}")
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    record, record_aside = _beside(target), aside.with_name(aside.name + SIDE_RECORD)
    try:
        os.mkdir(aside, 0o700)
        try:
            unpacked = unpack(tar, aside, abilities_in(aside, xattr_prefix), link_whiteouts=True)
            os.chmod(aside, 0o755)
            if unpacked.side_record:
                with open(record_aside, "xb") as file:
                    file.write(side_record_text(unpacked.side_record))
                os.replace(record_aside, record)
            os.rename(aside, target)
        except BaseException:
            record_aside.unlink(missing_ok=True)
            remove_tree(aside)
            raise
    except PermissionError:
        raise PermissionDenied(f"cannot unpack into {shown}: this user may not write there") from None
    except OSError as error:
        raise CommitError(f"cannot unpack into {shown}: {os.strerror(error.errno or 0)}") from None
    return unpacked


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        said = os.strerror(error.errno or 0)
        raise CommitError(f"cannot unpack into {escape(str(directory))}: {said}") from None
