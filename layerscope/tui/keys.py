"""Every key of the terminal UI, as data: the one place that bindings, help and palette are made from.

No two actions share a key, so none hides another, whatever has the focus. ``ctrl+m``, ``ctrl+h``, ``ctrl+j`` and
``ctrl+i`` are never used: terminals send Enter, Backspace, Enter and Tab for them.

Users change keys in ``keys.toml`` of the settings folder, by id; a key that is given takes the default's place:

    [list]
    up = "alt+k, up"              one text with commas,
    down = ["alt+j", "down"]      or a list; a comma itself is called comma
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from layerscope.errors import UsageError
from layerscope.model.problem import Problem, Severity
from layerscope.tui.config import config_folder, read_toml
from layerscope.tui.text import escape

if TYPE_CHECKING:
    from textual.binding import Binding

FORBIDDEN = frozenset({"ctrl+m", "ctrl+h", "ctrl+j", "ctrl+i"})
_MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
_MAX_KEYS = 8


class Key(Struct, frozen=True):
    """One action and the keys that start it.

    ``where`` is the widget or screen that handles ``action``: app, screen (every mode), list, tree, view (modes with
    a layer stack), file (what shows one thing on all of the screen), lab. ``description`` says what it does; ``label``
    is its short name in the footer ("" = not there).
    """

    id: str
    keys: tuple[str, ...]
    action: str
    description: str
    group: str
    where: str
    label: str = ""


def _keys(group: str, where: str, *rows: tuple[str, str, str, str] | tuple[str, str, str, str, str]) -> tuple[Key, ...]:
    return tuple(Key(row[0], tuple(row[1].split()), row[2], row[3], group, where, *row[4:]) for row in rows)


KEYS: tuple[Key, ...] = (
    *_keys(
        "Move",
        "list",
        ("list.up", "up k", "move_rows(-1)", "Move up a row"),
        ("list.down", "down j", "move_rows(1)", "Move down a row"),
        ("list.first", "home g", "move_to_end(-1)", "Go to the first row"),
        ("list.last", "end G", "move_to_end(1)", "Go to the last row"),
        ("list.page-up", "pageup", "move_pages(-1)", "Move up a page"),
        ("list.page-down", "pagedown", "move_pages(1)", "Move down a page"),
        ("list.half-page-up", "ctrl+u", "move_half_pages(-1)", "Move up half a page"),
        ("list.half-page-down", "ctrl+d", "move_half_pages(1)", "Move down half a page"),
        ("list.choose", "enter", "choose", "Open, or show details"),
    ),
    *_keys(
        "Move",
        "tree",
        ("tree.fold", "left h", "fold", "Fold, or go to the parent; move a text sideways"),
        ("tree.unfold", "right l", "unfold", "Unfold, or go to the first child; move a text sideways"),
        ("tree.toggle", "space", "toggle_fold", "Fold or unfold; tick what could go"),
        ("tree.toggle-all", "Z ctrl+@ ctrl+space", "toggle_all_folds", "Fold or unfold all that is loaded"),
    ),
    *_keys(
        "Panes",
        "screen",
        ("pane.next", "tab", "next_pane", "Go to the next pane"),
        ("pane.previous", "shift+tab", "previous_pane", "Go to the previous pane"),
        ("pane.1", "1", "focus_pane(1)", "Go to pane 1"),
        ("pane.2", "2", "focus_pane(2)", "Go to pane 2"),
        ("pane.3", "3", "focus_pane(3)", "Go to pane 3"),
        ("pane.4", "4", "focus_pane(4)", "Go to pane 4"),
        ("pane.enlarge", "plus", "enlarge", "Enlarge the pane"),
        ("pane.shrink", "underscore", "shrink", "Shrink the pane"),
        ("tab.previous", "left_curly_bracket", "previous_tab", "Show the previous tab"),
        ("tab.next", "right_curly_bracket", "next_tab", "Show the next tab"),
    ),
    *_keys(
        "Find",
        "screen",
        ("find.filter", "slash ctrl+f", "filter", "Show only what matches", "Filter"),
        ("find.next", "n", "next_hit", "Go to the next hit"),
        ("find.previous", "N", "previous_hit", "Go to the previous hit"),
        ("find.sort", "s", "sort", "Use the next sort order", "Sort"),
        ("find.reverse", "S", "reverse_sort", "Reverse the sort order"),
    ),
    *_keys(
        "Layers",
        "view",
        ("view.toggle", "m", "toggle_view", "Switch between merged view and this layer only", "Merged/Layer"),
        ("view.merged", "ctrl+a", "show_merged", "Show the merged view"),
        ("view.layer", "ctrl+l", "show_layer", "Show this layer only"),
        ("cut.lower", "left_square_bracket", "cut_lower", "Cut the stack one level lower"),
        ("cut.higher", "right_square_bracket", "cut_higher", "Cut the stack one level higher"),
        ("show.added", "A", "show('added')", "Show or hide what was added"),
        ("show.modified", "M", "show('modified')", "Show or hide what was modified"),
        ("show.deleted", "D", "show('deleted')", "Show or hide what was deleted"),
        ("show.unmodified", "U", "show('unmodified')", "Show or hide what is unmodified"),
    ),
    *_keys(
        "Look closer",
        "view",
        ("path.diff", "d", "diff", "Compare two copies of this path (never deletes)", "Diff"),
        ("path.inspect", "i", "inspect", "Show the records as JSON"),
        ("path.blocks", "b", "blocks", "Show the block map of the layer (devicemapper)"),
        ("path.copy", "y", "copy_path", "Copy the path, or the commands for what is ticked"),
    ),
    *_keys(
        "Look closer",
        "file",
        ("file.form", "t", "toggle_form", "Show it in another form: text or hex, docker's list or the exact one"),
        ("file.goto", "colon", "go_to_place", "Go to a line, an offset, or a share of a file"),
    ),
    *_keys(
        "Write (labs only)",
        "view",
        ("layer.write", "w", "open_writable", "Make a container of an image, or go to its top layer"),
        ("layer.commit", "c", "commit", "Commit the writable layer (asks)", "Commit"),
    ),
    *_keys(
        "Write (labs only)",
        "lab",
        ("lab.new", "a", "new", "Make a new file or directory"),
        ("lab.edit", "e", "edit", "Edit"),
        ("lab.delete", "x", "delete", "Delete (asks)"),
        ("lab.rename", "R", "rename", "Rename"),
        ("lab.chmod", "o", "chmod", "Change the mode or owner"),
        ("lab.copy-in", "p", "copy_in", "Copy a file in from this machine"),
    ),
    *_keys(
        "Layerscope",
        "screen",
        ("screen.back", "escape", "back", "Clear the filter, go back, or cancel the work"),
        ("screen.reload", "r", "reload", "Read again"),
        ("screen.problems", "P", "problems", "List what is damaged, missing or can't be seen here"),
    ),
    *_keys(
        "Layerscope",
        "app",
        ("mode.explore", "f2", "mode('explore')", "Explore images, containers and their layers"),
        ("mode.disk", "f3", "mode('disk')", "See where every byte is, and what would come back"),
        ("app.help", "question_mark", "help", "List all keys", "Help"),
        ("app.palette", "ctrl+p", "command_palette", "Find any action by name", "Palette"),
        ("app.quit", "q", "quit", "Quit", "Quit"),
    ),
)
"""All keys, in the order in which help lists them."""


def bindings(*where: str) -> list[Binding]:
    """Textual's bindings for the given places, with ids, so that users can remap them."""
    return [_binding(key) for key in KEYS if key.where in where]


def _binding(key: Key) -> Binding:
    from textual.binding import Binding

    return Binding(
        ",".join(key.keys),
        key.action,
        key.label or key.description,
        show=bool(key.label),
        # The palette must open whatever has the focus, as Textual's own binding does.
        priority=key.id == "app.palette",
        tooltip=key.description,
        id=key.id,
    )


def picked(*choices: tuple[str, str] | tuple[str, str, str]) -> list[Binding]:
    """Bindings of single keys, for what doesn't take all keys of a place.

    Each choice is an id, its name in the footer there ("" = not there), and what to do instead of the usual action.
    """
    known = {key.id: key for key in KEYS}
    made = []
    for choice in choices:
        key = known[choice[0]]
        action = choice[2] if len(choice) == 3 else key.action
        made.append(_binding(replace(key, label=choice[1], action=action)))
    return made


def load_keymap(path: Path | None = None) -> tuple[dict[str, str], list[Problem]]:
    """The user's changes as ``App.set_keymap`` takes them, from ``path`` (default: the settings folder's keys.toml).

    A line that can't be used costs only itself and is told as a problem (its path is a host path); a file that isn't
    there is no problem.
    """
    path = config_folder() / "keys.toml" if path is None else path
    problems: list[Problem] = []

    def refuse(what: str, effect: str) -> None:
        problems.append(Problem(str(path), what, effect, "press ? for all keys and ids", Severity.WARNING))

    try:
        table = read_toml(path)
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return {}, problems
        refuse(str(error), "all keys keep their defaults")
        return {}, problems
    changes: dict[str, tuple[str, ...]] = {}
    known = {key.id for key in KEYS}
    for name, value in _flat(table):
        try:
            if name not in known:
                raise UsageError("there is no action of that id")
            changes[name] = _parse_keys(value)
        except UsageError as error:
            refuse(f"{escape(name)[:60]}: {error}", "this line is left out")
    for name, what in _drop_clashes(changes):
        refuse(f"{name}: {what}", "this action keeps its default keys")
    return {name: ",".join(keys) for name, keys in changes.items()}, problems


def _flat(table: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """``id, value`` for both ``[list] up = …`` and ``"list.up" = …``."""
    for group, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{group}.{name}", inner) for name, inner in value.items())
        else:
            yield group, value


def _parse_keys(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise UsageError('expected a key such as "ctrl+u" or a list of keys')
    if not 0 < len(parts) <= _MAX_KEYS:
        raise UsageError(f"has {len(parts)} keys, expected 1 to {_MAX_KEYS}")
    return tuple(dict.fromkeys(_parse_key(part.strip() or part[:1]) for part in parts))


def _parse_key(text: str) -> str:
    """One key by Textual's name for it (``?`` is ``question_mark``)."""
    from textual.keys import Keys

    shown = escape(text)[:40]
    name = _name(text) if len(text) == 1 and text.isprintable() else text
    *modifiers, base = name.split("+")
    known = (
        len(text) == 1
        or (len(base) == 1 and base.isalnum())
        or base in {key.value for key in Keys}
        or base in {_name(character) for character in string.punctuation + " "}
    )
    if not text.isprintable() or not known or not _MODIFIERS.issuperset(modifiers):
        raise UsageError(f"{shown!r} is not a key")
    if name in FORBIDDEN:
        raise UsageError(f"{shown!r} can't be told from Enter, Backspace or Tab in a terminal")
    return name


def _name(character: str) -> str:
    """Textual's name of the key that types ``character``."""
    from textual.binding import Binding

    if character in ", ":  # these two separate keys in a binding
        return "comma" if character == "," else "space"
    return next(iter(Binding.make_bindings([Binding(character, "none")]))).key


def _drop_clashes(changes: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """Take out of ``changes`` what would give one key two actions; returns what was dropped and why."""
    dropped: list[tuple[str, str]] = []
    while True:
        owner: dict[str, str] = {}
        clash: tuple[str, str] | None = None
        # Defaults first: where a change meets a default, it is the change that goes.
        for key in sorted(KEYS, key=lambda key: key.id in changes):
            for name in changes.get(key.id, key.keys):
                other = owner.setdefault(name, key.id)
                if other != key.id:
                    clash = (key.id if key.id in changes else other, f"{name} already means {other}")
        if clash is None:
            return dropped
        del changes[clash[0]]
        dropped.append(clash)
