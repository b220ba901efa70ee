"""``df --docker`` of containerd stores against what docker 28 and 29 printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from containerd_roots import DATA

AGO = re.compile(r"(\d+|About an?|Less than a) (second|minute|hour|day|week|month|year)s?")


def parts(text: str) -> list[list[str]]:
    """The lines of each part, sorted, since docker lists some in no order. How long ago something was goes on."""
    found: list[list[str]] = []
    for line in AGO.sub("a while", text).splitlines():
        if "space usage" in line or line.startswith("Build cache usage"):
            found.append([])
        found[-1].append(" ".join(line.split()))
    return [sorted(part) for part in found]


@pytest.mark.root
@pytest.mark.parametrize(("sample", "folder"), [("root", "truth"), ("root-managed", "truth-managed")])
def test_docker_df_is_what_docker_printed(ask: Any, containerd_samples: Path, sample: str, folder: str) -> None:
    answer = ask("df", "--docker", root=containerd_samples / sample / "docker")
    ours = "\n".join(answer.lines).replace(" (unclean)", "")
    for mine, theirs in zip(parts(ours), parts((DATA / folder / "system-df-v.txt").read_text()), strict=True):
        assert mine == theirs


def test_what_newer_engines_leave_has_a_class(ask: Any, records_copy: Path) -> None:
    """An image's note that it was built here, and what a killed start and commit leave, by their real names."""
    image = next((records_copy / "image/overlay2/imagedb/content/sha256").iterdir()).name
    notes = records_copy / "image/overlay2/imagedb/metadata/sha256" / image
    notes.mkdir(parents=True, exist_ok=True)
    (notes / "builtLocally").write_bytes(b"\x01")
    for path in ("tmp-old/docker-import-1", "tmp/rootfs-mount1822374107"):
        (records_copy / path).mkdir(parents=True)
    found = ask("df", "--json", root=records_copy).json
    assert [one["path"] for one in found["entries"] if one["class"] == "unknown"] == []
