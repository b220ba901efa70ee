"""Writing ``tar-split.json.gz`` (:mod:`layerscope.formats.tar.split`): the text is docker's, byte for byte.

The bytes of the tar are handed in as they go by, told apart: what belongs to no content is *raw* (headers, padding,
end blocks), then each entry, its content if it has some, and at the end what lies behind the end blocks. Segments break
where docker's do: before each entry and behind the end blocks. What follows those, which no tar of docker's own has, is
cut by docker wherever a read of it ends, at the latest after 1 MiB; here after each 1 MiB.

Keys come in the order type, name, name_raw, size, payload, position; texts are escaped as Go's ``encoding/json`` does.
The gzip around the text has no time and no name; its deflate isn't Go's, and nothing checks it.

Source: vbatts/tar-split tar/asm/disassemble.go, tar/storage/packer.go; seen with docker 20.10.24 and 28.5.2.
"""

from __future__ import annotations

import binascii
import gzip
import json
import re
from collections.abc import Callable
from typing import BinaryIO

from fastcrc import crc64

_REST_PIECE = 1 << 20
_LINES = 256
"""Lines that are compressed at once."""
_LEVEL = 3
_PLAIN = re.compile(rb"[A-Za-z0-9_./ +:=@,~-]+")
"""Texts that JSON takes as they are."""
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
_LONG_ESCAPES = (("\\b", "\\u0008"), ("\\f", "\\u000c"))


def _now(act: Callable[..., object], *words: object) -> object:
    return act(*words)


class TarSplitWriter:
    """Writes one record to ``file``, which stays open; :meth:`finish` ends it.

    Args:
        file: gets the compressed text. Its own errors come through.
        empty_last_segment: end in a segment even if nothing is left for it, as engines before 25 do.
        short_escapes: write backspace and form feed as engines built with Go 1.22 and later do.
        carry_out: calls what compresses and writes, with what it is given beside it, now or later, but in its order;
            all that is called until :meth:`finish` returns must be done before ``file`` is used otherwise.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        empty_last_segment: bool,
        short_escapes: bool = False,
        carry_out: Callable[..., object] = _now,
    ) -> None:
        self._out = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0)
        self._lines: list[bytes] = []
        self._empty_last_segment = empty_last_segment
        self._short_escapes = short_escapes
        self._carry_out = carry_out
        self._raw: list[bytes] = []
        self._position = 0
        self._content: tuple[bytes, int] | None = None
        self._crc = 0

    def raw(self, data: bytes) -> None:
        """Bytes of the tar that are no entry's content."""
        self._end_content()
        self._raw.append(data)

    def member(self, header: bytes, name: bytes, content: bytes, fill: bytes) -> None:
        """A whole entry: what :meth:`raw`, :meth:`entry`, :meth:`content` and :meth:`raw` again would be told of it."""
        self._end_content()
        self._raw.append(header)
        self._segment()
        self._file(name, len(content), crc64.go_iso(content, 0) if content else None)
        if fill:
            self._raw.append(fill)

    def entry(self, name: bytes, size: int) -> None:
        """An entry, after the raw bytes of its headers; ``size`` bytes of content follow in :meth:`content`."""
        self._end_content()
        self._segment()
        if size:
            self._content, self._crc = (name, size), 0
        else:
            self._file(name, 0, None)

    def content(self, data: bytes | memoryview) -> None:
        """The next bytes of the entry's content."""
        if self._content is None:
            raise ValueError("content without an entry that has some")
        self._crc = crc64.go_iso(data, self._crc)

    def rest(self, data: bytes) -> None:
        """Bytes behind the end blocks, all at once; called once, before :meth:`finish`."""
        self._end_content()
        self._segment()
        for start in range(0, len(data), _REST_PIECE):
            self._line_of_segment(data[start : start + _REST_PIECE])
        if self._empty_last_segment:
            self._line_of_segment(b"")

    def finish(self) -> None:
        """Write what is left, and the end of the compressed data."""
        self._flush()
        self._carry_out(self._out.close)

    # ------------------------------------------------------------------ lines
    def _end_content(self) -> None:
        if self._content is not None:
            name, size = self._content
            self._content = None
            self._file(name, size, self._crc)

    def _segment(self) -> None:
        data = b"".join(self._raw)
        self._raw.clear()
        if data:
            self._line_of_segment(data)

    def _line_of_segment(self, data: bytes) -> None:
        payload = binascii.b2a_base64(data, newline=False)
        self._line(b'{"type":2,"payload":"%s","position":%d}\n' % (payload, self._position))

    def _file(self, name: bytes, size: int, crc: int | None) -> None:
        # One format for each form: this is done for every member of a layer.
        plain, position = _PLAIN.fullmatch(name) is not None, self._position
        named = b',"name":"%s"' % name if plain else self._named(name)
        if crc is None:
            self._line(b'{"type":1%s,"payload":null,"position":%d}\n' % (named, position))
            return
        payload = binascii.b2a_base64(crc.to_bytes(8, "big"), newline=False)
        self._line(b'{"type":1%s,"size":%d,"payload":"%s","position":%d}\n' % (named, size, payload, position))

    def _line(self, line: bytes) -> None:
        self._lines.append(line)
        self._position += 1
        if len(self._lines) == _LINES:
            self._flush()

    def _flush(self) -> None:
        self._carry_out(self._out.write, b"".join(self._lines))
        self._lines.clear()

    def _named(self, name: bytes) -> bytes:
        """The key of a name that JSON doesn't take as it is."""
        if not name:
            return b""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return b',"name_raw":"%s"' % binascii.b2a_base64(name, newline=False)
        return b',"name":%s' % go_string(text, short_escapes=self._short_escapes).encode()


def go_string(text: str, *, short_escapes: bool = False) -> str:
    """``text`` as a JSON string in Go's form; it must be encodable as UTF-8."""
    quoted = json.dumps(text, ensure_ascii=False).translate(_HTML)
    if short_escapes or ("\b" not in text and "\f" not in text):
        return quoted
    # A backslash of the text itself is doubled by now; one of an escape isn't.
    parts = quoted.split("\\\\")
    for short, long in _LONG_ESCAPES:
        parts = [part.replace(short, long) for part in parts]
    return "\\\\".join(parts)
