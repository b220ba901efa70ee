"""The answers of ``find`` as JSON, without a value for each: where there are millions, those are what takes the time.

The text is that which the shapes of :mod:`layerscope.cli.render.json` give, element by element.
"""

from __future__ import annotations

import os
import stat as modes
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING

from layerscope.cli.render.document import element_text
from layerscope.cli.render.escape import is_utf8, replaced
from layerscope.formats.gotime import format_rfc3339
from layerscope.model.file_type import file_type

if TYPE_CHECKING:
    from layerscope.model.found import FoundRun

_DEVICES = (modes.S_IFCHR, modes.S_IFBLK)
_TYPE = 0o170000
_SECOND = 1_000_000_000


def run_text(run: FoundRun) -> str | None:
    """The elements of a run, with commas and line ends between; None if one has a text that isn't Unicode."""
    copies = run.copies
    folder = f"/{copies.folder}/" if copies.folder else "/"
    if not is_utf8(run.ref + folder):
        return None
    before = f'{{"path": {quoted(replaced(folder))[:-1]}'
    facts = _facts_text(copies.level, copies.chain_id, copies.cache_id, copies.state, copies.hidden_by)
    ref = quoted(replaced(run.ref + folder[1:]))[:-1] if run.ref else ""
    end = _holders_text(run.holders, run.gone)
    found = []
    for name, stat, target in copies.rows:
        if not (name.isascii() or is_utf8(name)):
            return None
        text = quoted(replaced(name))[1:]
        nanoseconds = stat.st_mtime_ns
        when = _time_text(nanoseconds) if nanoseconds % _SECOND else _second_text(nanoseconds // _SECOND)
        link = aimed = device = "null"
        if run.links and name in run.links:
            link = quoted(replaced("/" + run.links[name].removeprefix("/")))
        if target is not None:
            if not is_utf8(target):
                return None
            aimed = quoted(replaced(target))
        mode = stat.st_mode
        if mode & _TYPE in _DEVICES:
            device = f'"{os.major(stat.st_rdev)}:{os.minor(stat.st_rdev)}"'
        found.append(
            f'{before}{text}, "name": "{text}, {_mode_text(mode)}, "uid": {stat.st_uid}, "gid": {stat.st_gid}, '
            f'"size": {stat.st_size}, "mtime": {when}, "nlink": {stat.st_nlink}, "link_to": {link}, '
            f'"target": {aimed}, "rdev": {device}, {facts}{ref + text if ref else "null"}{end}'
        )
    return ",\n".join(found)


@lru_cache(maxsize=1024)
def _facts_text(level: int, chain_id: str | None, cache_id: str | None, state: str, hidden_by: int | None) -> str:
    hidden = {"hidden": hidden_by is not None, "hidden_by": hidden_by}
    facts = {"level": level, "chain_id": chain_id, "cache_id": cache_id, "state": str(state), **hidden}
    return f'"xattrs": {{}}, {element_text(facts)[1:-1]}, "ref": '


@lru_cache(maxsize=256)
def _holders_text(holders: tuple[str, ...], gone: bool) -> str:
    return ", " + element_text({"holders": [replaced(holder) for holder in holders], "gone": gone})[1:]


@lru_cache(maxsize=4096)
def _mode_text(mode: int) -> str:
    return f'"type": "{file_type(mode)}", "mode": "{modes.S_IMODE(mode):04o}"'


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    return _time_text(seconds * _SECOND)


def _time_text(nanoseconds: int) -> str:
    return element_text(format_rfc3339(nanoseconds))
