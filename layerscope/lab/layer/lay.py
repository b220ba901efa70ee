"""An upper directory laid down as a layer, and recorded, in one pass: what unpacking its tar would leave.

The tar is never put together: each member goes from what is read of the upper to the directory, and its bytes, as they
would be in the tar, to the digest and the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from layerscope.errors import CommitError
from layerscope.formats.tar.go_header import END, Member, header_blocks, padding
from layerscope.formats.tar.header import TarHeader
from layerscope.formats.tar.split_writer import TarSplitWriter
from layerscope.lab.layer.alongside import RunningDigest
from layerscope.lab.layer.pack import LayerTar, content_of
from layerscope.lab.layer.unpack import Unpacked
from layerscope.lab.layer.upper import Packable
from layerscope.lab.layer.writer import LayerWriter
from layerscope.lab.layer.writing_process import WritingProcess

_SECOND = 1_000_000_000


def lay(tar: LayerTar, writer: LayerWriter | WritingProcess, record: TarSplitWriter) -> Unpacked:
    """Make the layer of an upper directory.

    Args:
        tar: the upper directory's, not read yet.
        writer: makes the files; has made nothing yet.
        record: gets the tar-split record.

    Raises:
        CommitError: an entry can't be in a layer, or the system refused; the directory is to be thrown away.
        PermissionDenied: this user may not read an entry.
    """
    try:
        with RunningDigest() as digest:
            return _lay(tar, writer, record, digest)
    except OSError as error:
        raise CommitError(f"cannot make the layer: {os.strerror(error.errno or 0)}") from None


def _lay(
    tar: LayerTar, writer: LayerWriter | WritingProcess, record: TarSplitWriter, digest: RunningDigest
) -> Unpacked:
    for item in tar.items():
        member, content = item.member, item.content
        header, fill = header_blocks(member), padding(member.size)
        if content is None or isinstance(content, bytes):
            data = content or b""
            digest.update(header + data + fill)
            record.member(header, member.name, data, fill)
            writer.add(_header(member), (data,))
            continue
        digest.update(header)
        record.raw(header)
        record.entry(member.name, member.size)
        writer.add(_header(member), _taken(item, digest, record, tar.tick))
        digest.update(fill)
        record.raw(fill)
    digest.update(END)
    record.raw(END)
    record.rest(b"")
    record.finish()
    return Unpacked.of(writer.finish(), digest, tar.members)


def _taken(item: Packable, digest: RunningDigest, record: TarSplitWriter, tick: Callable[[], None]) -> Iterator[bytes]:
    """A file's bytes, on their way to the directory."""
    for chunk in content_of(item):
        tick()
        digest.update(chunk)
        record.content(chunk)
        yield chunk


def _header(member: Member) -> TarHeader:
    """The header as a reader of the tar takes it; owners' names, which nothing asks for, left out."""
    name, kind, mode, uid, gid, size, mtime, linkname, _uname, _gname, devmajor, devminor, xattrs = member
    return TarHeader(
        name.decode("utf-8", "surrogateescape"),
        kind.decode(),
        mode,
        uid,
        gid,
        size,
        mtime * _SECOND,
        linkname.decode("utf-8", "surrogateescape"),
        "",
        "",
        devmajor,
        devminor,
        {"SCHILY.xattr." + key.decode(): value for key, value in xattrs.items()} if xattrs else {},
        size,
    )
