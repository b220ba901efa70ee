"""The key table is free of clashes, and the user's changes to it can't break it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from textual.app import ComposeResult

from layerscope.tui.keys import FORBIDDEN, KEYS, bindings, load_keymap
from layerscope.tui.look import LookApp
from layerscope.tui.widgets.rows.line_view import LineView

PLACES = {key.where for key in KEYS}


def test_no_key_has_two_actions():
    counts = Counter(name for key in KEYS for name in key.keys)
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_key_that_terminals_send_for_another():
    assert {"ctrl+m", "ctrl+h", "ctrl+j", "ctrl+i"} == FORBIDDEN
    assert not FORBIDDEN & {name for key in KEYS for name in key.keys}


def test_ids_are_unique_and_actions_described():
    assert len({key.id for key in KEYS}) == len(KEYS)
    for key in KEYS:
        assert key.keys
        assert key.action
        assert len(key.description) > 3, key.id
        assert key.description[0].isupper()
    assert {"app", "screen", "list", "tree", "view", "file", "lab"} == PLACES


def test_footer_has_six_to_eight():
    assert 6 <= sum(bool(key.label) for key in KEYS) <= 8


def test_bindings_carry_ids_and_all_keys():
    made = [binding for place in sorted(PLACES) for binding in bindings(place)]
    assert sorted(binding.id or "" for binding in made) == sorted(key.id for key in KEYS)
    (quit_binding,) = [binding for binding in made if binding.id == "app.quit"]
    assert (quit_binding.key, quit_binding.action, quit_binding.show) == ("q", "quit", True)
    (up,) = [binding for binding in bindings("list") if binding.id == "list.up"]
    assert (up.key, up.show) == ("up,k", False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return path


def test_no_file_is_no_problem(tmp_path: Path):
    assert load_keymap(tmp_path / "keys.toml") == ({}, [])
    assert load_keymap(tmp_path / "nothing" / "keys.toml") == ({}, [])


def test_keymap_forms(tmp_path: Path):
    text = """
    "app.help" = "?, f1"
    [list]
    up = "alt+k, up"
    down = ["ctrl+n", "down", ","]
    [find]
    filter = "/"
    """
    keymap, problems = load_keymap(written(tmp_path, text))
    assert problems == []
    assert keymap == {
        "app.help": "question_mark,f1",
        "list.up": "alt+k,up",
        "list.down": "ctrl+n,down,comma",
        "find.filter": "slash",
    }


def test_keymap_swaps_two_keys(tmp_path: Path):
    keymap, problems = load_keymap(written(tmp_path, '[find]\nsort = "S"\nreverse = "s"'))
    assert problems == []
    assert keymap == {"find.sort": "S", "find.reverse": "s"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[list]\nup = 3", "list.up: expected a key such as"),
        ("[list]\nup = []", "list.up: has 0 keys, expected 1 to 8"),
        ("[list]\nup = [1]", "list.up: expected a key such as"),
        ('[list]\nup = ""', "list.up: '' is not a key"),
        ('[list]\nup = "banana"', "list.up: 'banana' is not a key"),
        ('[list]\nup = "hyperctrl+a"', "list.up: 'hyperctrl+a' is not a key"),
        ('[list]\nup = "ctrl+j"', "list.up: 'ctrl+j' can't be told from Enter, Backspace or Tab in a terminal"),
        ('[list]\nupp = "w"', "list.upp: there is no action of that id"),
        ('"list\\u001b" = "w"', "list\\x1b: there is no action of that id"),
        ('[list]\nup = "q"', "list.up: q already means app.quit"),
        ('[list]\nup = "a b"', "list.up: 'a b' is not a key"),
        ("[list", "not a TOML file"),
    ],
)
def test_keymap_line_that_cannot_be_used_costs_only_itself(text: str, expected: str, tmp_path: Path):
    keymap, problems = load_keymap(written(tmp_path, '"app.help" = "f1"\n' + text))
    assert keymap == ({} if text == "[list" else {"app.help": "f1"})
    (problem,) = problems
    assert expected in problem.what
    assert problem.what.isprintable()


def test_clash_between_two_changes_keeps_one(tmp_path: Path):
    keymap, problems = load_keymap(written(tmp_path, '[list]\nup = "f9"\ndown = "f9"'))
    assert keymap == {"list.up": "f9"}
    assert [problem.what for problem in problems] == ["list.down: f9 already means list.up"]


def test_a_dropped_change_takes_its_default_back_from_others(tmp_path: Path):
    # find.sort would leave s to find.reverse, but q is taken, so s stays with find.sort and find.reverse keeps S.
    keymap, problems = load_keymap(written(tmp_path, '[find]\nsort = "q"\nreverse = "s"'))
    assert keymap == {}
    assert len(problems) == 2


class Lines(LineView[str]):
    def draw_row(self, index, row, width):
        return []


class KeysApp(LookApp[None]):
    BINDINGS: ClassVar = [*bindings("app")]

    def compose(self) -> ComposeResult:
        yield Lines(list("abcdef"))


async def test_remapped_keys_work_and_the_old_ones_do_not(tmp_path: Path):
    written(tmp_path, '[list]\nup = "w"\ndown = ["f8", "f7"]\nfirst = "B, z"')
    # w opens a writable layer elsewhere, so it is refused here; the others hold.
    app = KeysApp(settings=tmp_path)
    assert [problem.what for problem in app.start_problems] == ["list.up: w already means layer.write"]
    async with app.run_test() as pilot:
        view = app.query_one(Lines)
        await pilot.press("f8", "f7", "f8")
        assert view.cursor == 3
        await pilot.press("down", "j")
        assert view.cursor == 3
        await pilot.press("k")
        assert view.cursor == 2
        await pilot.press("z")
        assert view.cursor == 0
        await pilot.press("f8", "B")
        assert view.cursor == 0


async def test_ascii_app_names_keys_in_ascii():
    app = KeysApp(ascii_only=True, settings=Path("/nonexistent"))
    async with app.run_test():
        shown = [app.get_key_display(active.binding) for active in app.screen.active_bindings.values()]
        assert {"up", "down", "enter", "?", "^p"} <= set(shown)
        assert all(name.isascii() for name in shown)
