"""Archives of images that lie in stores of every kind: each layer and config is the bytes that its digest names."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archive_makers
import containerd_roots
import podman_roots
import pytest
import zstandard
from archive_makers import BASE, TOP, layout_members, saved_members, sha256
from sample_roots import truth

from layerscope import open_root
from layerscope.cli.main import run

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="layers are unpacked with owners and modes only by root")
FORMS = ("docker", "oci")


def save(root: Path, out: Path, *names: str, form: str = "docker") -> int:
    """What the verb ends with."""
    return run(["save", *names, "-o", str(out), "--format", form, "--root", str(root)])


def members(archive: Path) -> dict[str, bytes]:
    """The files of a tar, as Python's own reader has them."""
    with tarfile.open(archive) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]


def images_in(archive: Path, form: str) -> dict[str, tuple[bytes, list[bytes], set[str]]]:
    """By the digest of its config: an image's config, its layers base first, its names."""
    found = members(archive)
    if form == "docker":
        return {
            f"sha256:{sha256(found[one['Config']])}": (
                found[one["Config"]],
                [found[layer] for layer in one["Layers"]],
                set(one["RepoTags"] or ()),
            )
            for one in json.loads(found["manifest.json"])
        }
    images: dict[str, tuple[bytes, list[bytes], set[str]]] = {}
    for target in json.loads(found["index.json"])["manifests"]:
        manifest = json.loads(blob(found, target))
        config = blob(found, manifest["config"])
        known = images.setdefault(
            f"sha256:{sha256(config)}", (config, [blob(found, layer) for layer in manifest["layers"]], set())
        )
        name = target.get("annotations", {}).get("org.opencontainers.image.ref.name")
        known[2].update([name] if name else ())
    return images


def blob(found: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    data = found["blobs/" + descriptor["digest"].replace(":", "/")]
    assert (len(data), f"sha256:{sha256(data)}") == (descriptor["size"], descriptor["digest"])
    return data


def assert_whole(archive: Path, form: str, configs: dict[str, set[str]]) -> None:
    """The archive holds exactly these images (the digest of a config, and its names), each layer with its diff ID."""
    found = images_in(archive, form)
    assert {identity: names for identity, (_, _, names) in found.items()} == configs
    for config, layers, _ in found.values():
        assert [f"sha256:{sha256(layer)}" for layer in layers] == json.loads(config)["rootfs"]["diff_ids"]


def assert_saved(root: Path, folder: Path, names: list[str], configs: dict[str, set[str]]) -> None:
    """These images of a root are saved in both forms, each twice."""
    for form in FORMS:
        first, second = folder / f"{form}-1.tar", folder / f"{form}-2.tar"
        assert save(root, first, *names, form=form) == 0
        assert_whole(first, form, configs)
        assert save(root, second, *names, form=form) == 0
        assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def refused(root: Path, folder: Path, name: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Why an image isn't saved; nothing is left of its archive in either form."""
    capfd.readouterr()
    for form in FORMS:
        assert save(root, folder / "refused.tar", name, form=form) == 4
        assert [path.name for path in folder.glob("*refused*")] == []
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1]
    return lines[0]


# ---------------------------------------------------------------------- docker's storage drivers
DRIVERS = ("aufs", "btrfs", "devicemapper/ext4", "devicemapper/xfs", "fuse-overlayfs", "overlay", "overlay2", "vfs")


@pytest.mark.root
@AS_ROOT
@pytest.mark.parametrize("sample", DRIVERS)
def test_images_of_dockers_drivers(unpacked: Callable[[str], Path], tmp_path: Path, sample: str) -> None:
    """Layers and configs are those that docker itself saved."""
    theirs = truth(sample, "save-layers")
    configs = {f"sha256:{one['Config'].rpartition('/')[2].removesuffix('.json')}": {tag} for tag, one in theirs.items()}
    assert_saved(unpacked(sample), tmp_path, list(theirs), configs)
    found = images_in(tmp_path / "oci-1.tar", "oci")
    for one in theirs.values():
        _, layers, _ = found[f"sha256:{one['Config'].rpartition('/')[2].removesuffix('.json')}"]
        assert [(f"sha256:{sha256(layer)}", len(layer)) for layer in layers] == [
            (layer["diff_id"], layer["bytes"]) for layer in one["layers"]
        ]


@pytest.mark.root
@AS_ROOT
def test_layers_in_a_pool_that_is_not_here(
    unpacked: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    why = refused(unpacked("zfs"), tmp_path, "lab/base:1", capfd)
    (layer,) = truth("zfs", "save-layers")["lab/base:1"]["layers"]
    assert f"cannot save the layer {layer['diff_id']}: zfs" in why
    assert "in datasets that aren't mounted here" in why and "--layer-dir" in why


def test_a_mount_without_an_engine_has_no_tars(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    root = f"overlay:lowerdir={tmp_path}/a:{tmp_path}/b"
    assert run(["save", "overlay", "-o", str(tmp_path / "a.tar"), "--root", root]) == 3
    assert "cannot save from bare with bare-overlay" in capfd.readouterr().err


# ---------------------------------------------------------------------- podman
@pytest.mark.root
@AS_ROOT
@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_images_of_podmans(
    podman_samples: dict[str, Path], tmp_path: Path, driver: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """All but those whose lowest layer had a sparse file in its tar: podman can't save them either."""
    listed = podman_roots.truth(driver, "image-inspect")
    base = next((one["RootFS"]["Layers"][0] for one in listed if "localhost/demo/base:1" in one["RepoTags"]), "")
    wanted = {}
    for one in listed:
        identity = f"sha256:{one['Id'].removeprefix('sha256:')}"
        if one["RootFS"]["Layers"][:1] == [base]:
            why = refused(podman_samples[driver], tmp_path, identity, capfd)
            assert f"cannot save the layer {base}: its tar held a sparse file" in why
        else:
            wanted[identity] = one["RootFS"]["Layers"]
    assert len(wanted) == 4
    names = [f"image:{identity}" for identity in wanted]
    assert_saved(podman_samples[driver], tmp_path, names, {identity: set() for identity in wanted})
    found = images_in(tmp_path / "docker-1.tar", "docker")
    assert {key: json.loads(config)["rootfs"]["diff_ids"] for key, (config, _, _) in found.items()} == wanted


@pytest.mark.root
@AS_ROOT
def test_a_layer_of_podmans_is_the_one_that_podman_saves(podman_samples: dict[str, Path], tmp_path: Path) -> None:
    """A short name means podman's own image, and is in full in the archive."""
    theirs = podman_roots.truth("overlay", "save-layers")["localhost/demo/scratch:1"]
    assert save(podman_samples["overlay"], tmp_path / "a.tar", "demo/scratch:1") == 0
    ((_, layers, names),) = images_in(tmp_path / "a.tar", "docker").values()
    assert names == set(theirs["RepoTags"])
    assert [(f"sha256:{sha256(layer)}", len(layer)) for layer in layers] == [
        (layer["diff_id"], layer["bytes"]) for layer in theirs["layers"]
    ]


@pytest.mark.root
@AS_ROOT
def test_layers_of_podmans_that_cannot_be_had(
    podman_samples: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "localhost/demo/scratch:1"
    with open_root(podman_samples["overlay"]) as session:
        levels = session.levels(session.find(name))
    lowest, top = levels[0], levels[-1]
    damages: dict[str, Callable[[Path], object]] = {
        f"{lowest.diff_id}: its files were changed": lambda root: (
            root / "overlay" / str(lowest.cache_id) / "diff/hello.txt"
        ).write_bytes(b"x" * 19),
        f"{lowest.diff_id}: layer file 'hello.txt': 3 bytes, expected 19": lambda root: (
            root / "overlay" / str(lowest.cache_id) / "diff/hello.txt"
        ).write_bytes(b"x" * 3),
        f"{lowest.diff_id}: the file hello.txt can't be read: No such file or directory": lambda root: (
            root / "overlay" / str(lowest.cache_id) / "diff/hello.txt"
        ).unlink(),
        f"{top.diff_id}: the record of its tar is missing": lambda root: (
            root / "overlay-layers" / f"{top.cache_id}.tar-split.gz"
        ).unlink(),
        f"{top.diff_id}: tar-split": lambda root: (
            root / "overlay-layers" / f"{top.cache_id}.tar-split.gz"
        ).write_bytes(b"no gzip"),
        f"{top.diff_id}: overlay/{top.cache_id}/diff can't be read": lambda root: shutil.rmtree(
            root / "overlay" / str(top.cache_id)
        ),
    }
    for number, (expected, damage) in enumerate(damages.items()):
        root = podman_roots.copy(podman_samples["overlay"], tmp_path / str(number))
        damage(root)
        assert f"cannot save the layer {expected}" in refused(root, tmp_path, name, capfd)
        shutil.rmtree(root)


# ---------------------------------------------------------------------- containerd
STORES = {"root/docker": "truth", "root-managed/docker": "truth-managed"}


def content(containerd: Path, digest: str) -> bytes:
    """A blob, which has its digest."""
    data = (containerd / containerd_roots.BLOBS / digest.removeprefix("sha256:")).read_bytes()
    assert f"sha256:{sha256(data)}" == digest
    return data


def platform_configs(containerd: Path, target: str) -> dict[str, list[str]]:
    """The configs of an image that are there, by the digest, with the diff IDs that each names."""
    found = {}
    pending = [target]
    while pending:
        digest = pending.pop()
        if not (containerd / containerd_roots.BLOBS / digest.removeprefix("sha256:")).exists():
            continue
        document = json.loads(content(containerd, digest))
        pending += [one["digest"] for one in document.get("manifests", ())]
        if "config" in document:
            config = document["config"]["digest"]
            if (containerd / containerd_roots.BLOBS / config.removeprefix("sha256:")).exists():
                found[config] = json.loads(content(containerd, config)).get("rootfs", {}).get("diff_ids", [])
    return found


@pytest.mark.root
@AS_ROOT
@pytest.mark.parametrize("place", list(STORES))
def test_every_image_of_dockers_containerd_store(containerd_samples: Path, tmp_path: Path, place: str) -> None:
    """Of several platforms the one that docker itself shows. Several images may have one config."""
    root = containerd_samples / place
    containerd = containerd_samples / "root/containerd" if place == "root/docker" else root / "containerd/daemon"
    configs: dict[str, set[str]] = {}
    names = []
    for one in {one["Id"]: one for one in containerd_roots.truth(STORES[place], "image-inspect").values()}.values():
        wanted = one["RootFS"]["Layers"]
        fitting = {
            key for key, layers in platform_configs(containerd, one["Id"]).items() if layers == wanted and layers
        }
        assert len(fitting) == 1
        tags = sorted(one["RepoTags"] or ())[:1]
        configs.setdefault(fitting.pop(), set()).update(tags)
        names.append(tags[0] if tags else one["Id"])
    assert len(names) > 10
    assert_saved(root, tmp_path, names, configs)


@pytest.mark.root
@AS_ROOT
def test_images_of_a_bare_containerd(containerd_samples: Path, tmp_path: Path) -> None:
    root = containerd_samples / "root-k8s/containerd"
    configs: dict[str, set[str]] = {}
    names = []
    for one in containerd_roots.truth("truth-k8s", "cri-images")["images"]:
        # Kubernetes' ID of an image is the digest of its config.
        (name,) = one["repo_tags"]
        names.append(name)
        configs[one["id"]] = {name.removeprefix("docker.io/")}
    assert_saved(root, tmp_path, names, configs)


@pytest.mark.root
@AS_ROOT
def test_blobs_that_are_gone_or_changed(
    containerd_samples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = "demo/app:also"
    with open_root(containerd_samples / "root/docker") as session:
        target = str(session.find(image).image.id)  # type: ignore[union-attr]
    top = tmp_path / "copy"
    shutil.copytree(containerd_samples / "root", top, symlinks=True, ignore=shutil.ignore_patterns("snapshots"))
    blobs = top / "containerd" / containerd_roots.BLOBS
    manifest = json.loads(content(top / "containerd", target))
    while "manifests" in manifest:
        manifest = json.loads(content(top / "containerd", manifest["manifests"][0]["digest"]))
    layer = manifest["layers"][-1]["digest"]
    diff_id = json.loads(content(top / "containerd", manifest["config"]["digest"]))["rootfs"]["diff_ids"][-1]
    path = blobs / layer.removeprefix("sha256:")
    whole = path.read_bytes()
    assert save(top / "docker", tmp_path / "a.tar", image) == 0, "no snapshot is needed"

    changed = bytearray(whole)
    changed[len(changed) // 2] ^= 1
    other = gzip.compress(BASE)
    for data, expected in (
        (bytes(changed), f"cannot save the layer {diff_id}: "),
        (whole[:-20], f"cannot save the layer {diff_id}: its blob {layer} has {len(whole) - 20} bytes, expected"),
        (other + bytes(max(0, len(whole) - len(other))), f"cannot save the layer {diff_id}: "),
    ):
        path.write_bytes(data)
        assert expected in refused(top / "docker", tmp_path, image, capfd)
    os.truncate(path, 1 << 40)
    assert f"its blob {layer} has {1 << 40} bytes, expected" in refused(top / "docker", tmp_path, image, capfd)
    path.unlink()
    why = refused(top / "docker", tmp_path, image, capfd)
    assert f"cannot save the layer {diff_id}: its blob {layer} has a record, but no file" in why
    path.write_bytes(whole)
    (blobs / target.removeprefix("sha256:")).unlink()
    assert f"its blob {target} is not in the store" in refused(top / "docker", tmp_path, target, capfd)


@pytest.mark.root
@AS_ROOT
def test_nothing_is_written_below_either_half(containerd_samples: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for half in ("docker", "containerd"):
        target = containerd_samples / "root" / half / "saved.tar"
        assert save(containerd_samples / "root/docker", target, "demo/app:also") == 4
        assert "below the root that is being read" in capfd.readouterr().err
        assert not target.exists()


# ---------------------------------------------------------------------- archives
def in_a_folder(path: Path, found: dict[str, bytes]) -> None:
    for name, data in found.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def in_a_tar(path: Path, found: dict[str, bytes], compress: Callable[[bytes], bytes] = bytes) -> None:
    path.write_bytes(compress(archive_makers.archive(found)))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "docker": lambda path: in_a_tar(path, saved_members([BASE, TOP])),
    "docker-gzip": lambda path: in_a_tar(path, saved_members([BASE, TOP]), gzip.compress),
    "docker-zstd": lambda path: in_a_tar(path, saved_members([BASE, TOP]), zstd),
    "oci": lambda path: in_a_tar(path, layout_members([BASE, TOP])),
    "oci-layers-gzip": lambda path: in_a_tar(path, layout_members([BASE, TOP], gzip.compress)),
    "oci-layers-zstd": lambda path: in_a_tar(path, layout_members([BASE, TOP], zstd)),
    "oci-gzip-all-zstd": lambda path: in_a_tar(path, layout_members([BASE, TOP], gzip.compress), zstd),
    "oci-folder": lambda path: in_a_folder(path, layout_members([BASE, TOP], gzip.compress)),
}


@pytest.mark.parametrize("kind", list(ARCHIVES))
def test_an_archive_of_an_archive(tmp_path: Path, kind: str) -> None:
    ARCHIVES[kind](tmp_path / "source")
    config = archive_makers.config_of([BASE, TOP])
    identity = f"sha256:{sha256(config)}"
    assert_saved(tmp_path / "source", tmp_path, ["shop/app:1"], {identity: {"shop/app:1"}})
    for form in FORMS:
        assert images_in(tmp_path / f"{form}-1.tar", form)[identity] == (config, [BASE, TOP], {"shop/app:1"})
    assert save(tmp_path / "source", tmp_path / "by-id.tar", identity) == 0
    assert_whole(tmp_path / "by-id.tar", "docker", {identity: set()})


def test_the_archive_that_is_read_is_not_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ARCHIVES["docker"](source)
    before = source.read_bytes()
    assert save(source, source, "shop/app:1") == 4
    assert source.read_bytes() == before


def test_archives_that_do_not_hold_what_they_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    diff_id = f"sha256:{sha256(TOP)}"
    compressed = gzip.compress(TOP)
    name = f"blobs/sha256/{sha256(compressed)}"
    for data, expected in (
        (gzip.compress(BASE), f"its tar {name} was changed, or is cut off: it has the digest sha256:{sha256(BASE)}"),
        (compressed[:-9], "the gzip data ends after"),
        (TOP[:-512], f"its tar {name} was changed, or is cut off: it has the digest sha256:{sha256(TOP[:-512])}"),
        (None, f"{name}: is missing"),
    ):
        found = layout_members([BASE, TOP], gzip.compress)
        if data is None:
            del found[name]
        else:
            found[name] = data
        in_a_tar(source, found)
        why = refused(source, tmp_path, "shop/app:1", capfd)
        assert f"cannot save the layer {diff_id}: " in why and expected in why
    members_of = saved_members([BASE, TOP])
    record = json.loads(members_of["manifest.json"])
    record[0]["Layers"].pop()
    members_of["manifest.json"] = json.dumps(record).encode()
    in_a_tar(source, members_of)
    assert "its config names 2 layers, the store has 1 of it" in refused(source, tmp_path, "shop/app:1", capfd)


def test_no_layer_is_held_in_memory(tmp_path: Path) -> None:
    """A layer of 96 MB, in a layout whose blobs are compressed."""
    big = archive_makers.tar_of([("big", b"0123456789abcdef" * (6 << 20))])
    in_a_tar(tmp_path / "source", layout_members([big], gzip.compress))
    tracemalloc.start()
    try:
        assert save(tmp_path / "source", tmp_path / "a.tar", "shop/app:1") == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
    assert (tmp_path / "a.tar").stat().st_size > len(big)


# ---------------------------------------------------------------------- other programs
@pytest.mark.root
@AS_ROOT
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (apt-get install skopeo)")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["podman", "containerd", "archive"])
def test_skopeo_copies_what_is_saved(
    podman_samples: dict[str, Path], containerd_samples: Path, tmp_path: Path, kind: str, form: str
) -> None:
    ARCHIVES["oci-layers-gzip"](tmp_path / "source")
    root, name = {
        "podman": (podman_samples["vfs"], "localhost/demo/scratch:1"),
        "containerd": (containerd_samples / "root/docker", "demo/scratch:zstd"),
        "archive": (tmp_path / "source", "shop/app:1"),
    }[kind]
    out, copy = tmp_path / "a.tar", tmp_path / "copy"
    assert save(root, out, name, form=form) == 0
    source = f"{'docker' if form == 'docker' else 'oci'}-archive:{out}:{name}"
    words = ["skopeo", "copy", "-q", "--insecure-policy", source, f"dir:{copy}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((copy / "manifest.json").read_text())
    ((identity, (config, _, _)),) = images_in(out, form).items()
    assert manifest["config"]["digest"] == identity
    assert [one["digest"] for one in manifest["layers"]] == json.loads(config)["rootfs"]["diff_ids"]
