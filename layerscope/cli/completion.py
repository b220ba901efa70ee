"""Completion in bash, zsh and fish: verbs, options, names of the root, paths of a view.

Each shell's script hands over the line up to the cursor and gets lines ``TYPE<tab>VALUE<tab>HELP`` back. TYPE is
``plain`` (a whole word), ``open`` (the word goes on), or ``dir`` or ``file`` (the shell completes folders, or files and
folders, itself).
"""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

_LINE = "COMP_LINE"
_BREAKS = "COMP_WORDBREAKS"
_GOES_ON = ("/", ":", "=")

_BASH = r"""
_layerscope_completion() {
    local type value help
    COMPREPLY=()
    while IFS=$'\t' read -r type value help; do
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            open) compopt -o nospace 2>/dev/null; COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
        _LAYERSCOPE_COMPLETE=bash "$1" 2>/dev/null)
}
complete -o nosort -F _layerscope_completion layerscope
"""

_ZSH = r"""
#compdef layerscope
_layerscope_completion() {
    local -a described plain open
    local type value help
    while IFS=$'\t' read -r type value help; do
        case $type in
            (dir) _path_files -/ ;;
            (file) _path_files ;;
            (open) open+=("$value") ;;
            (plain) if [[ -n $help ]]; then described+=("${value//:/\\:}:$help"); else plain+=("$value"); fi ;;
        esac
    done < <(COMP_LINE="${words[1,CURRENT-1]} $PREFIX" _LAYERSCOPE_COMPLETE=zsh "${words[1]}" 2>/dev/null)
    (( $#described )) && _describe -V unsorted described
    (( $#open )) && compadd -V unsorted -S '' -a open
    (( $#plain )) && compadd -V unsorted -a plain
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _layerscope_completion "$@"
else
    compdef _layerscope_completion layerscope
fi
"""

_FISH = r"""
function _layerscope_completion
    for answer in (COMP_LINE=(commandline -cp | string collect) _LAYERSCOPE_COMPLETE=fish layerscope 2>/dev/null)
        set -l parts (string split -m 2 \t -- $answer)
        if test "$parts[1]" = dir
            __fish_complete_directories (commandline -ct)
        else if test "$parts[1]" = file
            __fish_complete_path (commandline -ct)
        else
            printf '%s\t%s\n' $parts[2] "$parts[3]"
        end
    end
end
complete --no-files --command layerscope --arguments '(_layerscope_completion)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_SPECIAL_IN_BASH = re.compile(r"([^\w@%+=:,./~^\x80-\U0010ffff-])", re.ASCII)


def script(shell: str) -> str:
    """The script that a shell reads to complete ``layerscope``."""
    return _SCRIPTS[shell].lstrip("\n")


class _Line(ShellComplete):
    """Completion of a line that stands in the environment, for every shell."""

    name = "line"
    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The whole words behind the program's name, and the one that is being typed."""
        line = os.environ.get(_LINE, "")
        words = split_arg_string(line)
        if not line or (line[-1].isspace() and line[-2:-1] != "\\"):
            return words[1:], ""
        return words[1:-1], words[-1] if len(words) > 1 else ""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """``TYPE<tab>VALUE<tab>HELP``."""
        goes_on = item.type == "plain" and item.value.endswith(_GOES_ON)
        return f"{'open' if goes_on else item.type}\t{item.value}\t{' '.join((item.help or '').split())}"


class _BashLine(_Line):
    """bash splits words at more than blanks, and wants back what follows the last such place; it quotes nothing."""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """The value's part that bash will put in, with what the shell would interpret escaped."""
        _, incomplete = self.get_completion_args()
        breaks = set(os.environ.get(_BREAKS, "")) & set(":=@")
        start = max((incomplete.rfind(character) for character in breaks), default=-1) + 1
        if item.type == "plain":
            item.value = _SPECIAL_IN_BASH.sub(r"\\\1", item.value[start:])
        return super().format_completion(item)


def complete(cli: click.Command, shell: str) -> int:
    """Print what may stand at the end of the line that the environment holds."""
    kind = _BashLine if shell == "bash" else _Line
    click.echo(kind(cli, {}, "layerscope", "").complete())
    return 0
