"""The flat list of a foldable tree stays the one that drawing the tree from scratch would give."""

from __future__ import annotations

import random
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.tui.widgets.rows.tree_rows import Item, Splice, TreeRows

TREE: dict[str, list[Item[int]]] = {
    "": [Item("bin", False, 1), Item("etc", True, 2), Item("usr", True, 3)],
    "etc": [Item("hosts", False, 4), Item("nginx", True, 5), Item("passwd", False, 6)],
    "etc/nginx": [Item("conf.d", True, 7), Item("nginx.conf", False, 8)],
    "etc/nginx/conf.d": [],
    "usr": [Item("lib", True, 9)],
}


def names(tree: TreeRows[int]) -> list[str]:
    return ["  " * row.depth + row.name for row in tree.rows]


def test_starts_folded():
    tree = TreeRows(TREE.get)
    assert names(tree) == ["bin", "etc", "usr"]
    assert [row.value for row in tree.rows] == [1, 2, 3]
    assert not tree.waiting


def test_open_and_close_are_splices():
    tree = TreeRows(TREE.get)
    rows = tree.rows
    assert tree.open(1) == Splice(2, 0, 3)
    assert tree.open(3) == Splice(4, 0, 2)
    assert names(tree) == ["bin", "etc", "  hosts", "  nginx", "    conf.d", "    nginx.conf", "  passwd", "usr"]
    assert tree.close(1) == Splice(2, 5, 0)
    assert names(tree) == ["bin", "etc", "usr"]
    assert tree.rows is rows


def test_folds_below_a_folded_parent_are_remembered():
    tree = TreeRows(TREE.get)
    tree.open(1)
    tree.open(3)
    tree.close(1)
    assert tree.open(1) == Splice(2, 0, 5)
    assert tree.rows[3].open
    tree.rebuild()
    assert len(tree.rows) == 8
    other = TreeRows(TREE.get, tree.opened)
    assert names(other) == names(tree)


def test_what_cannot_fold_does_not():
    tree = TreeRows(TREE.get)
    assert tree.open(0) is None
    assert tree.close(1) is None
    tree.open(1)
    assert tree.open(1) is None
    assert tree.toggle(1) == Splice(2, 3, 0)
    assert tree.toggle(1) == Splice(2, 0, 3)


def test_unknown_children_are_awaited_and_arrive():
    known = dict(TREE)
    tree = TreeRows(known.get)
    tree.open(2)
    assert tree.open(3) == Splice(4, 0, 0)
    assert tree.waiting == {"usr/lib"}
    assert tree.rows[3].open
    known["usr/lib"] = [Item("libc.so", False, 10)]
    assert tree.arrived("usr/lib") == Splice(4, 0, 1)
    assert tree.waiting == set()
    assert names(tree) == ["bin", "etc", "usr", "  lib", "    libc.so"]
    known["usr/lib"] = [Item("a", False, 1), Item("b", False, 2)]
    assert tree.arrived("usr/lib") == Splice(4, 1, 2)


def test_children_that_arrive_for_a_folded_directory_change_nothing():
    known = dict(TREE)
    tree = TreeRows(known.get)
    tree.open(2)
    tree.open(3)
    tree.close(2)
    assert tree.waiting == set()
    assert tree.arrived("usr/lib") is None
    assert tree.arrived("no/such") is None
    assert names(tree) == ["bin", "etc", "usr"]


def test_prepared_rows_for_what_was_folded_meanwhile_are_dropped():
    tree = TreeRows(TREE.get)
    tree.open(1, fill=False)
    prepared = tree.prepare("etc", tree.rows[1], frozenset(tree.opened))
    tree.close(1)
    assert tree.adopt(prepared) is None
    assert names(tree) == ["bin", "etc", "usr"]


def test_prepared_rows_of_a_row_that_was_made_anew_are_dropped():
    tree = TreeRows(TREE.get)
    tree.open(1, fill=False)
    prepared = tree.prepare("etc", tree.rows[1], frozenset(tree.opened))
    tree.rebuild()
    assert tree.adopt(prepared) is None
    assert names(tree) == ["bin", "etc", "  hosts", "  nginx", "  passwd", "usr"]
    assert all(row.parent in (None, tree.rows[1]) for row in tree.rows)


def test_lasts_follow_the_ancestors():
    tree = TreeRows(TREE.get, {"etc", "etc/nginx", "usr"})
    lasts = {row.path: row.lasts() for row in tree.rows}
    assert lasts == {
        "bin": [],
        "etc": [],
        "etc/hosts": [False],
        "etc/nginx": [False],
        "etc/nginx/conf.d": [False, False],
        "etc/nginx/nginx.conf": [False, True],
        "etc/passwd": [True],
        "usr": [],
        "usr/lib": [True],
    }
    assert tree.rows[5].lasts(1) == [True]


def test_index_of_and_parent():
    tree = TreeRows(TREE.get, {"etc", "etc/nginx", "usr"})
    for index, row in enumerate(tree.rows):
        assert tree.index_of(row.path) == index
        parent = tree.parent_index(index)
        assert (None if parent is None else tree.rows[parent]) is row.parent
    assert tree.index_of("etc/nginx/none") is None
    assert tree.index_of("etc/hosts/x") is None
    assert tree.index_of("") is None


def test_close_all_and_open_all():
    tree = TreeRows(TREE.get)
    assert tree.open_all(1000)
    # usr/lib is not known, so it stays folded.
    assert tree.opened == {"etc", "etc/nginx", "etc/nginx/conf.d", "usr"}
    assert len(tree.rows) == 9
    tree.close_all()
    assert names(tree) == ["bin", "etc", "usr"]
    assert not tree.open_all(5)
    assert names(tree) == ["bin", "etc", "usr", "  lib"]


def test_depth_has_no_limit():
    depth = 5000
    chain = {"/".join(["d"] * n): [Item("d", True, n)] for n in range(depth)}
    opened = set(chain) - {""}
    tree = TreeRows(chain.get, opened)
    assert len(tree.rows) == depth
    assert tree.rows[-1].depth == depth - 1
    assert tree.rows[0].span == depth - 1
    assert tree.rows[-1].lasts(3) == [True, True, True]
    assert len(tree.rows[-1].lasts()) == depth - 1
    assert tree.index_of("/".join(["d"] * depth)) == depth - 1
    tree.close(0)
    assert len(tree.rows) == 1


def test_open_all_stops_at_paths_that_linux_could_not_take():
    chain = {"/".join(["d" * 200] * n): [Item("d" * 200, True, n)] for n in range(60)}
    tree = TreeRows(chain.get)
    assert tree.open_all(1000)
    assert max(len(path) for path in tree.opened) <= 4096


def naive(tree: dict[str, list[Item[int]]], opened: set[str], path: str = "", depth: int = 0) -> list[tuple]:
    found = []
    items = tree.get(path) or []
    for number, item in enumerate(items):
        below = f"{path}/{item.name}" if path else item.name
        found.append((below, depth, number == len(items) - 1, item.foldable and below in opened))
        if item.foldable and below in opened:
            found += naive(tree, opened, below, depth + 1)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_sequence_of_folds_equals_drawing_from_scratch(seed: int):
    choice = random.Random(seed)
    known: dict[str, list[Item[int]]] = {}
    held: dict[str, list[Item[int]]] = {}
    level = [""]
    for _ in range(3):
        deeper = []
        for path in level:
            items = [Item(f"n{n}", choice.random() < 0.6, n) for n in range(choice.randrange(5))]
            (known if not path or choice.random() < 0.7 else held)[path] = items
            deeper += [f"{path}/{item.name}" if path else item.name for item in items if item.foldable]
        level = deeper
    tree = TreeRows(known.get)
    for _ in range(40):
        action = choice.randrange(5)
        if action < 3 and tree.rows:
            before, index = len(tree.rows), choice.randrange(len(tree.rows))
            splice = tree.toggle(index)
            if splice is not None:
                assert splice.index == index + 1
                assert len(tree.rows) == before + splice.added - splice.removed
        elif action == 3 and held:
            path = choice.choice(sorted(held))
            known[path] = held.pop(path)
            tree.arrived(path)
        elif action == 4 and choice.random() < 0.2:
            tree.rebuild()
        assert [(row.path, row.depth, row.last, row.open) for row in tree.rows] == naive(known, tree.opened)
        for index, row in enumerate(tree.rows):
            inside = [other for other in tree.rows[index + 1 :] if other.path.startswith(row.path + "/")]
            assert row.span == len(inside)
        assert tree.waiting == {row.path for row in tree.rows if row.open and row.path not in known}


def test_the_model_knows_nothing_of_screens():
    code = (
        "import sys, importlib.util as u;"
        "s = u.spec_from_file_location('tree_rows', sys.argv[1]); m = u.module_from_spec(s);"
        "sys.modules['tree_rows'] = m; s.loader.exec_module(m);"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('textual', 'rich', 'layerscope')))"
    )
    path = sys.modules[TreeRows.__module__].__file__
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_carry_no_dictionary():
    assert not hasattr(TreeRows(TREE.get).rows[0], "__dict__")
