"""The members of a layer's tar with their bytes: by the strict reader, or, for sparse files, by Python's own.

Engines that keep layers as tars (containerd) unpack sparse files, which docker's own format of layers can't give back.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from layerscope.errors import CorruptError
from layerscope.formats.tar.brief_header import BriefHeader, brief
from layerscope.formats.tar.stream import TarStream

_PIECE = 1 << 20
_XATTR = "SCHILY.xattr."
_TYPES = {
    tarfile.LNKTYPE: "1",
    tarfile.SYMTYPE: "2",
    tarfile.CHRTYPE: "3",
    tarfile.BLKTYPE: "4",
    tarfile.DIRTYPE: "5",
    tarfile.FIFOTYPE: "6",
}

Members = Iterator[tuple[BriefHeader, Iterator[bytes]]]
"""Each header with its content, which must be read before the next one is asked for."""


def strict_members(plain: BinaryIO) -> Members:
    """As Go's reader takes them.

    Raises:
        CorruptError: it is no tar, or damaged.
        UnsupportedError: it holds a sparse file.
    """
    stream = TarStream(plain)
    for header in stream:
        if header.type != "g":
            yield brief(header), stream.content()


def sparse_members(plain: BinaryIO) -> Members:
    """With sparse files written out.

    Raises:
        CorruptError: it is no tar, or damaged.
    """
    try:
        with tarfile.open(
            fileobj=plain, mode="r|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for member in tar:
                yield _brief(member), _content(tar, member)
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header that it reads
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError) as error:
        raise CorruptError(f"the tar is damaged: {str(error)[:200]}") from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member) if member.isreg() else None
    while file is not None and (data := file.read(_PIECE)):
        yield data


def _brief(member: tarfile.TarInfo) -> BriefHeader:
    seconds, _, fraction = str(member.pax_headers.get("mtime", member.mtime)).partition(".")
    part = int(fraction[:9].ljust(9, "0")) if fraction.isdigit() else 0
    records = member.pax_headers.items()
    return BriefHeader(
        posixpath.normpath("/" + member.name.lstrip("/"))[1:],
        _TYPES.get(member.type, "0"),
        member.mode & 0o7777,
        member.uid,
        member.gid,
        member.size if member.isreg() else 0,
        int(seconds) * 1_000_000_000 + (-part if seconds.startswith("-") else part),
        member.linkname,
        member.devmajor,
        member.devminor,
        {
            key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
            for key, value in records
            if key.startswith(_XATTR)
        },
    )
