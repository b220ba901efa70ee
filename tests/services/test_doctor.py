"""Damage as real roots have it, made in a copy of a sample: recognised by its kind and named by its path."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat as modes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerscope.model.diagnosis import Diagnosis, Outcome
from layerscope.model.problem import Severity
from layerscope.services.doctor import examine
from layerscope.services.opening.root import open_root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a sample unpacked without root is damaged all over")

BASE = "210cb665d3925aae6d823501529bd42bb1e8eb1588cf4b93e1c542b7d4447265"
SECOND = "2ce8cf7bd7ba9e22235fd151ee4e69c72f3aa61bc7b4f7811dba82af9492138d"
APP = "8151edbac7a37c6423525f91495a3ee538cc89191961f039a6901af584c57c30"
EDITOR = "a02447c1b8e684d72a269f88836d2c0b50b7570912f7e2f53ab053ca4f34707e"
WRITER = "ea5e3b14c41b7814b65b53f9d12a2fdfcde380106f2ee9bd9e8e427b58136c49"
IDLE = "a846d6cd2c287c702bc25983acbbda0dfc526707c6a8a04663adf075501b53af"
RECORDS = "image/overlay2"
NAMES = f"{RECORDS}/repositories.json"
CONTENT = f"{RECORDS}/imagedb/content/sha256"
CHAIN = f"{RECORDS}/layerdb/sha256"
MOUNTS = f"{RECORDS}/layerdb/mounts"


class Root:
    """A copy of the sample, and where its layers lie."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, path: str) -> str:
        return (self.path / path).read_text().strip()

    def write(self, path: str, content: str | bytes) -> str:
        place = self.path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def edit(self, path: str, change: Callable[[dict[str, Any]], object]) -> str:
        record = json.loads(self.text(path))
        change(record)
        return self.write(path, json.dumps(record))

    def remove(self, path: str) -> str:
        place = self.path / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
        return path

    def layer(self, chain: str = SECOND) -> str:
        return f"overlay2/{self.text(f'{CHAIN}/{chain}/cache-id')}"

    def upper(self, container: str = EDITOR) -> str:
        return f"overlay2/{self.text(f'{MOUNTS}/{container}/mount-id')}"


class Damage(NamedTuple):
    """``make`` gives the path that must be named."""

    rule: str
    outcome: Outcome
    make: Callable[[Root], str]


def swap_lower(root: Root) -> str:
    path = f"{root.upper()}/lower"
    first, second, *rest = root.text(path).split(":")
    return root.write(path, ":".join([first, *rest, second]))


def empty_link(root: Root) -> str:
    """As a power loss leaves it: the file empty, and so the name in ``lower`` of what is above."""
    root.write(f"{root.layer()}/link", "")
    return f"{root.layer()}/link"


def bare_lower(root: Root) -> str:
    path = f"{root.upper()}/lower"
    first, _, *rest = root.text(path).split(":")
    return root.write(path, ":".join([first, "l", *rest]))


def rename_to_writer(root: Root) -> str:
    return root.edit(f"containers/{EDITOR}/config.v2.json", lambda record: record.update(Name="/writer"))


def kill_removal(root: Root) -> str:
    root.remove(f"{root.upper()}/link")
    return root.edit(
        f"containers/{EDITOR}/config.v2.json",
        lambda record: record["State"].update(Dead=True, RemovalInProgress=False),
    )


def removing(root: Root) -> str:
    root.write(f"overlay2/{'7' * 64}/diff/x", "x")
    path = f"{CHAIN}/{'7' * 64}-{'8' * 64}-removing"
    root.write(f"{path}/cache-id", "7" * 64)
    return path


def lost_build_layer(root: Root) -> str:
    """A layer of no image whose directory is gone."""
    import hashlib

    diff = f"sha256:{'6' * 64}"
    chain = hashlib.sha256(f"sha256:{BASE} {diff}".encode()).hexdigest()
    for name, text in {"diff": diff, "parent": f"sha256:{BASE}", "cache-id": "x" * 25, "size": "7"}.items():
        root.write(f"{CHAIN}/{chain}/{name}", text)
    root.write(f"{CHAIN}/{chain}/tar-split.json.gz", gzip.compress(b""))
    return f"{CHAIN}/{chain}"


def other_driver(root: Root) -> str:
    shutil.copytree(root.path / CONTENT, root.path / "image/vfs/imagedb/content/sha256")
    root.write("image/vfs/repositories.json", '{"Repositories":{}}')
    root.remove(f"image/vfs/imagedb/content/sha256/{APP}")
    return "image"


def named_outside(root: Root) -> str:
    path = f"{CHAIN}/{SECOND}/tar-split.json.gz"
    lines = gzip.decompress((root.path / path).read_bytes())
    root.write(path, gzip.compress(lines.replace(b'"etc/motd"', b'"x/../etc/motd"')))
    return path


def lose_device(root: Root) -> str:
    """As a copy by zip: the whiteout became an ordinary file, its directory lost the opaque flag."""
    root.remove(f"{root.layer()}/diff/data/b.txt")
    return f"{root.layer()}/diff/data/b.txt"


def leave_temporary(root: Root) -> str:
    return root.write(f"containers/{EDITOR}/.tmp-config.v2.json123", "{")


ROWS = {
    "names empty": Damage("names damaged", Outcome.REFUSES_TO_START, lambda root: root.write(NAMES, "")),
    "names garbage": Damage("names damaged", Outcome.REFUSES_TO_START, lambda root: root.write(NAMES, "garbage")),
    "names missing": Damage("names missing", Outcome.FORGETS_NAMES, lambda root: root.remove(NAMES)),
    "name of a missing image": Damage(
        "name without image", Outcome.HIDES_IMAGE, lambda root: root.remove(f"{CONTENT}/{APP}")
    ),
    "image config empty": Damage(
        "image record damaged", Outcome.HIDES_IMAGE, lambda root: root.write(f"{CONTENT}/{APP}", "")
    ),
    "image config changed": Damage(
        "image record damaged",
        Outcome.HIDES_IMAGE,
        lambda root: root.edit(f"{CONTENT}/{APP}", lambda record: record.update(author="x")),
    ),
    "image config without rootfs": Damage(
        "image record damaged",
        Outcome.HIDES_IMAGE,
        lambda root: root.edit(f"{CONTENT}/{APP}", lambda record: record.pop("rootfs")),
    ),
    "image config's name no digest": Damage(
        "image record misnamed",
        Outcome.HIDES_IMAGE,
        lambda root: root.write(f"{CONTENT}/misnamed", root.text(f"{CONTENT}/{APP}")),
    ),
    "layer record missing": Damage(
        "layer record missing", Outcome.HIDES_IMAGE, lambda root: root.remove(f"{CHAIN}/{SECOND}")
    ),
    "layer's diff empty": Damage(
        "layer record damaged", Outcome.HIDES_IMAGE, lambda root: root.write(f"{CHAIN}/{SECOND}/diff", "")
    ),
    "layer's size bad": Damage(
        "layer size damaged", Outcome.HIDES_IMAGE, lambda root: root.write(f"{CHAIN}/{SECOND}/size", "12\n")
    ),
    "layer's cache-id empty": Damage(
        "layer record damaged", Outcome.HIDES_IMAGE, lambda root: root.write(f"{CHAIN}/{SECOND}/cache-id", "")
    ),
    "layer record empty": Damage(
        "layer record empty",
        Outcome.HIDES_IMAGE,
        lambda root: os.mkdir(root.path / root.remove(f"{CHAIN}/{SECOND}")) or f"{CHAIN}/{SECOND}",  # type: ignore[func-returns-value]
    ),
    "layer's parent missing": Damage(
        "layer parent lost", Outcome.WORKS, lambda root: root.remove(f"{CHAIN}/{SECOND}/parent").removesuffix("/parent")
    ),
    "contents missing": Damage("contents missing", Outcome.FAILS_ON_USE, lambda root: root.remove(root.layer())),
    "files missing": Damage("contents missing", Outcome.FAILS_ON_USE, lambda root: root.remove(f"{root.layer()}/diff")),
    "short name missing": Damage(
        "short name missing",
        Outcome.FAILS_ON_USE,
        lambda root: root.remove(f"overlay2/l/{root.text(f'{root.layer()}/link')}"),
    ),
    "link empty": Damage("short name damaged", Outcome.FAILS_ON_USE, empty_link),
    "bare l in lower": Damage("order damaged", Outcome.FAILS_ON_USE, bare_lower),
    "lower disagrees": Damage("order disagrees", Outcome.MOUNTS_OTHER, swap_lower),
    "container record empty": Damage(
        "container record damaged",
        Outcome.SKIPS_CONTAINER,
        lambda root: root.write(f"containers/{EDITOR}/config.v2.json", ""),
    ),
    "container record missing": Damage(
        "container record damaged",
        Outcome.SKIPS_CONTAINER,
        lambda root: root.remove(f"containers/{EDITOR}/config.v2.json"),
    ),
    "stray directory": Damage(
        "stray entry among containers",
        Outcome.SKIPS_CONTAINER,
        lambda root: root.write("containers/stray/x", "").removesuffix("/x"),
    ),
    "host settings bad": Damage(
        "host settings damaged",
        Outcome.SKIPS_CONTAINER,
        lambda root: root.write(f"containers/{EDITOR}/hostconfig.json", "{"),
    ),
    "container of another ID": Damage(
        "container of another ID",
        Outcome.SKIPS_CONTAINER,
        lambda root: root.edit(f"containers/{EDITOR}/config.v2.json", lambda record: record.update(ID=IDLE)),
    ),
    "two of one name": Damage("name of two containers", Outcome.SKIPS_CONTAINER, rename_to_writer),
    "mount record without container": Damage(
        "container layer without container",
        Outcome.KEEPS,
        lambda root: root.remove(f"containers/{IDLE}").replace("containers", MOUNTS),
    ),
    "container without mount record": Damage(
        "container without layer", Outcome.SKIPS_CONTAINER, lambda root: root.remove(f"{MOUNTS}/{IDLE}")
    ),
    "mount-id malformed": Damage(
        "mount record damaged", Outcome.SKIPS_CONTAINER, lambda root: root.write(f"{MOUNTS}/{IDLE}/mount-id", "../x")
    ),
    "writable layer missing": Damage("contents missing", Outcome.FAILS_ON_USE, lambda root: root.remove(root.upper())),
    "init layer missing": Damage(
        "contents missing", Outcome.FAILS_ON_USE, lambda root: root.remove(f"{root.upper()}-init")
    ),
    "directory of nobody": Damage(
        "directory of no record",
        Outcome.KEEPS,
        lambda root: root.write(f"overlay2/{'9' * 64}/diff/x", "x").removesuffix("/diff/x"),
    ),
    "deletion interrupted": Damage("layer deletion interrupted", Outcome.CLEANS, removing),
    "writing interrupted": Damage(
        "write interrupted",
        Outcome.KEEPS,
        lambda root: root.write(f"{RECORDS}/layerdb/tmp/write-set-77/diff", "x").removesuffix("/diff"),
    ),
    "temporary file": Damage("write interrupted", Outcome.KEEPS, leave_temporary),
    "dangling short name": Damage(
        "short name of no layer",
        Outcome.KEEPS,
        lambda root: (
            os.symlink("../gone/diff", root.path / "overlay2/l/AAAAAAAAAAAAAAAAAAAAAAAAAA")  # type: ignore[func-returns-value]
            or "overlay2/l/AAAAAAAAAAAAAAAAAAAAAAAAAA"
        ),
    ),
    "removal killed": Damage("removal of container interrupted", Outcome.WORKS, kill_removal),
    "build step left": Damage(
        "container layer without container",
        Outcome.KEEPS,
        lambda root: root.write(f"{MOUNTS}/{'5' * 64}/mount-id", "5" * 64).removesuffix("/mount-id"),
    ),
    "layer of a killed build": Damage("contents of unused layer missing", Outcome.FAILS_ON_USE, lost_build_layer),
    "image of a container removed": Damage(
        "image of container removed",
        Outcome.WORKS,
        lambda root: root.remove(f"{CONTENT}/{APP}") and f"containers/{EDITOR}/config.v2.json",
    ),
    "another driver's images": Damage("other driver", Outcome.WORKS, other_driver),
    "recorded as running": Damage(
        "running in a dead root",
        Outcome.REPAIRS,
        lambda root: root.edit(
            f"containers/{EDITOR}/config.v2.json", lambda record: record["State"].update(Running=True, Pid=77)
        ),
    ),
    "merged full": Damage(
        "files under a mount point",
        Outcome.WORKS,
        lambda root: root.write(f"{root.upper()}/merged/stray", "x" * 5000).removesuffix("/stray"),
    ),
    "tar record missing": Damage(
        "tar record damaged", Outcome.FAILS_ON_SAVE, lambda root: root.remove(f"{CHAIN}/{SECOND}/tar-split.json.gz")
    ),
    "tar record corrupt": Damage(
        "tar record damaged",
        Outcome.FAILS_ON_SAVE,
        lambda root: root.write(f"{CHAIN}/{SECOND}/tar-split.json.gz", b"\x1f\x8bgarbage"),
    ),
    "file of a layer changed": Damage(
        "layer changed", Outcome.FAILS_ON_SAVE, lambda root: root.write(f"{root.layer()}/diff/etc/motd", "x" * 20)
    ),
    "names that lead out": Damage("tar record damaged", Outcome.FAILS_ON_SAVE, named_outside),
    "marks lost in a copy": Damage("marks lost", Outcome.MOUNTS_OTHER, lose_device),
}


@pytest.fixture
def root(overlay2_root: Path, tmp_path: Path) -> Root:
    subprocess.run(["cp", "-a", str(overlay2_root), str(tmp_path / "root")], check=True)
    return Root(tmp_path / "root")


def diagnoses(path: Path) -> list[Diagnosis]:
    with open_root(path, driver="overlay2") as session:
        # No file of this copy is locked by anybody, but another namespace's locks may be out of sight.
        return examine(session)


@pytest.mark.parametrize("row", ROWS)
def test_damage_is_recognised(root: Root, row: str) -> None:
    damage = ROWS[row]
    path = damage.make(root)
    found = diagnoses(root.path)
    at = [one for one in found if one.path == path]
    assert damage.rule in [one.rule for one in at], [(one.rule, one.path) for one in found]
    one = next(one for one in at if one.rule == damage.rule)
    assert one.outcome is damage.outcome
    assert one.what and one.docker and one.readable and one.repair
    assert [other for other in found if other.rule == "other"] == []


@pytest.mark.parametrize("sample", ["overlay2", "overlay2-buildkit", "vfs", "btrfs", "overlay", "aufs"])
def test_an_undamaged_root_has_nothing(unpacked: Callable[[str], Path], sample: str) -> None:
    with open_root(unpacked(sample)) as session:
        assert examine(session) == []


def test_a_user_without_rights_is_told_so(overlay2_root: Path, nobody: Callable[[], Any]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        subprocess.run(["cp", "-a", str(overlay2_root), f"{folder}/root"], check=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        with nobody():
            found = diagnoses(Path(folder) / "root")
    assert [one for one in found if one.rule == "no right to read" and "root" in one.repair]


@pytest.mark.parametrize("how", ["fifo", "link", "socket"])
def test_whatever_record_is_no_file_is_named(root: Root, how: str) -> None:
    """Each record file that ``find`` finds in turn, layers' own files left out; nothing is opened, so nothing waits."""
    command = [
        "find",
        ".",
        "-path",
        "./overlay2",
        "-prune",
        "-o",
        "-type",
        "f",
        "-path",
        "./volumes/*/_data/*",
        "-prune",
    ]
    listed = subprocess.run([*command, "-o", "-type", "f", "-print"], cwd=root.path, capture_output=True, check=True)
    paths = [line.removeprefix("./") for line in os.fsdecode(listed.stdout).splitlines()]
    assert {NAMES, "volumes/metadata.db", f"containers/{EDITOR}/hostname"} < set(paths)
    for path in paths:
        place = root.path / path
        aside = root.path.parent / "aside"
        place.rename(aside)
        if how == "fifo":
            os.mkfifo(place)
        elif how == "link":
            place.symlink_to(aside)
        else:
            os.mknod(place, modes.S_IFSOCK | 0o600)
        with open_root(root.path) as session:
            found = examine(session, layers=False)
        # A damaged layer record costs what stands on it, too; a layer of no use is named by its own folder.
        assert any(path.startswith(one.path) and one.path for one in found), path
        place.unlink()
        aside.rename(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a right away from another user")
@pytest.mark.parametrize("mode", [0o000, 0o711, 0o744], ids=oct)
@pytest.mark.parametrize("place", [CHAIN, CONTENT, "containers", "overlay2/l"])
def test_a_folder_that_a_user_may_not_read_costs_only_what_is_in_it(
    overlay2_root: Path, nobody: Callable[[], Any], place: str, mode: int
) -> None:
    """No directory is nobody's because the record that claims it can't be read: in this root there is none."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder, "root")
        subprocess.run(["cp", "-a", str(overlay2_root), str(root)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        (root / place).chmod(mode)
        with nobody():
            assert not os.access(root / place, os.R_OK | os.X_OK, effective_ids=True)
            found = diagnoses(root)
        assert any(one.path == place or one.path.startswith(f"{place}/") for one in found)
        assert [one.path for one in found if one.rule == "directory of no record"] == []
        assert [one.path for one in found if one.rule.startswith("short name") and one.path != place] == []


def test_the_gravest_comes_first_and_the_command_says_it_all(
    root: Root, capsys: pytest.CaptureFixture[str], overlay2_root: Path
) -> None:
    from layerscope.cli.main import run

    root.write(NAMES, "")
    ROWS["temporary file"].make(root)
    assert run(["doctor", "--root", str(root.path), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert {"severity", "path", "what", "effect", "hint", "rule", "outcome"} <= shown[0].keys()
    assert shown[0]["path"] == NAMES and shown[0]["outcome"] == "refuses to start"
    assert [one["severity"] for one in shown] == sorted(
        (one["severity"] for one in shown), key=[str(word) for word in (Severity.ERROR, "warning", "note")].index
    )
    assert run(["doctor", "--root", str(root.path)]) == 1
    text = capsys.readouterr().out
    assert f"error: names damaged: {NAMES}" in text and "does not start" in text
    assert run(["doctor", "--quick", "--root", str(overlay2_root)]) == 0
    assert capsys.readouterr().out == "nothing is damaged\n"


def test_nothing_in_the_root_is_changed(root: Root) -> None:
    for name in ("names empty", "temporary file", "merged full", "short name missing", "marks lost in a copy"):
        ROWS[name].make(root)

    def facts() -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            for path in sorted(root.path.rglob("*"))
            for stat in [path.lstat()]
        }

    before = facts()
    assert len(diagnoses(root.path)) >= 5
    assert facts() == before
