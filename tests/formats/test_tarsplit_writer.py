"""tar-split records written anew: the text is docker's own, whatever the tar; and every way the tar may be read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from layerscope.errors import CorruptError
from layerscope.formats.tar.split import reassemble
from layerscope.formats.tar.split_writer import TarSplitWriter, go_string
from layerscope.formats.tar.stream import TarStream

DATA = Path(__file__).parents[1] / "data"


def layers(sample: str) -> dict[str, tuple[bytes, bytes]]:
    """Of each layer of a sample root: docker's record, and the tar that comes out of it and the files."""
    content = {}
    with tarfile.open(DATA / sample / "root.tar.gz") as root:
        for member in root:
            file = root.extractfile(member) if member.isreg() or member.islnk() else None
            if file is not None:
                content[member.name.removeprefix("./")] = file.read()
    found = {}
    for name, stored in content.items():
        if not name.endswith("/tar-split.json.gz"):
            continue
        record = name.removesuffix("/tar-split.json.gz")
        top = f"overlay2/{content[f'{record}/cache-id'].decode()}/diff/"

        def opened(path: str, size: int, top: str = top) -> io.BytesIO:
            return io.BytesIO(content[top + path.removeprefix("./")])

        found[record] = (stored, b"".join(reassemble(io.BytesIO(stored), opened)))
    return found


def written(tar: bytes, *, empty_last_segment: bool = True) -> bytes:
    """The text of the record that is made while the tar is read."""
    out = io.BytesIO()
    stream = TarStream(io.BytesIO(tar), TarSplitWriter(out, empty_last_segment=empty_last_segment))
    for _ in stream:
        pass
    assert out.getvalue()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "no name, no time, system 255, as Go writes it"
    return gzip.decompress(out.getvalue())


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit"])
def test_the_text_of_every_layer_is_dockers(sample: str) -> None:
    found = layers(sample)
    assert len(found) >= 3
    for record, (stored, tar) in found.items():
        assert written(tar) == gzip.decompress(stored), record


def test_text_is_escaped_as_go_does() -> None:
    """The name of a file, and what 20.10.24 wrote of it."""
    name = 'a\b\f\x7f\x01<&>"\\\u2028\u00fc'
    assert go_string(name) == '"a\\u0008\\u000c\x7f\\u0001\\u003c\\u0026\\u003e\\"\\\\\\u2028\u00fc"'


def test_an_escaped_backslash_isnt_the_start_of_an_escape() -> None:
    assert go_string("\\b\\\\f\b") == '"\\\\b\\\\\\\\f\\u0008"'


def test_later_engines_have_short_escapes() -> None:
    """Go 1.22 changed encoding/json."""
    assert go_string("\b\f\x01", short_escapes=True) == '"\\b\\f\\u0001"'


def tar_with(rest: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("f")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    return out.getvalue()[:2048] + rest


def test_the_last_segment_is_empty_up_to_24_only() -> None:
    old, new = written(tar_with()), written(tar_with(), empty_last_segment=False)
    assert old == new + b'{"type":2,"payload":"","position":3}\n'


def test_what_follows_the_end_comes_in_pieces_of_1_mib() -> None:
    text = written(tar_with(bytes((2 << 20) + 5)), empty_last_segment=False)
    assert [json.loads(line)["type"] for line in text.splitlines()] == [2, 1, 2, 2, 2, 2]
    assert [len(json.loads(line)["payload"]) * 3 // 4 >> 20 for line in text.splitlines()[3:]] == [1, 1, 0]


def test_a_tar_without_end_is_kept_as_it_is() -> None:
    """docker takes a missing end, and a single block of it."""
    whole = tar_with()
    for cut in (1024, 512):
        text = written(whole[:-cut])
        back = b"".join(reassemble(io.BytesIO(gzip.compress(text)), lambda name, size: io.BytesIO(b"abc")))
        assert back == whole[:-cut]


def test_no_tar_at_all_is_an_empty_layer() -> None:
    """As with 20.10.24: old images have such layers."""
    assert written(b"") == b'{"type":2,"payload":"","position":0}\n'


def test_a_global_header_is_an_entry_of_its_own() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as tar:
        member = tarfile.TarInfo("f")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    whole = out.getvalue()
    text = written(whole)
    assert [line[8:9] for line in text.splitlines()] == [b"2", b"1", b"2", b"1", b"2", b"2", b"2"]
    back = b"".join(reassemble(io.BytesIO(gzip.compress(text)), lambda name, size: io.BytesIO(b"abc")))
    assert back == whole


@pytest.mark.parametrize("cut", [1, 300, 511, 513, 514, 1100])
def test_a_tar_that_ends_inside_of_a_header_or_of_content_is_damaged(cut: int) -> None:
    with pytest.raises(CorruptError, match="ends at byte"):
        written(tar_with()[:cut])


@pytest.mark.parametrize("cut", [515, 600, 1023])
def test_a_tar_that_ends_inside_of_its_last_padding_is_recorded_as_it_is(cut: int) -> None:
    """docker takes it, too, but records no padding then, so it can't give that tar back."""
    whole = tar_with()[:cut]
    back = reassemble(io.BytesIO(gzip.compress(written(whole))), lambda name, size: io.BytesIO(b"abc"))
    assert b"".join(back) == whole


def test_content_needs_an_entry() -> None:
    with pytest.raises(ValueError, match="without an entry"):
        TarSplitWriter(io.BytesIO(), empty_last_segment=True).content(b"x")
