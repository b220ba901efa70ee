"""The same Dockerfiles and context built by docker's classic builder and by layerscope: layers, configs, histories."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live.engine import ApiError, Engine, Tar, busybox, docker_client, missing

from layerscope.cli.main import run

REASON = missing() or (None if docker_client() else "docker's client is not installed")
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

BASE = "build/base:1"
TIME = 1_600_000_000
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
LAYERS_EQUAL = {
    "file-to-root",
    "files-to-root",
    "directory-to-root",
    "ignored",
    "wildcard",
    "chown",
    "archive",
    "archive-gzip",
    "scratch",
    "from-stage-to-root",
    "touched-run",
}
"""Cases whose layers hold no time of the build itself, so that their diff IDs must be the same."""

DOCKERFILES = {
    "nothing": "FROM build/base:1\n",
    "file-to-root": "FROM build/base:1\nCOPY one.txt /\n",
    "file-renamed": "FROM build/base:1\nCOPY one.txt /data/renamed\n",
    "file-into-directory": "FROM build/base:1\nCOPY one.txt /data\n",
    "file-new-directory": "FROM build/base:1\nCOPY one.txt /new/er/\n",
    "file-over-link": "FROM build/base:1\nCOPY one.txt /link\nADD one.txt /data/link\n",
    "file-over-file": "FROM build/base:1\nCOPY one.txt /data/old\n",
    "files-to-root": "FROM build/base:1\nCOPY one.txt tree/two.txt /\n",
    "json-form": 'FROM build/base:1\nCOPY ["with blank", "one.txt", "/json form/"]\n',
    "directory-to-root": "FROM build/base:1\nCOPY tree /\n",
    "directory-to-directory": "FROM build/base:1\nCOPY tree /data\nCOPY tree/ /data/more/\n",
    "directory-over-directory": "FROM build/base:1\nCOPY tree /tree\n",
    "whole-context": "FROM build/base:1\nCOPY . /\n",
    "wildcard": "FROM build/base:1\nCOPY t*/*.txt o?e.[a-t]xt /\n",
    "linked-source": "FROM build/base:1\nCOPY links/to-file /a\nCOPY links/to-tree /b/\nCOPY links/absolute /c\n",
    "chown": "FROM build/base:1\nCOPY --chown=5:6 tree /\nCOPY --chown=ada one.txt /\n",
    "chown-new-directories": "FROM build/base:1\nCOPY --chown=ada:users one.txt /x/y/\nCOPY --chown=7 tree /data\n",
    "archive": "FROM build/base:1\nADD plain.tar /\n",
    "archive-gzip": "FROM build/base:1\nADD packed.tgz /\n",
    "archive-copied": "FROM build/base:1\nCOPY plain.tar /\nADD --chown=3:3 packed.tgz /unpacked/here/\n",
    "archive-over": "FROM build/base:1\nADD over.tar /\n",
    "archive-below": "FROM build/base:1\nADD over.tar /data\nADD over.tar below/it/\nADD tree/two.txt /data/x\n",
    "scratch": "FROM scratch\nCOPY tree /\nLABEL a=b\n",
    "scratch-label": "FROM scratch\nENV A=1\nWORKDIR /w/x\nCOPY one.txt .\n",
    "workdir": "FROM build/base:1\nWORKDIR /w\nWORKDIR x/../y\nCOPY one.txt ./\nCOPY one.txt z\nWORKDIR /data/\n",
    "stages": (
        "FROM build/base:1 AS first\nCOPY tree /made/\nFROM first\nLABEL second=1\n"
        "FROM build/base:1 AS Third\nCOPY --from=0 /made /a\nCOPY --from=FIRST /made/two.txt /b\n"
        "COPY --from=1 --chown=9:9 /made/inner /c/\nCOPY --from=build/base:1 /data/old /d\n"
    ),
    "from-stage-to-root": "FROM build/base:1 AS first\nCOPY tree /\nFROM scratch\nCOPY --from=first /inner /\n",
    "environment": (
        "FROM build/base:1\nENV A=1 B=\"two words\" C='$A' D=\\$A\nENV OLD way of $A it\nENV A=${A}2 E=${NONE:-def}\n"
        'ENV PATH=/x:$PATH\nENV F=${A:+set}x G="a\\"b" H=one\\ word\n'
    ),
    "labels": 'FROM build/base:1\nLABEL one=1 two="2 $HOME" "three four"=x\nLABEL multi="a \\\nb" \\\n  last=<&>\n',
    "commands": (
        'FROM build/base:1\nCMD echo "hi" && true\nCMD ["a", "b\\n\\u00e9"]\nENTRYPOINT ["/x"]\nCMD ["late"]\n'
        "ENTRYPOINT exec /y $A\nCMD []\n"
    ),
    "entrypoint-resets": 'FROM build/base:1\nENTRYPOINT ["/x"]\nLABEL a=1\nENTRYPOINT []\nLABEL b=2\n',
    "commands-empty": (
        'FROM build/base:1\nENTRYPOINT ["/x"]\nENTRYPOINT\nLABEL a=1\nCMD\nSHELL ["/s"]\nCMD \nONBUILD CMD\n'
    ),
    "triggers": "FROM build/base:1\nONBUILD  label  a=1\t \nonbuild COPY one.txt \\\n  /x  \nONBUILD CMD x ",
    "entrypoint-undone": 'FROM build/base:1\nENTRYPOINT [""]\nCMD ["/y"]\nLABEL a=1\n',
    "ports-of-hosts": "FROM build/base:1\nEXPOSE 9-11:9-11 1.2.3.4:80:90/udp [::1]:81:91 82:92\nEXPOSE :93\n",
    "health": (
        "FROM build/base:1\nHEALTHCHECK --interval=1h2m3.5s --timeout= --start-period=1ms --retries= CMD a $A\n"
        'LABEL a=1\nHEALTHCHECK --interval=1ms --retries=2 CMD ["x", "y"]\nLABEL b=2\n'
    ),
    "ports": "FROM build/base:1\nENV P=81\nEXPOSE 443/udp 80 $P 8000-8002\nEXPOSE 80/TCP\n",
    "volumes": 'FROM build/base:1\nENV V=/v3\nVOLUME /v1 $V\nVOLUME ["/v2"]\nLABEL behind=them\nCOPY one.txt /v1/\n',
    "user": "FROM build/base:1\nARG WHO=ada\nUSER ${WHO}:users\nLABEL x=y\n",
    "arguments": (
        "ARG TAG=1\nARG IMAGE=build/base:$TAG\nFROM $IMAGE\nARG TAG\nARG GIVEN=no\nARG UNSET\nARG A=$GIVEN-x B\n"
        "ENV T=$TAG G=$GIVEN U=$UNSET A=$A\nLABEL given=$GIVEN\nENV GIVEN=hidden\nLABEL hidden=$GIVEN\n"
    ),
    "escape": "# escape=`\nFROM build/base:1\nENV A=`$B C=a\\b\nLABEL x=1 `\n  y=2\nCOPY one.txt `\n  /\n",
    "comments": "# syntax=x/y:1\n\n  # more\nFROM build/base:1\n# x\nLABEL a=1 \\\n# between\n\n  b=2\nlabel c=3\n",
    "others": (
        'FROM build/base:1\nMAINTAINER A U <a@example.org>\nSHELL ["/bin/sh", "-ec"]\nCMD true\nSTOPSIGNAL SIGUSR1\n'
        "HEALTHCHECK --interval=90s --retries=3 CMD /check it\nHEALTHCHECK NONE\nONBUILD LABEL x=y\nLABEL z=1\n"
    ),
    "run": (
        "FROM build/base:1\nRUN echo hello > /out && rm /data/old\nRUN mkdir -p /m/n; chmod 750 /m/n; cp /out /m/n/\n"
        "ENV W=/m\nWORKDIR /m\nRUN cp n/out $W/copy && ln -s copy 'a link' && rm -r /tree\n"
    ),
    "run-arguments": 'FROM build/base:1\nARG GIVEN\nARG B=2\nENV B=3\nRUN echo "$GIVEN $B" > /out\nLABEL a=1\n',
    "run-list": 'FROM build/base:1\nENTRYPOINT ["/x"]\nRUN ["mkdir", "/made by list"]\n',
    "touched-run": "FROM build/base:1\nRUN touch -d @981173106 /old.txt\n",
    "ignored": "FROM build/base:1\nCOPY tree /\n",
}
REFUSED = (
    "",
    "# nothing\n",
    "RUN x\nFROM build/base:1\n",
    "ARG x\n",
    "FROM build/base:1\nFETCH x\n",
    "FROM build/base:1 AS\n",
    "FROM build/base:1 AS 1st\nLABEL a=b\n",
    "FROM build/base:1 AS x\nFROM build/base:1 AS X\n",
    "FROM scratch\n",
    "FROM $NONE\n",
    "# escape=x\nFROM build/base:1\n",
    "# escape=`\n# escape=`\nFROM build/base:1\n",
    "FROM build/base:1\nCOPY one.txt\n",
    "FROM build/base:1\nCOPY --chown one.txt /\n",
    "FROM build/base:1\nCOPY --chmod=755 one.txt /\n",
    "FROM build/base:1\nCOPY --what=1 one.txt /\n",
    "FROM build/base:1\nCOPY --chown=1 --chown=1 one.txt /\n",
    "FROM build/base:1\nCOPY none.txt /\n",
    "FROM build/base:1\nCOPY skip.tmp /\n",
    "FROM build/base:1\nCOPY ../context/one.txt /\n",
    "FROM build/base:1\nCOPY tree/out /\n",
    "FROM build/base:1\nCOPY *.none /\n",
    "FROM build/base:1\nCOPY one.txt tree /x\n",
    "FROM build/base:1\nCOPY one.txt /etc/passwd/\n",
    "FROM build/base:1\nCOPY one.txt /../../x\n",
    "FROM build/base:1\nCOPY --chown=nobody one.txt /\n",
    "FROM build/base:1\nCOPY --chown=1:2:3 one.txt /\n",
    "FROM build/base:1\nCOPY --from=0 /data /\n",
    "FROM build/base:1\nCOPY --from=1 /data /\n",
    "FROM build/base:1 AS a\nFROM build/base:1\nCOPY --from=a /none /\n",
    "FROM build/base:1\nENV A\n",
    "FROM build/base:1\nENV A=1 B\n",
    "FROM build/base:1\nENV =1\n",
    "FROM build/base:1\nENV A='x\n",
    'FROM build/base:1\nENV A="x\n',
    "FROM build/base:1\nENV A=${B\n",
    "FROM build/base:1\nENV A=${:B}\n",
    "FROM build/base:1\nENV A=${B:=x}\n",
    "FROM build/base:1\nENV A=${B:?needed}\n",
    "FROM build/base:1\nLABEL\n",
    "FROM build/base:1\nARG =x\n",
    "FROM build/base:1\nCMD [1]\n",
    "FROM build/base:1\nSHELL sh\n",
    'FROM build/base:1\nVOLUME [""]\n',
    "FROM build/base:1\nEXPOSE web\n",
    "FROM build/base:1\nEXPOSE 80/xyz\n",
    "FROM build/base:1\nEXPOSE 70000\n",
    "FROM build/base:1\nSTOPSIGNAL SIGNONE\n",
    "FROM build/base:1\nHEALTHCHECK\n",
    "FROM build/base:1\nHEALTHCHECK NONE x\n",
    "FROM build/base:1\nHEALTHCHECK RUN x\n",
    "FROM build/base:1\nHEALTHCHECK CMD []\n",
    "FROM build/base:1\nHEALTHCHECK --interval=500us CMD x\n",
    "FROM build/base:1\nHEALTHCHECK --timeout=0s CMD x\n",
    "FROM build/base:1\nHEALTHCHECK --retries=0 CMD x\n",
    "FROM build/base:1\nEXPOSE 80-81:90-92\n",
    "FROM build/base:1\nEXPOSE 1.2.3:80:90\n",
    "FROM build/base:1\nEXPOSE 80:\n",
    "FROM build/base:1\nHEALTHCHECK --interval=x CMD y\n",
    "FROM build/base:1\nONBUILD ONBUILD RUN x\n",
    "FROM build/base:1\nONBUILD FROM x\n",
    "FROM build/base:1\nWORKDIR /etc/passwd\n",
    "FROM build/base:1\nRUN --mount=type=cache true\n",
    "FROM build/base:1\nRUN rm /none\n",
)
"""What both builders refuse."""
PATTERNS = (
    "*.txt",
    "**/*.txt",
    "tree/*",
    "*\n!tree",
    "*\n!tree/two.txt",
    "**\n!one.txt\n!**/program",
    "tree/**",
    "/one.txt",
    "./tree/../one.txt",
    "tr[a-f]e/t?o.txt",
    "[^a-o]*",
    "!one.txt\none.txt",
    "*\n!*/inner\ntree/inner/p*",
    "# one.txt\n\n \n  with blank  ",
    "tree/inner/\n!tree/inner/program",
    "**/inner",
    "**two.txt",
    "t**/p*",
    "wi*\\ *",
    "links/*\n!links/to-tree",
    "Dockerfile\n.dockerignore",
)
"""Rules of ``.dockerignore``."""
GIVEN = ("--build-arg", "GIVEN=given", "--build-arg", "NOT_DECLARED=1")
MORE = {
    "labels": ("--label", "from=outside $HOME", "--label", "also=this"),
    "stages": ("--target", "third"),
}


def base_tar() -> bytes:
    program = busybox()
    assert program is not None
    tar = Tar()
    for folder in ("bin", "data", "etc", "tree", "tree/inner"):
        tar.folder(folder, mode=0o755)
    tar.add("bin/busybox", program.read_bytes(), mode=0o755)
    for name in ("sh", "echo", "mkdir", "rm", "cp", "ln", "touch", "chmod"):
        tar.link(f"bin/{name}", "busybox")
    tar.add("etc/passwd", b"root:x:0:0::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\n")
    tar.add("etc/group", b"root:x:0:\nusers:x:100:\nada:x:1001:\n")
    for path in ("data/old", "tree/gone", "tree/inner/gone"):
        tar.add(path, path.encode() + b"\n")
    tar.link("link", "data/by-link")
    tar.link("data/link", "/etc/motd")
    return tar.bytes()


def tar_over_others() -> bytes:
    """A tar to be unpacked over files of other kinds, and through links."""
    tar = Tar()
    tar.add("tree", b"a file by now\n")
    tar.folder("data/old", mode=0o2711, uid=5)
    tar.folder("./bin/", mode=0o700)
    tar.add("data/old/first", b"first", mode=0o4755)
    tar.add("/data/again", kind=tarfile.LNKTYPE, linkname="data/old/first", mode=0o4755)
    tar.add("deep/er/file", b"deep", xattrs={"security.capability": CAPABILITY.decode("latin-1")})
    tar.link("out", "../../../etc/passwd")
    tar.link("folder", "data/old")
    tar.add("folder/through", b"through a link", mtime=TIME)
    tar.add("pipe", kind=tarfile.FIFOTYPE, mode=0o600)
    tar.add("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)
    tar.folder("late", mtime=TIME)
    tar.add("late/inner", b"inner", mtime=TIME + 0.75)
    return tar.bytes()


def make_context(path: Path) -> None:
    """Files of every kind, their times in the past."""
    for folder in ("tree/inner", "tree/empty", "links", "out/deep", "kept"):
        (path / folder).mkdir(parents=True)
    files = {
        "one.txt": b"one\n",
        "with blank": b"blank\n",
        "tree/two.txt": b"two\n" * 5000,
        "tree/empty.txt": b"",
        "tree/inner/program": b"#!\n",
        "tree/inner/set-id": b"s",
        "tree/inner/caps": b"c",
        "tree/ünï": b"u",
        "out/deep/left": b"out",
        "out/deep/kept.md": b"kept",
        "skip.tmp": b"skip",
    }
    for name, data in files.items():
        (path / name).write_bytes(data)
    os.chmod(path / "tree/inner/program", 0o755)
    os.chmod(path / "tree/inner/set-id", 0o4755)
    os.chmod(path / "tree/inner", 0o2750)
    os.chmod(path / "tree/empty", 0o1777)
    os.setxattr(path / "tree/inner/caps", "security.capability", CAPABILITY)
    os.chown(path / "tree/two.txt", 1234, 1234)
    os.link(path / "tree/two.txt", path / "tree/inner/again")
    os.mkfifo(path / "tree/pipe")
    for name, target in {
        "links/to-file": "../one.txt",
        "links/to-tree": "../tree",
        "links/absolute": "/one.txt",
        "tree/inner/broken": "nowhere",
        "tree/out": "../../../../etc/passwd",
    }.items():
        (path / name).symlink_to(target)
    for name, form in (("plain.tar", "w"), ("packed.tgz", "w:gz")):
        with tarfile.open(path / name, form) as archive:  # type: ignore[call-overload]
            for member, kind, data in (
                ("unpacked", tarfile.DIRTYPE, b""),
                ("unpacked/file", tarfile.REGTYPE, b"f\n"),
                ("unpacked/sym", tarfile.SYMTYPE, b""),
            ):
                facts = tarfile.TarInfo(member)
                facts.type, facts.size, facts.mtime, facts.uid, facts.gid, facts.mode = (
                    kind,
                    len(data),
                    TIME,
                    3,
                    4,
                    0o711,
                )
                facts.linkname = "file" if kind == tarfile.SYMTYPE else ""
                archive.addfile(facts, io.BytesIO(data))
    (path / "over.tar").write_bytes(tar_over_others())
    (path / ".dockerignore").write_text("# left out\n*.tmp\n**/left\nout/**\n!out/deep/*.md\ntree/inner/caps\n/skip*\n")
    for name, text in DOCKERFILES.items():
        (path / f"Dockerfile.{name}").write_text(text)
    for folder, folders, names in os.walk(path, topdown=False):
        for name in (*names, *folders):
            os.utime(Path(folder, name), ns=(TIME * 10**9 + 5, TIME * 10**9 + 999_999_999), follow_symlinks=False)


@dataclass
class Built:
    """The images of one case, the last first: parsed configs, and the layer tars of the last by diff ID."""

    configs: list[dict[str, Any]]
    layers: dict[str, bytes]
    cached: int
    """Steps that a second build found done."""


@dataclass
class World:
    """A context, what docker made of it, and a lab with the same base."""

    context: Path
    docker: dict[str, Built]
    lab: Path
    begun: float
    not_refused: list[str]
    """Files that ought to be refused, and docker built."""
    kept: dict[str, list[str]]
    """Names that rules keep, as docker sees them."""


def chain(root: Path, image: str) -> list[dict[str, Any]]:
    """The config of an image and of all that it was made of."""
    found = []
    records = root / "image/overlay2/imagedb"
    while image:
        name = image.removeprefix("sha256:")
        found.append(json.loads((records / "content/sha256" / name).read_bytes()))
        parent = records / "metadata/sha256" / name / "parent"
        image = parent.read_text() if parent.exists() else ""
    return found


def layers_of(archive: bytes) -> dict[str, bytes]:
    """The layer tars of a docker-save archive by diff ID."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:

        def read(name: str) -> bytes:
            file = saved.extractfile(name)
            assert file is not None
            return file.read()

        (manifest,) = json.loads(read("manifest.json"))
        diff_ids = json.loads(read(manifest["Config"]))["rootfs"].get("diff_ids") or []
        return dict(zip(diff_ids, map(read, manifest["Layers"]), strict=True))


def refused(engine: Engine, context: Path, text: str) -> bool:
    """Whether docker refuses a Dockerfile."""
    (context / "Dockerfile.refused").write_text(text)
    words = ("build", "--network", "none", "-f", str(context / "Dockerfile.refused"), str(context))
    try:
        engine.client(*words, environment={"DOCKER_BUILDKIT": "0"})
    except ApiError:
        return True
    finally:
        (context / "Dockerfile.refused").unlink()
    return False


def patterned(context: Path, path: Path, rules: str) -> Path:
    """A copy of the context with other rules, all of which is copied into an image."""
    if not path.exists():
        shutil.copytree(context, path, symlinks=True, ignore=shutil.ignore_patterns("Dockerfile*", "pipe"))
    (path / "over.tar").write_bytes(tar_over_others())
    (path / ".dockerignore").write_text(rules + "\n")
    (path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return path


def names_of(archive: bytes) -> list[str]:
    """The names of all members of all layers in a docker-save archive."""
    names: list[str] = []
    for tar in layers_of(archive).values():
        with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as layer:
            names += layer.getnames()
    return names


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("build")
    context = folder / "context"
    context.mkdir()
    make_context(context)
    begun = time.time() - 2
    engine = Engine()
    try:
        engine.start()
        engine.import_image(base_tar(), BASE)
        docker = {}
        for name in DOCKERFILES:
            words = ("build", "--network", "none", "-f", str(context / f"Dockerfile.{name}"))
            more = (*GIVEN, *MORE.get(name, ()), str(context))
            image = engine.client(*words, "-q", *more, environment={"DOCKER_BUILDKIT": "0"}).split()[-1]
            layers = layers_of(engine.call("GET", f"/images/{image}/get"))
            again = engine.client(*words, *more, environment={"DOCKER_BUILDKIT": "0"})
            docker[name] = Built(chain(engine.root, image), layers, again.count("Using cache"))
        not_refused = [text for text in REFUSED if not refused(engine, context, text)]
        kept = {}
        for rules in PATTERNS:
            image = engine.client(
                *("build", "-q", str(patterned(context, folder / "patterned", rules))),
                environment={"DOCKER_BUILDKIT": "0"},
            ).strip()
            # An image without layers can't be saved by docker.
            layers = engine.get(f"/images/{image}/json")["RootFS"].get("Layers") or []
            kept[rules] = names_of(engine.call("GET", f"/images/{image}/get")) if layers else []
        (folder / "base.tar").write_bytes(engine.call("GET", f"/images/{BASE.replace('/', '%2F')}/get"))
    finally:
        engine.remove()
    lab = folder / "lab"
    assert run(["lab", "new", "--empty", str(lab)]) == 0
    assert run(["load", str(folder / "base.tar"), "--root", str(lab)]) == 0
    yield World(context, docker, lab, begun, not_refused, kept)
    shutil.rmtree(folder, ignore_errors=True)


def build_here(world: World, name: str, capfd: pytest.CaptureFixture[str], *more: str) -> Built:
    """Build a case in the lab."""
    capfd.readouterr()
    words = ["build", "-f", str(world.context / f"Dockerfile.{name}"), *GIVEN, *MORE.get(name, ()), *more]
    options = ["--engine", "20.10", "--docker-version", world.docker[name].configs[0].get("docker_version", "")]
    code = run([*words, *options, str(world.context), "--root", str(world.lab)])
    told = capfd.readouterr()
    assert code == 0, told.err
    image = told.out.split()[-1]
    archive = world.lab.parent / "ours.tar"
    assert run(["save", image, "-o", str(archive), "--root", str(world.lab)]) == 0
    capfd.readouterr()
    return Built(chain(world.lab, image), layers_of(archive.read_bytes()), told.err.count("Using cache"))


def lines(configs: list[dict[str, Any]]) -> list[str]:
    """Configs to be compared, keys in their order."""
    return json.dumps([plain(config) for config in configs], indent=1).splitlines()


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what differs from one build to the next: times, IDs of containers and images, diff IDs."""
    kept = {key: value for key, value in config.items() if key not in ("created", "rootfs")}
    assert ("container" in kept) == bool(re.fullmatch("[0-9a-f]{64}", kept.get("container", "")))
    if "container" in kept and kept["container_config"].get("Hostname"):
        assert kept["container_config"]["Hostname"] == kept["container"][:12]
    kept["container"] = "container" in kept
    kept["history"] = [{key: value for key, value in row.items() if key != "created"} for row in config["history"]]
    for key in ("config", "container_config"):
        inner = dict(kept[key])
        inner["Image"] = bool(inner["Image"])
        if key == "container_config":
            inner["Hostname"] = bool(inner["Hostname"])
        kept[key] = inner
    kept["layers"] = len(config["rootfs"].get("diff_ids", []))
    return kept


def members(tar: bytes, begun: float) -> list[tuple[object, ...]]:
    """What a layer tar says of each member; a time of the build itself is only told to be one."""
    found: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            when = "now" if member.mtime > begun else member.mtime
            facts = (member.name, member.type, oct(member.mode), member.uid, member.gid, member.uname, member.gname)
            headers = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY")}
            found.append((*facts, when, member.linkname, file.read() if file else b"", headers))
    return found


@pytest.mark.parametrize("name", DOCKERFILES)
def test_build_as_docker_does(name: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    theirs = world.docker[name]
    ours = build_here(world, name, capfd)
    assert lines(ours.configs) == lines(theirs.configs)
    mine = [members(tar, world.begun) for tar in ours.layers.values()]
    assert mine == [members(tar, world.begun) for tar in theirs.layers.values()]
    assert len(mine) == len(theirs.configs[0]["rootfs"].get("diff_ids", []))
    if name in LAYERS_EQUAL:
        assert list(ours.layers) == list(theirs.layers)
    again = build_here(world, name, capfd)
    assert again.cached == theirs.cached
    if again.cached == len(ours.configs) - 1:
        assert again.configs == ours.configs


def test_what_docker_refuses_is_refused(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert world.not_refused == []
    wrongly = []
    for text in REFUSED:
        (world.context / "Dockerfile.refused").write_text(text)
        words = ["build", "-f", str(world.context / "Dockerfile.refused"), str(world.context)]
        if run([*words, "--root", str(world.lab)]) not in (2, 4):
            wrongly.append(text)
    (world.context / "Dockerfile.refused").unlink()
    capfd.readouterr()
    assert wrongly == []


@pytest.mark.parametrize("rules", PATTERNS)
def test_rules_leave_out_what_docker_leaves_out(
    rules: str, world: World, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    context = patterned(world.context, tmp_path / "patterned", rules)
    capfd.readouterr()
    assert run(["build", "-q", str(context), "--root", str(world.lab)]) == 0
    image = capfd.readouterr().out.strip()
    assert run(["save", image, "-o", str(tmp_path / "ours.tar"), "--root", str(world.lab)]) == 0
    assert names_of((tmp_path / "ours.tar").read_bytes()) == world.kept[rules]
