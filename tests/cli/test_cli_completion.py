"""Completion as the shells themselves do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def shell_environment(tmp_path: Path, overlay2_root: Path) -> dict[str, str]:
    """A PATH on which ``layerscope`` is, and the sample as the root to read."""
    command = tmp_path / "bin" / "layerscope"
    command.parent.mkdir()
    source = Path(__file__).parents[2]
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" -m layerscope "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "LAYERSCOPE_ROOT": str(overlay2_root),
    }


def ask_bash(line: str, environment: dict[str, str]) -> list[str]:
    script = r"""
source <(layerscope completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"'"'"'@><=;|&(:'
_layerscope_completion layerscope
printf '%s\n' "${COMPREPLY[@]}"
"""
    return _lines(["bash", "--norc", "-c", script, "bash", line], environment)


def ask_zsh(line: str, environment: dict[str, str]) -> list[str]:
    script = r"""
compdef() { :; }
_describe() { print -rl -- ${(P)${@[-1]}%%:*}; }
compadd() { print -rl -- ${(P)${@[-1]}}; }
_path_files() { print -r -- "(${1:-files})"; }
source <(layerscope completion zsh)
words=("${(@s: :)1}") CURRENT=$#words PREFIX=$words[-1]
_layerscope_completion
"""
    return _lines(["zsh", "-f", "-c", script, "zsh", line], environment)


def ask_fish(line: str, environment: dict[str, str]) -> list[str]:
    script = "layerscope completion fish | source; complete -C $argv[1]"
    found = _lines(["fish", "--no-config", "-c", script, line], environment)
    return [answer.partition("\t")[0] for answer in found]


def _lines(command: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


SHELLS = [
    pytest.param(
        ask,
        id=name,
        marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"),
    )
    for name, ask in (("bash", ask_bash), ("zsh", ask_zsh), ("fish", ask_fish))
]


@pytest.mark.parametrize("ask", SHELLS)
def test_verbs(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    assert ask("layerscope di", shell_environment) == ["diff", "diff-scan"]
    assert {"info", "images", "import", "inspect"} == set(ask("layerscope i", shell_environment))


@pytest.mark.parametrize("ask", SHELLS)
def test_options(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    assert ask("layerscope diff --corr", shell_environment) == ["--corrected"]
    assert "--root" in ask("layerscope --", shell_environment)


@pytest.mark.parametrize("ask", SHELLS)
def test_names_of_the_root(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    assert ask("layerscope diff ed", shell_environment) == ["editor"]
    assert ask("layerscope history layerscope/ap", shell_environment) == ["layerscope/app:1.0"]
    assert ask("layerscope history ed", shell_environment) == []
    assert ask("layerscope cat wri", shell_environment) == ["writer:/"]


@pytest.mark.parametrize("ask", SHELLS)
def test_drivers(ask: object, shell_environment: dict[str, str]) -> None:
    """Those of the root; without one all that there are."""
    assert callable(ask)
    assert ask("layerscope info --driver o", shell_environment) == ["overlay2"]
    without = {**shell_environment, "LAYERSCOPE_ROOT": "/nowhere"}
    assert set(ask("layerscope info --driver o", without)) == {"overlay", "overlay2", "overlayfs"}


@pytest.mark.parametrize("ask", [shell for shell in SHELLS if shell.id != "bash"])
def test_layers_and_their_directories(ask: object, shell_environment: dict[str, str], tmp_path: Path) -> None:
    assert callable(ask)
    (tmp_path / "mounted" / "one").mkdir(parents=True)
    (tmp_path / "mounted" / "file").touch()
    offered = ask("layerscope info --layer-dir ", shell_environment)
    layers = {path.name for path in Path(shell_environment["LAYERSCOPE_ROOT"], "overlay2").iterdir()}
    assert offered and {one.removesuffix("=") for one in offered} <= layers - {"l"}
    words = f"layerscope info --layer-dir abc={tmp_path}/mounted/"
    assert ask(words, shell_environment) == [f"abc={tmp_path}/mounted/one/"]


BASH_FILES = r"""
source <(layerscope completion bash)
compopt() { printf '%s\n' "$2"; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"'"'"'@><=;|&(:'
_layerscope_completion layerscope
"""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("info --root /t", "default"),
        ("info --zfs-list /t", "default"),
        ("info --thin-data /t", "default"),
        ("info --containerd-root /t", "dirnames"),
        ("/t", "default"),
    ],
)
def test_bash_completes_files_or_folders_itself(words: str, wanted: str, shell_environment: dict[str, str]) -> None:
    """An archive is a root, too."""
    command = ["bash", "--norc", "-c", BASH_FILES, "bash", f"layerscope {words}"]
    assert _lines(command, shell_environment) == [wanted]


def test_zsh_and_fish_complete_files_themselves(shell_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/images.tar").touch()
    told = 0
    if shutil.which("zsh"):
        assert ask_zsh(f"layerscope info --root {tmp_path}/some/im", shell_environment) == ["(files)"]
        told += 1
    if shutil.which("fish"):
        found = ask_fish(f"layerscope info --root {tmp_path}/some/im", shell_environment)
        assert found == [f"{tmp_path}/some/images.tar"]
        told += 1
    if not told:
        pytest.skip("neither zsh nor fish is installed")


@pytest.mark.parametrize("ask", [shell for shell in SHELLS if shell.id != "bash"])
def test_names_and_paths_with_a_colon(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    assert ask("layerscope history layerscope/app:", shell_environment) == ["layerscope/app:1.0"]
    assert ask("layerscope cat editor:/etc/mo", shell_environment) == ["editor:/etc/motd"]
    assert "editor:/etc/" in ask("layerscope ls editor:/", shell_environment)


def test_bash_gets_what_follows_the_colon(shell_environment: dict[str, str]) -> None:
    """bash ends a word at a colon and replaces only what stands behind it."""
    assert ask_bash("layerscope history layerscope/app:", shell_environment) == ["1.0"]
    assert ask_bash("layerscope cat editor:/etc/mo", shell_environment) == ["/etc/motd"]
    assert ask_bash("layerscope cat editor:/data/ü", shell_environment) == ["/data/ünï\\ ✓.txt"]


@pytest.mark.parametrize("ask", SHELLS)
def test_without_a_root_that_can_be_read(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    without = {**shell_environment, "LAYERSCOPE_ROOT": "/nowhere"}
    assert ask("layerscope di", without) == ["diff", "diff-scan"]
    assert ask("layerscope diff ed", without) == []
    assert ask("layerscope diff --corr", without) == ["--corrected"]


@pytest.mark.parametrize("ask", SHELLS)
def test_the_root_on_the_line_counts(ask: object, shell_environment: dict[str, str]) -> None:
    assert callable(ask)
    root = shell_environment["LAYERSCOPE_ROOT"]
    without = {**shell_environment, "LAYERSCOPE_ROOT": "/nowhere"}
    assert ask(f"layerscope diff --root {root} ed", without) == ["editor"]
    assert ask(f"layerscope --root {root} diff ed", without) == ["editor"]
