"""Owner, mode and type that a file should have, kept beside it by a user who can't set them.

The extended attribute ``user.containers.override_stat`` holds ``UID:GID:MODE[:TYPE]``: decimal ids, octal mode of
twelve bits, and the type in the words below, which counts where the file itself is an empty regular one::

    file  dir  symlink  pipe  socket  char-MAJOR-MINOR  block-MAJOR-MINOR   (also char:MAJOR:MINOR, block:MAJOR:MINOR)

Links, devices and FIFOs can't carry ``user.*`` attributes (xattr(7)), and some file systems have none at all. What
can't be kept on an entry itself stands in a side record, one JSON object::

    {PATH: {"stat": VALUE, "xattrs": {NAME: BASE64}}, …}

Extended attributes that were refused are kept on the entry under ``user.containers.override_xattr.NAME``.

Sources: containers/storage pkg/idtools/idtools.go, pkg/archive/archive.go (the attribute); the rest is our own.
"""

from __future__ import annotations

import binascii
import json
import re
import stat as modes
from collections.abc import Mapping

from msgspec import Struct, field

from layerscope.errors import CorruptError

OVERRIDE = "user.containers.override_"
"""What the names of all such attributes begin with."""
OVERRIDE_STAT = "user.containers.override_stat"
OVERRIDE_XATTR = "user.containers.override_xattr."
SIDE_RECORD = ".override_stat.json"
"""What the side record's name has behind that of the layer's directory, beside which it lies."""
SIDE_RECORD_LIMIT = 1 << 30
_MAX_ID = (1 << 32) - 1
_FORM = re.compile(
    rb"(\d{1,10}):(\d{1,10}):(0?[0-7]{1,6})(?::(?:(file|dir|symlink|pipe|socket)"
    rb"|(char|block)[-:](\d{1,10})[-:](\d{1,10})))?"
)
_TYPE_BITS = {
    b"file": modes.S_IFREG,
    b"dir": modes.S_IFDIR,
    b"symlink": modes.S_IFLNK,
    b"pipe": modes.S_IFIFO,
    b"socket": modes.S_IFSOCK,
    b"char": modes.S_IFCHR,
    b"block": modes.S_IFBLK,
}
_WORDS = {bits: word.decode() for word, bits in _TYPE_BITS.items()}


class OverrideStat(Struct, frozen=True):
    """What stands in the place of the file's own: ``permissions`` of twelve bits; ``type_bits`` 0 is its own type."""

    uid: int
    gid: int
    permissions: int
    type_bits: int = 0
    major: int = 0
    minor: int = 0

    def encode(self) -> bytes:
        """The attribute's value."""
        text = f"{self.uid}:{self.gid}:{self.permissions:04o}"
        if self.type_bits:
            text += f":{_WORDS[self.type_bits]}"
        if self.type_bits in (modes.S_IFCHR, modes.S_IFBLK):
            text += f"-{self.major}-{self.minor}"
        return text.encode()


class SideEntry(Struct, frozen=True):
    """What the side record says of one path; ``stat`` None: nothing about owner, mode and type."""

    stat: OverrideStat | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def parse_override(value: bytes) -> OverrideStat:
    """The attribute's value.

    Raises:
        CorruptError: it has another form, or an id or device number doesn't fit.
    """
    found = _FORM.fullmatch(value)
    if found is None:
        raise CorruptError(f"{OVERRIDE_STAT}: {value[:80]!r}, expected UID:GID:MODE[:TYPE]")
    uid, gid, mode = int(found[1]), int(found[2]), int(found[3], 8)
    major, minor = int(found[6] or 0), int(found[7] or 0)
    word = found[4] or found[5]
    if max(uid, gid, major, minor) > _MAX_ID or (major > 0xFFF and word) or (minor > 0xFFFFF and word):
        raise CorruptError(f"{OVERRIDE_STAT}: {value[:80]!r}, a number is too large")
    return OverrideStat(uid, gid, mode & 0o7777, _TYPE_BITS[word] if word else 0, major, minor)


def parse_side_record(text: bytes) -> dict[str, SideEntry]:
    """The side record: path in the layer (no leading slash, surrogateescape) to what is kept of it.

    Raises:
        CorruptError: it has another form.
    """
    try:
        found = {}
        for path, kept in json.loads(text).items():
            stat = parse_override(kept["stat"].encode()) if "stat" in kept else None
            xattrs = {str(k): binascii.a2b_base64(v) for k, v in kept.get("xattrs", {}).items()}
            found[path] = SideEntry(stat, xattrs)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnicodeError) as error:
        raise CorruptError(f"side record of owners and modes: {str(error)[:200]}") from None


def side_record_text(entries: Mapping[str, SideEntry]) -> bytes:
    """The text of a side record, one path a line, in the order given."""
    lines = []
    for path, entry in entries.items():
        kept: dict[str, object] = {}
        if entry.stat is not None:
            kept["stat"] = entry.stat.encode().decode()
        if entry.xattrs:
            kept["xattrs"] = {
                key: binascii.b2a_base64(value, newline=False).decode() for key, value in entry.xattrs.items()
            }
        lines.append(f"{json.dumps(path)}: {json.dumps(kept)}")
    return ("{" + ",\n".join(lines) + "}\n").encode()
