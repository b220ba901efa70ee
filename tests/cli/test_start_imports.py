"""What a short answer doesn't load: each module named here takes longer to import than a record to read."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from containerd_roots import DATA, META, copy

NOT_FOR_HELP = {
    "msgspec": "there are no values to hold",
    "pathlib": "no path is looked at",
    "hashlib": "nothing is hashed",
    "unicodedata": "the help is ASCII",
    "layerscope.services": "no root is opened",
    "layerscope.model": "nothing is told of a root",
    "layerscope.hostfs": "no root is opened",
    "layerscope.stores": "no root is opened",
    "layerscope.cli.verbs": "no verb is called",
}
NOT_FOR_PS = {
    # of the library
    "hashlib": "loads OpenSSL; the interpreter has a SHA-256 of its own",
    "_hashlib": "OpenSSL itself",
    "pathlib": "brings urllib and ipaddress; a root is opened by the text of its path",
    "unicodedata": "for text beyond ASCII only",
    "base64": "for names in JSON that aren't UTF-8",
    "json": "msgspec reads JSON; this one is for what that refuses, and for daemon.json",
    "tomllib": "for configuration of podman and containerd",
    "resource": "sysconf tells how many files may be open",
    "tempfile": "nothing is written",
    "subprocess": "no program is asked",
    "tarfile": "no archive is read",
    "asyncio": "of the terminal UI",
    # of the other engines
    "layerscope.stores.podman": "not a root of podman's",
    "layerscope.stores.archive": "not an archive",
    "layerscope.stores.bare": "not a bare overlay",
    "layerscope.stores.oci": "no content store",
    "layerscope.stores.containerd.halves": "its containerd names nothing",
    "layerscope.stores.containerd.locate": "its containerd names nothing",
    "layerscope.stores.containerd.metadata": "its containerd names nothing",
    "layerscope.stores.containerd.snapshots": "its containerd names nothing",
    "layerscope.services.opening.containerd": "its containerd names nothing",
    "layerscope.services.opening.without_engine": "it is an engine's root",
    "layerscope.services.opening.live_zfs": "not a root on zfs",
    "layerscope.services.opening.layer_owners": "only podman's layers have owners of their own",
    "layerscope.services.opening.handed_layers": "nothing is handed over",
    # of docker's, what this question doesn't ask
    "layerscope.stores.rootless_owners": "not a rootless engine's",
    "layerscope.formats.passwd": "not a rootless engine's",
    "layerscope.formats.subordinate_ids": "not a rootless engine's",
    "layerscope.hostfs.owner_map": "owners are shown as on disk",
    "layerscope.stores.docker.liveness": "no container is recorded as running",
    "layerscope.hostfs.locks": "no container is recorded as running",
    "layerscope.hostfs.mounts": "no container is recorded as running",
    "layerscope.stores.docker.engine": "which version wrote it isn't asked",
    "layerscope.stores.docker.buildkit": "what a build keeps isn't asked",
    "layerscope.stores.docker.claims": "who owns what isn't asked",
    "layerscope.formats.tar": "no layer's tar is read",
    "layerscope.formats.ext4": "no file system is read from blocks",
    "layerscope.overlay": "writable layers are measured, not merged",
    "layerscope.lab.layer": "nothing is written",
    "layerscope.lab.container": "nothing is written",
    "layerscope.tui": "no terminal UI",
}

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="a root that is unpacked for a user is taken for one of a rootless engine"
)


def loaded(*words: str) -> set[str]:
    """The modules that the program has at its end, in a process of its own; it must end well."""
    script = (
        "import sys; from layerscope.__main__ import main; code = main(); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


def needless(found: set[str], unwanted: Iterable[str]) -> list[str]:
    """What was loaded of the unwanted modules, those below one included."""
    return sorted(name for name in found for other in unwanted if f"{name}.".startswith(f"{other}."))


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_and_version_need_the_command_line_only(word: str) -> None:
    found = loaded(word)
    assert "layerscope.cli.main" in found
    assert needless(found, NOT_FOR_HELP) == []


@needs_root
def test_ps_loads_what_it_reads(overlay2_root: Path) -> None:
    found = loaded("ps", "--root", str(overlay2_root))
    assert {"layerscope.stores.docker.containers", "layerscope.drivers.overlay2"} <= found
    assert needless(found, NOT_FOR_PS) == []


@needs_root
def test_ps_looks_at_an_idle_containerd_from_outside(overlay2_root: Path, tmp_path: Path) -> None:
    """A daemon that was started without a system's containerd leaves one that names nothing."""
    root = copy(overlay2_root, tmp_path / "root")
    database = root / "containerd/daemon" / META
    database.parent.mkdir(parents=True)
    database.write_bytes(gzip.decompress((DATA / "idle/meta.db.gz").read_bytes()))
    assert needless(loaded("ps", "--root", str(root)), NOT_FOR_PS) == []
    shutil.rmtree(root / "containerd")
    assert "layerscope.stores.containerd" not in loaded("ps", "--root", str(root))


@needs_root
def test_a_root_without_volumes_has_no_database_to_read(overlay2_root: Path, tmp_path: Path) -> None:
    root = copy(overlay2_root, tmp_path / "root")
    shutil.rmtree(root / "volumes")
    assert needless(loaded("ps", "--root", str(root)), ["layerscope.formats.boltdb"]) == []


def test_a_service_needs_no_session() -> None:
    """The package's public names are there all the same."""
    script = (
        "import sys; import layerscope.services.faults; assert 'layerscope.services.session' not in sys.modules; "
        "from layerscope.services import Session, open_root; "
        "assert (Session.__name__, open_root.__name__) == ('Session', 'open_root')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
