"""An upper directory laid down as a layer, and recorded, in one pass: what unpacking its tar would leave.

The tar is never put together: each member goes from what is read of the upper to the directory, and its bytes, as they
would be in the tar, to the digest and the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from layerscope.errors import CommitError
from layerscope.formats.gotar import END, Member, header_blocks, padding
from layerscope.formats.tarheader import TarHeader
from layerscope.formats.tarsplit_writer import TarSplitWriter
from layerscope.lab.abilities import Abilities
from layerscope.lab.alongside import RunningDigest
from layerscope.lab.layer_writer import LayerWriter
from layerscope.lab.pack import LayerTar, content_of
from layerscope.lab.unpack import Unpacked, told_refused
from layerscope.lab.upper import Packable
from layerscope.model.digest import DiffID

_SECOND = 1_000_000_000


def lay(tar: LayerTar, top: int, abilities: Abilities, record: TarSplitWriter) -> Unpacked:
    """Make the layer of an upper directory.

    Args:
        tar: the upper directory's, not read yet.
        top: descriptor of an empty directory.
        abilities: the forms in which marks, owners and devices are kept there.
        record: gets the tar-split record.

    Raises:
        CommitError: an entry can't be in a layer, or the system refused; the directory is to be thrown away.
        PermissionDenied: this user may not read an entry.
    """
    writer = LayerWriter(top, abilities)
    try:
        with RunningDigest() as digest:
            return _lay(tar, writer, record, digest)
    except OSError as error:
        raise CommitError(f"cannot make the layer: {os.strerror(error.errno or 0)}") from None
    finally:
        writer.close()


def _lay(tar: LayerTar, writer: LayerWriter, record: TarSplitWriter, digest: RunningDigest) -> Unpacked:
    for item in tar.items():
        member = item.member
        header = header_blocks(member)
        fill = padding(member.size)
        digest.update(header)
        record.raw(header)
        record.entry(member.name, member.size)
        writer.add(_header(member), _taken(item, digest, record, tar.tick) if member.size else ())
        if fill:
            digest.update(fill)
            record.raw(fill)
    digest.update(END)
    record.raw(END)
    record.rest(b"")
    record.finish()
    writer.finish()
    return Unpacked(
        diff_id=DiffID(f"sha256:{digest.hexdigest()}"),
        tar_bytes=digest.length,
        compression="",
        size=writer.size,
        members=tar.members,
        hides_everything_below=writer.hides_everything_below,
        side_record=writer.keeper.side_record,
        problems=told_refused(writer),
    )


def _taken(item: Packable, digest: RunningDigest, record: TarSplitWriter, tick: Callable[[], None]) -> Iterator[bytes]:
    """A file's bytes, on their way to the directory."""
    for chunk in content_of(item):
        tick()
        digest.update(chunk)
        record.content(chunk)
        yield chunk


def _header(member: Member) -> TarHeader:
    """The header as a reader of the tar takes it; owners' names, which nothing asks for, left out."""
    records = {}
    if member.xattrs:
        records = {"SCHILY.xattr." + key.decode(): value for key, value in member.xattrs.items()}
    return TarHeader(
        name=os.fsdecode(member.name),
        type=member.type.decode(),
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=member.size,
        mtime_ns=member.mtime * _SECOND,
        linkname=os.fsdecode(member.linkname) if member.linkname else "",
        uname="",
        gname="",
        devmajor=member.devmajor,
        devminor=member.devminor,
        pax=records,
        stored_size=member.size,
    )
