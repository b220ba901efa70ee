"""The arrows between the rooms: who may import whom, read from the source and proved in a process."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "layerscope"

_GROUND = {"model", "errors"}
_BYTES = {"formats", "hostfs"} | _GROUND
_JOINED = {"overlay", "stores", "drivers"} | _BYTES
_ANSWERS = {"analysis", "lab", "demo"} | _JOINED
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "formats": _GROUND,
    "hostfs": _GROUND,
    "overlay": _BYTES,
    "stores": _BYTES,
    "drivers": _BYTES,
    "analysis": _JOINED,
    "lab": _JOINED | {"analysis"},
    "demo": _JOINED | {"lab"},
    "services": _ANSWERS,
    # Front ends ask the services, and never which store, driver or directory it is.
    "cli": {"services", "formats"} | _GROUND,
    "tui": {"services", "analysis", "overlay", "formats"} | _GROUND,
}
FRONT_DOORS = {
    # module of one front end -> the one module of another that it may open, when it is called
    "layerscope.cli.verbs.start": "layerscope.tui.run",
}
BELOW_SERVICES = sorted(set(MAY_IMPORT) - {"services", "cli", "tui"})
FORBIDDEN_BELOW = {"textual", "rich", "watchfiles", "click"}


def modules() -> dict[str, Path]:
    """Every module of the package by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The room of a module: the second part of its name; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """Names of all modules that a source file imports anywhere in it, for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            if node.module.count(".") == 0:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", [name for name in modules() if room(name) not in ("", "__main__")])
def test_arrows_point_one_way(module: str) -> None:
    own = room(module)
    assert own in MAY_IMPORT, f"layerscope/{own} is a room that the table of arrows doesn't know"
    for imported in imports(modules()[module]):
        if not imported.startswith("layerscope.") or FRONT_DOORS.get(module) == imported:
            continue
        other = room(imported)
        if other in ("__version__", "open_root"):
            assert own in ("cli", "tui"), f"{module} imports the package's own front"
            continue
        assert other == own or other in MAY_IMPORT[own], f"{module} imports {imported}"


def test_a_driver_knows_no_other_driver() -> None:
    shared = {"layerscope.drivers.base", "layerscope.drivers.folders"}
    for module, path in modules().items():
        own = ".".join(module.split(".")[:3])  # a driver is a module, or a package of its own
        if room(module) != "drivers" or own in ("layerscope.drivers", *shared):
            continue
        others = {n for n in imports(path) if n.startswith("layerscope.drivers.") and not f"{n}.".startswith(f"{own}.")}
        assert others <= shared, f"{module} imports {others - shared}"


def test_a_store_knows_no_other_engine() -> None:
    """But docker and containerd know each other: each may keep its half in the other's root."""
    pair = {"docker", "containerd"}
    shared = {"oci", "records"}
    for module, path in modules().items():
        own = module.split(".")[2] if module.startswith("layerscope.stores.") else ""
        if not own or f"layerscope.stores.{own}.__init__" == module or not (PACKAGE / "stores" / own).is_dir():
            continue
        others = {name.split(".")[2] for name in imports(path) if name.startswith("layerscope.stores.")}
        engines = {name for name in others if (PACKAGE / "stores" / name).is_dir()} - shared - {own}
        assert engines <= (pair if own in pair else set()), f"{module} imports {engines}"


def test_the_nouns_need_the_standard_library_and_their_form_only() -> None:
    library = sys.stdlib_module_names | {"_sha2", "_sha256"}  # of which each Python has one
    for module, path in modules().items():
        if room(module) in ("model", "errors"):
            outside = {name.partition(".")[0] for name in imports(path)} - {"layerscope"} - library
            assert outside <= {"msgspec"}, f"{module} imports {outside}"


def test_values_are_structs() -> None:
    """Defining a dataclass takes fifty times as long, and a hundred are defined before the first answer."""
    for module, path in modules().items():
        assert "dataclasses" not in imports(path), module


def test_a_module_has_no_more_lines_than_one_subject_takes() -> None:
    too_long = {name: lines for name, path in modules().items() if (lines := path.read_text().count("\n")) > 400}
    assert too_long == {}


def test_services_know_no_front_end() -> None:
    for module, path in modules().items():
        if room(module) == "services":
            found = {name.partition(".")[0] for name in imports(path)} & {"textual", "rich", "click"}
            assert not found, f"{module} imports {found}"


def test_nothing_below_services_loads_a_front_ends_library() -> None:
    """Each module is imported anew in one process, which then looks at what is loaded."""
    names = [name for name in modules() if room(name) in BELOW_SERVICES]
    assert len(names) > 40, "too few modules to be all of them"
    script = f"""
import importlib, json, sys
found = {{}}
for name in json.load(sys.stdin):
    for loaded in [n for n in sys.modules if n.partition(".")[0] in {FORBIDDEN_BELOW | {"layerscope"}!r}]:
        del sys.modules[loaded]
    importlib.import_module(name)
    unwanted = sorted({{n.partition(".")[0] for n in sys.modules}} & {FORBIDDEN_BELOW!r})
    if unwanted:
        found[name] = unwanted
json.dump(found, sys.stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(names),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
