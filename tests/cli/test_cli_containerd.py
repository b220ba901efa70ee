"""The command line on roots with a containerd store: its options, its shapes, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from containerd_roots import copy, truth

from layerscope.formats.units import human_size

pytestmark = pytest.mark.root


def test_info_in_words(ask: Any, containerd_samples: Path) -> None:
    root = containerd_samples / "root"
    answer = ask("info", root=root / "docker")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.lines
    assert f"root: {root}/docker" in lines and f"containerd root: {root}/containerd" in lines
    for line in ("store: containerd", "driver: overlayfs", "namespace: moby", "namespaces: moby, moby_history"):
        assert line in lines


def test_info_has_its_fields_in_every_store(ask: Any, containerd_samples: Path, overlay2_root: Path) -> None:
    of_docker = ask("info", "--json", root=overlay2_root).json
    assert (of_docker["containerd_root"], of_docker["namespace"], of_docker["namespaces"]) == (None, None, [])
    alone = ask("info", "--json", root=containerd_samples / "root-k8s/containerd").json
    assert (alone["containerd_root"], alone["namespace"], alone["namespaces"]) == (
        None,
        "k8s.io",
        ["default", "k8s.io"],
    )
    assert alone["engine"] == "" and alone["problems"] == []


def test_images_have_what_only_a_content_store_has(ask: Any, containerd_samples: Path, overlay2_root: Path) -> None:
    for image in ask("images", "--json", root=containerd_samples / "root/docker").json:
        assert image["content_size"] + image["unpacked_size"] == image["size"]
        keys = {"digest", "platform", "attests", "available", "unpacked", "content_size", "unpacked_size"}
        assert image["manifests"] and all(set(manifest) == keys for manifest in image["manifests"])
    assert not any("manifests" in image for image in ask("images", "--json", root=overlay2_root).json)


def test_numbers_round_to_dockers_own_table(ask: Any, containerd_samples: Path) -> None:
    """``docker system df -v`` gives a size three digits, what is shared and what is not four."""
    text = (Path(__file__).parents[1] / "data/containerd/truth-managed/system-df-v.txt").read_text()
    rows = [line.split() for line in text.partition("\n\n")[2].partition("\n\n")[0].splitlines()[1:]]
    wanted = {words[2]: words[-4:] for words in rows}
    told = {
        image["id"][7:19]: [
            human_size(image["size"], 3),
            human_size(image["shared_size"], 4),
            human_size(image["unique_size"], 4),
            str(image["containers"]),
        ]
        for image in ask("images", "--json", root=containerd_samples / "root-managed/docker").json
    }
    assert told == wanted and len(wanted) == 10


def test_the_other_half_by_option(ask: Any, containerd_samples: Path, tmp_path: Path) -> None:
    docker = copy(containerd_samples / "root/docker", tmp_path / "docker")
    alone = ask("images", root=docker)
    assert alone.code == 1 and "containerd's root, was not found" in alone.err and "--containerd-root" in alone.err
    other = str(containerd_samples / "root/containerd")
    for words in (("images", "--containerd-root", other), ("--containerd-root", other, "images")):
        answer = ask(*words, root=docker)
        assert (answer.code, answer.err) == (0, "")
        assert len(answer.lines) == 12
    wrong = ask("images", "--containerd-root", str(tmp_path), root=docker)
    assert wrong.code == 3 and "no containerd database" in wrong.err


def test_a_namespace_by_option(ask: Any, containerd_samples: Path) -> None:
    root = containerd_samples / "root-k8s/containerd"
    assert [line.split()[0] for line in ask("ps", "--namespace", "default", root=root).lines[1:]] == ["plain1"]
    refused = ask("ps", "--namespace", "moby", root=root)
    assert refused.code == 2 and "there is no namespace “moby”" in refused.err


def test_nothing_is_written_into_the_other_half(ask: Any, containerd_samples: Path) -> None:
    root = containerd_samples / "root"
    target = root / "containerd/stolen"
    for words in (("extract", "run1:/etc/motd", str(target)), ("export", "run1", "-o", str(target))):
        answer = ask(*words, root=root / "docker")
        assert answer.code == 4 and "below the root" in answer.err
    assert not target.exists()


def test_history_ids(ask: Any, containerd_samples: Path) -> None:
    answer = ask("history", "-q", "demo/app:legacy", root=containerd_samples / "root/docker")
    wanted = [row["Id"] for row in truth("truth", "image-history")["demo/app:legacy"]]
    assert answer.lines == [row.removeprefix("sha256:")[:12] for row in wanted]
