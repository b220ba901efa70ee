"""What bad input gets: an error that names the member and the rule, exit 4 (2 for typed things), the root as it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live.engine import Tar

from layerscope.services.lab.lab import open_lab
from layerscope.services.opening.root import open_root

Call = Callable[..., Any]


def tree(path: Path) -> list[tuple[str, int, bytes]]:
    """Every path below a root with its mode and (of small files) its bytes."""
    found = []
    for folder, names, files in os.walk(path):
        for name in [*names, *files]:
            entry = Path(folder, name)
            status = entry.lstat()
            data = (
                entry.read_bytes() if entry.is_file() and not entry.is_symlink() and "diff" not in entry.parts else b""
            )
            found.append((str(entry.relative_to(path)), status.st_mode, data))
    return sorted(found)


@pytest.fixture
def refused(lab_path: Path, call: Call) -> Callable[..., str]:
    """``refused(word, …)``: what the verb says on being refused; the root stays as it was."""

    def check(*words: object, code: int = 4) -> str:
        before = tree(lab_path)
        said = call(*words, root=lab_path)
        assert said.code == code, said.err
        assert said.out == b""
        assert said.err.startswith("layerscope: ") and len(said.err.splitlines()) == 1, said.err
        assert tree(lab_path) == before
        return str(said.err)

    return check


Refused = Callable[..., str]


# ---------------------------------------------------------------------- places and names
def test_a_directory_with_something_in_it_becomes_no_lab(tmp_path: Path, call: Call) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    said = call("lab", "new", tmp_path / "full")
    assert (said.code, said.out) == (4, b"")
    assert "it is not empty (it has mine.txt)" in said.err
    assert os.listdir(tmp_path / "full") == ["mine.txt"]
    assert os.listdir(tmp_path) == ["full"]


def test_an_empty_directory_becomes_a_lab(tmp_path: Path, call: Call) -> None:
    (tmp_path / "empty").mkdir()
    assert call("lab", "new", tmp_path / "empty").code == 0
    assert call("images", root=tmp_path / "empty").code == 0


def test_a_file_or_link_becomes_no_lab(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("keep")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert "it is a file" in call("lab", "new", tmp_path / "file").err
    assert "it is a symlink" in call("lab", "new", tmp_path / "link").err


@pytest.mark.parametrize("inside", ["overlay2/inner", "volumes/data/lab", "new"])
def test_a_root_holds_no_lab(tmp_path: Path, lab_path: Path, call: Call, inside: str) -> None:
    before = sorted(os.walk(lab_path))
    (tmp_path / "link").symlink_to(lab_path)
    for path in (lab_path / inside, tmp_path / "link" / inside):
        said = call("lab", "new", path)
        assert said.code == 4 and f"it lies inside of {lab_path}, which is a root itself" in said.err
    assert sorted(os.walk(lab_path)) == before


def test_docker_roots_hold_no_lab(tmp_path: Path, call: Call) -> None:
    (tmp_path / "image/overlay2/layerdb").mkdir(parents=True)
    assert "which is a root itself" in call("lab", "new", tmp_path / "overlay2/lab").err
    assert os.listdir(tmp_path) == ["image"]


def test_a_name_in_use(refused: Refused, lab_path: Path) -> None:
    with open_lab(lab_path) as lab:
        made = lab.create("base:1.0", "web")
    assert f"the container {made[:12]} has this name" in refused("create", "base:1.0", "--name", "web")


@pytest.mark.parametrize("name", ["x", "-web", "we b", "wéb", "a/b", ".hidden"])
def test_a_container_name_that_docker_refuses(refused: Refused, name: str) -> None:
    assert "is no container name" in refused("create", "base:1.0", f"--name={name}", code=2)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Shop/Web", "repository names are lowercase"),
        ("shop//web", "expected [HOST[:PORT]/]NAME[:TAG]"),
        ("shop/web:", "expected [HOST[:PORT]/]NAME[:TAG]"),
        ("shop/web:-x", "expected [HOST[:PORT]/]NAME[:TAG]"),
        ("_shop", "expected [HOST[:PORT]/]NAME[:TAG]"),
        ("sha256:x", "can't be called sha256"),
        ("sha256", "can't be called sha256"),
        ("a" * 64, "64 hexadecimal digits would be an image ID"),
        ("web@sha256:" + "0" * 64, "a name with a digest"),
        ("x" * 300, "expected [HOST[:PORT]/]NAME[:TAG]"),
    ],
)
def test_an_invalid_reference(refused: Refused, name: str, rule: str) -> None:
    assert rule in refused("tag", "base:1.0", name, code=2)


def test_a_thing_that_is_not_there(refused: Refused) -> None:
    assert "no image 'nope' here" in refused("create", "nope", code=2)
    assert "no container 'nope' here" in refused("commit", "nope", code=2)
    assert "no container 'nope' here" in refused("rm", "nope", code=2)
    assert "no image 'nope' here" in refused("rmi", "nope", code=2)
    assert "no container 'base:1.0' here" in refused("commit", "base:1.0", code=2)


def test_an_image_that_a_container_uses(refused: Refused, lab_path: Path) -> None:
    with open_lab(lab_path) as lab:
        made = lab.create("base:1.0", "web")
    said = refused("rmi", "base:1.0")
    assert "(must force)" in said and f"container {made[:12]} is using its referenced image" in said


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("RUN rm -rf /", "'RUN' is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("LABEL a=1 b", "no = in 'b'"),
        ("EXPOSE 99999", "is no port"),
        ("CMD [1]", "all members must be strings"),
        ("USER a b", "exactly one argument"),
        ("ENV A=${B", "unsupported substitution"),
        ("ENV A='x", "no matching single quote"),
        ("HEALTHCHECK --interval=soon CMD true", "is no duration"),
    ],
)
def test_a_change_that_cant_be(refused: Refused, lab_path: Path, change: str, rule: str) -> None:
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
    assert rule in refused("commit", "web", "-c", change, code=2)


def test_times_and_engines(refused: Refused, lab_path: Path) -> None:
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
    assert "is no time" in refused("commit", "web", "--created", "yesterday", code=2)
    assert "engine version" in refused("commit", "web", "--engine", "new", code=2)


# ---------------------------------------------------------------------- layer tars
def _tar(*members: tuple[str, dict[str, Any]]) -> bytes:
    tar = Tar()
    for name, facts in members:
        tar.add(name, **facts)
    return tar.bytes()


BAD_TARS = {
    "climbing": (_tar(("ok", {}), ("../evil", {})), "../evil", ".."),
    "absolute": (_tar(("/evil", {})), "/evil", "absolute"),
    "behind-a-link": (
        _tar(("out", {"kind": tarfile.SYMTYPE, "linkname": "../../../../.."}), ("out/evil", {"content": b"x"})),
        "out/evil",
        "leads out of the layer",
    ),
    "link-out": (_tar(("evil", {"kind": tarfile.LNKTYPE, "linkname": "../../etc/passwd"})), "evil", "hard link"),
    "link-to-nothing": (_tar(("evil", {"kind": tarfile.LNKTYPE, "linkname": "nothing"})), "evil", "not in this layer"),
    "twice": (_tar(("a", {"content": b"1"}), ("./a", {"content": b"2"})), "a", ""),
    "mark-without-name": (_tar(("d/.wh.", {})), ".wh.", "whiteout"),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_a_tar_that_breaks_a_rule(refused: Refused, tmp_path: Path, kind: str) -> None:
    data, member, rule = BAD_TARS[kind]
    (tmp_path / "bad.tar").write_bytes(data)
    said = refused("import", tmp_path / "bad.tar", "bad:1")
    assert member in said and rule in said
    assert "bad.tar" in said, "which file it is"


def test_a_tar_that_is_cut_off(refused: Refused, tmp_path: Path) -> None:
    data = _tar(("file", {"content": b"x" * 5000}))
    (tmp_path / "cut.tar").write_bytes(data[:2000])
    assert "the tar ends at byte 2000" in refused("import", tmp_path / "cut.tar", "bad:1")
    (tmp_path / "cut.tgz").write_bytes(gzip.compress(_tar(("file", {"content": os.urandom(5000)})))[:2000])
    assert "the gzip data ends" in refused("import", tmp_path / "cut.tgz", "bad:1")
    (tmp_path / "odd.tgz").write_bytes(b"\x1f\x8b\x08" + os.urandom(3000))
    assert "gzip" in refused("import", tmp_path / "odd.tgz", "bad:1")
    (tmp_path / "text").write_text("no tar at all\n" * 100)
    assert "tar" in refused("import", tmp_path / "text", "bad:1")
    assert "No such file" in refused("import", tmp_path / "absent", "bad:1", code=2)


def test_an_upper_with_a_file_that_would_be_a_whiteout(refused: Refused, lab_path: Path) -> None:
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
        with lab.overlay("web") as overlay:
            overlay.write_bytes("/etc/.wh.motd", b"x")
    said = refused("commit", "web", "bad:1")
    assert "etc/.wh.motd" in said and "whiteout that deletes motd" in said


# ---------------------------------------------------------------------- archives
class Saved:
    """A docker-save archive whose parts can be spoilt before it is written."""

    def __init__(self, layers: list[bytes]) -> None:
        self.layers = {f"{number}.tar": data for number, data in enumerate(layers)}
        diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
        self.config: Any = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "history": [{"created": "2024-01-01T00:00:00Z"} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        self.manifest: Any = [{"Config": "config.json", "RepoTags": ["bad:1"], "Layers": list(self.layers)}]

    def bytes(self) -> bytes:
        tar = Tar()
        for name, data in self.layers.items():
            tar.add(name, data)
        tar.add("config.json", json.dumps(self.config).encode())
        tar.add("manifest.json", json.dumps(self.manifest).encode())
        return tar.bytes()


LAYERS = [_tar(("a", {"content": b"a"})), _tar(("b", {"content": b"b"}))]


def _spoilt_archives() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    found: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    saved = Saved(LAYERS)
    saved.layers["1.tar"] = LAYERS[1].replace(b"b", b"c", 1)[:512] + LAYERS[1][512:]
    saved.layers["1.tar"] = _tar(("c", {"content": b"c"}))
    found["digest"] = (saved.bytes(), ("1.tar", "has the diff ID", "the image's config names"))
    saved = Saved(LAYERS)
    del saved.config["rootfs"]
    found["no-rootfs"] = (saved.bytes(), ("config.json", "it has no rootfs"))
    saved = Saved(LAYERS)
    saved.config["rootfs"]["diff_ids"].pop()
    found["too-few-diff-ids"] = (saved.bytes(), ("config.json", "names 1 layers, but there are 2"))
    saved = Saved(LAYERS)
    saved.config["rootfs"]["diff_ids"][0] = "sha256:../../x"
    found["odd-diff-id"] = (saved.bytes(), ("config.json", "no list of sha256 digests"))
    saved = Saved(LAYERS)
    saved.config["history"].append({"created": "2024-01-01T00:00:00Z"})
    found["history"] = (saved.bytes(), ("config.json", "its history has 3 rows"))
    saved = Saved(LAYERS)
    saved.config["os"] = "windows"
    found["os"] = (saved.bytes(), ("config.json", "windows", "not for linux"))
    saved = Saved(LAYERS)
    saved.manifest[0]["Layers"][1] = "../../../etc/passwd"
    found["layer-elsewhere"] = (saved.bytes(), ("etc/passwd", "the archive has no file"))
    saved = Saved(LAYERS)
    saved.manifest[0]["RepoTags"] = ["Bad Name"]
    found["name"] = (saved.bytes(), ("a name in the archive", "Bad Name"))
    saved = Saved(LAYERS)
    saved.manifest = {"Config": 1}
    found["manifest"] = (saved.bytes(), ("manifest.json", "expected a list"))
    saved = Saved(LAYERS)
    saved.layers["1.tar"] = gzip.compress(LAYERS[1])[:-20]
    found["cut-layer"] = (saved.bytes(), ("1.tar", "gzip data ends"))
    saved = Saved([LAYERS[0], BAD_TARS["climbing"][0]])
    found["climbing-layer"] = (saved.bytes(), ("1.tar", "../evil"))
    saved = Saved(LAYERS)
    found["cut"] = (saved.bytes()[:3000], ("it ends inside of", ""))
    saved = Saved([LAYERS[0]] * 126)
    found["deep"] = (saved.bytes(), ("config.json", "126 layers, docker takes at most 125"))
    tar = Tar()
    tar.add("something", b"else")
    found["neither"] = (tar.bytes(), ("neither docker's nor an OCI layout",))
    tar = Tar()
    tar.add("manifest.json", b"[]")
    tar.add("manifest.json", b"[]")
    found["twice"] = (tar.bytes(), ("two members manifest.json",))
    return found


ARCHIVES = _spoilt_archives()


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_breaks_a_rule(refused: Refused, tmp_path: Path, kind: str) -> None:
    data, words = ARCHIVES[kind]
    (tmp_path / "bad.tar").write_bytes(data)
    said = refused("load", tmp_path / "bad.tar")
    for word in words:
        assert word in said


def _layout(folder: Path) -> Path:
    """A good OCI layout."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    config = blob(json.dumps(Saved(LAYERS).config).encode(), "application/vnd.oci.image.config.v1+json")
    kinds = "application/vnd.oci.image.layer.v1.tar+gzip"
    layers = [blob(gzip.compress(data, mtime=0), kinds) for data in LAYERS]
    content = {"schemaVersion": 2, "config": config, "layers": layers}
    manifest = blob(json.dumps(content).encode(), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "good:1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def test_a_blob_with_another_digest(refused: Refused, tmp_path: Path, call: Call, lab_path: Path) -> None:
    good = _layout(tmp_path / "good")
    for blob in sorted((good / "blobs/sha256").iterdir()):
        kept = blob.read_bytes()
        blob.write_bytes(gzip.compress(gzip.decompress(kept)) if kept[:2] == b"\x1f\x8b" else kept + b" ")
        said = refused("load", good)
        assert blob.name in said and "digest" in said
        blob.unlink()
        assert blob.name in refused("load", good)
        blob.write_bytes(kept)
    (good / "blobs/sha256" / blob.name).unlink()
    (good / "blobs/sha256" / blob.name).symlink_to("/etc/passwd")
    assert blob.name in refused("load", good)
    blob.unlink()
    blob.write_bytes(kept)
    assert call("load", good, root=lab_path).out == b"Loaded image: good:1\n"


def test_deep_stacks(refused: Refused, tmp_path: Path, call: Call, lab_path: Path) -> None:
    """Of 125 layers an image may have, as many are loaded; a container of it can be made, but not committed."""
    layers = [_tar((f"f{number}", {"content": b"%d" % number})) for number in range(125)]
    (tmp_path / "deep.tar").write_bytes(Saved(layers).bytes())
    assert call("load", tmp_path / "deep.tar", root=lab_path).code == 0
    with open_lab(lab_path) as lab:
        lab.create("bad:1", "deep")
        with lab.overlay("deep") as overlay:
            assert overlay.read_bytes("/f0") == b"0"
            overlay.write_bytes("/top", b"x")
    assert "has 125 layers already" in refused("commit", "deep", "deeper:1")


def test_a_second_writer(refused: Refused, lab_path: Path) -> None:
    with open_lab(lab_path):
        said = refused("create", "base:1.0")
    assert f"process {os.getpid()}" in said and "layerscope-lab.json is locked" in said


def test_a_root_that_is_no_lab(tmp_path: Path, overlay2_root: Path, call: Call) -> None:
    before = tree(overlay2_root)
    for words in (["create", "layerscope/app:1.0"], ["rm", "idle"], ["lab", "sweep"]):
        said = call(*words, root=overlay2_root)
        assert said.code == 4
        assert "it is no lab root (there is no layerscope-lab.json)" in said.err
    assert tree(overlay2_root) == before
    said = call("create", "x", root=tmp_path)
    assert said.code == 3


def test_repositories_that_are_damaged(refused: Refused, lab_path: Path) -> None:
    (lab_path / "image/overlay2/repositories.json").write_text('{"Repositories":')
    assert "repositories.json can't be read" in refused("import", _written(lab_path), "new:1")


def _written(lab_path: Path) -> Path:
    path = lab_path.parent / "good.tar"
    path.write_bytes(LAYERS[0])
    return path


def test_a_mounted_container(refused: Refused, lab_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with open_lab(lab_path) as lab:
        lab.create("base:1.0", "web")
    with open_root(lab_path) as session:
        container = session.find("web").container
        assert container is not None
    home = lab_path / "overlay2" / str(container.mount_id)
    (home / "merged").mkdir()
    lower = (home / "lower").read_text()
    options = f"lowerdir={lower},upperdir={home.name}/diff,workdir={home.name}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", home / "merged"], cwd=home.parent, check=True)
    try:
        for words in (["rm", "web"], ["commit", "web"], ["sh", "web", "-c", "ls"]):
            assert "its writable layer is mounted at" in refused(*words)
    finally:
        subprocess.run(["umount", home / "merged"], check=True)


def test_a_stream_that_is_no_archive(lab_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscope.errors import CommitError

    with open_lab(lab_path) as lab, pytest.raises(CommitError, match="standard input"):
        lab.load(io.BytesIO(b"x" * 2000), "standard input")
