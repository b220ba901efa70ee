"""Records that lie: nothing outside is shown, nothing hangs, nothing is a traceback, and somebody is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from spoiled import BASE, BASE_CHAIN, EDITOR, RECORDS, TOP, UPPER, VERBS, Ask, Root


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


SPOILED: dict[str, Callable[[Root], None]] = {
    # ids that are used as parts of paths
    "cache-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", "../../outside"),
    "cache-id is absolute": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", str(r.outside)),
    "cache-id is dots": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", ".."),
    "cache-id with zero byte": lambda r: r.replace(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id", b"a\0b"),
    "mount-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/mount-id", "../../outside"),
    "init-id leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/init-id", "../../outside"),
    "parent leads out": lambda r: r.replace(f"{RECORDS}/layerdb/mounts/{EDITOR}/parent", "sha256:../../../outside"),
    # links in the place of directories
    "cache directory is a link": lambda r: r.link(f"overlay2/{BASE}", r.outside),
    "diff is a link": lambda r: r.link(f"overlay2/{BASE}/diff", r.outside),
    "diff is a link to the host": lambda r: r.link(f"overlay2/{UPPER}/diff", "/etc"),
    "driver's folder is a link": lambda r: r.link("overlay2", r.outside),
    "records are a link": lambda r: r.link(RECORDS, r.outside),
    "container is a link": lambda r: r.link(f"containers/{EDITOR}", r.outside),
    "link is a link": lambda r: r.link(f"overlay2/{BASE}/link", r.outside / "link"),
    "lower is a link": lambda r: r.link(f"overlay2/{UPPER}/lower", r.outside / "lower"),
    "short names lead out": lambda r: [r.link(f"overlay2/l/{n}", r.outside) for n in os.listdir(r.path / "overlay2/l")],
    "short names are a link": lambda r: r.link("overlay2/l", r.outside),
    "mounts are a link": lambda r: r.link(f"{RECORDS}/layerdb/mounts", r.outside),
    # what is no file
    **{
        f"{name} is a {kind}": lambda r, name=name, kind=kind: r.special(name, kind)  # type: ignore[misc]
        for kind in ("fifo", "device", "socket", "folder")
        for name in (
            f"containers/{EDITOR}/config.v2.json",
            f"{RECORDS}/repositories.json",
            f"overlay2/{UPPER}/lower",
            f"overlay2/{UPPER}/link",
            f"overlay2/{UPPER}/diff",
            f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id",
        )
        if not (kind == "folder" and name.endswith("/diff"))
    },
    # too much
    "huge config": lambda r: r.huge(f"containers/{EDITOR}/config.v2.json"),
    "huge names": lambda r: r.huge(f"{RECORDS}/repositories.json"),
    "huge lower": lambda r: r.huge(f"overlay2/{UPPER}/lower"),
    "huge short name": lambda r: r.huge(f"overlay2/{BASE}/link"),
    "huge cache-id": lambda r: r.huge(f"{RECORDS}/layerdb/sha256/{BASE_CHAIN}/cache-id"),
    "nested config": lambda r: r.replace(f"containers/{EDITOR}/config.v2.json", _nested(50_000)),
    "nested names": lambda r: r.replace(f"{RECORDS}/repositories.json", _nested(50_000)),
    "nested lists": lambda r: r.replace(f"containers/{EDITOR}/config.v2.json", "[" * 100_000),
    "10,000 lowers": lambda r: r.replace(f"overlay2/{UPPER}/lower", ":".join(["l/" + "A" * 26] * 10_000)),
    "10,000 real lowers": lambda r: r.replace(
        f"overlay2/{UPPER}/lower", ":".join([f"l/{(r.path / 'overlay2' / BASE / 'link').read_text()}"] * 2_000)
    ),
    "lower names itself": lambda r: r.replace(
        f"overlay2/{UPPER}/lower", "l/" + (r.path / "overlay2" / UPPER / "link").read_text()
    ),
    "lower leads out": lambda r: r.replace(f"overlay2/{UPPER}/lower", "l/../../outside:../../outside:/etc"),
    "lower is garbage": lambda r: r.replace(f"overlay2/{UPPER}/lower", bytes(range(256)) * 20),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_spoiled_records(root: Root, ask: Ask, spoil: Callable[[Root], None]) -> None:
    spoil(root)
    for verb in VERBS:
        ask(*verb)
    told = json.loads(ask("info", "--json").out or b"{}")
    assert not told or told["problems"], "nobody was told"


def test_layers_that_changed_places_are_only_confusing(root: Root, ask: Ask) -> None:
    one, other, aside = (root.path / "overlay2" / name for name in (TOP, BASE, "aside"))
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    for verb in VERBS:
        ask(*verb)
