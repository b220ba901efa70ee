"""The options that every verb has: which root, how to read it, how to answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from layerscope.cli import completers
from layerscope.errors import UsageError

if TYPE_CHECKING:
    from layerscope.services.session import Session

_ROOT_VARIABLE = "LAYERSCOPE_ROOT"
_HANDED = {
    "thin_metadata": "devicemapper: the pool's metadata device, a copy of it, or what thin_dump prints.",
    "thin_data": "devicemapper: the pool's data device, or a copy of it.",
    "zfs_list": "zfs: what zfs list -Hp printed of the root's datasets (README).",
}


class Options(NamedTuple):
    """What the command line says about the root and the answer. ``root`` None: the first usual place that can be read.

    ``handed`` are the paths of what drivers keep outside of the root, by name; ``layer_dirs`` those of layers, by ID.
    No Struct: help, version and the completion of verbs need none, and msgspec would be a sixth of their time.
    """

    root: str | None = None
    driver: str | None = None
    xattr_prefix: str | None = None
    containerd_root: str | None = None
    namespace: str | None = None
    ascii: bool = False
    json: bool = False
    no_cache: bool = False
    handed: tuple[tuple[str, str], ...] = ()
    layer_dirs: tuple[tuple[str, str], ...] = ()

    def session(self) -> Session:
        """The root, opened for reading.

        Raises:
            RootError: it is missing, not a root, or can't be read.
            UsageError: it has no such driver.
        """
        from layerscope.services.opening.root import open_root

        return open_root(
            self.root,
            driver=self.driver,
            xattr_prefix=self.xattr_prefix,
            containerd_root=self.containerd_root,
            namespace=self.namespace,
            layer_dirs=dict(self.layer_dirs),
            **dict(self.handed),
        )


def _layer_directory(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise UsageError(f"--layer-dir {text!r}: expected ID=DIR, a layer's ID and the directory of its files")
    return name, path


_ROOT_OPTIONS = (
    click.option(
        "--root", metavar="PATH", envvar=_ROOT_VARIABLE, shell_complete=completers.files, help="The data root to read."
    ),
    click.option(
        "--driver",
        metavar="NAME",
        shell_complete=completers.drivers,
        help="The storage driver, where a root holds several.",
    ),
    click.option(
        "--containerd-root",
        metavar="PATH",
        shell_complete=completers.folders,
        help="The other half of docker's containerd store, if it isn't found.",
    ),
    click.option(
        "--namespace",
        metavar="NAME",
        shell_complete=completers.namespaces,
        help="The containerd namespace, where a root holds several.",
    ),
    click.option("--xattr-prefix", type=click.Choice(["trusted", "user"]), help="Where overlay's marks are kept."),
    click.option("--no-cache", is_flag=True, help="Read everything anew."),
    click.option("--ascii", is_flag=True, help="Draw with ASCII characters only."),
    *(
        click.option(f"--{name.replace('_', '-')}", metavar="FILE", shell_complete=completers.files, help=text)
        for name, text in _HANDED.items()
    ),
    click.option(
        "--layer-dir",
        metavar="ID=DIR",
        multiple=True,
        shell_complete=completers.layer_directories,
        help="btrfs, zfs, devicemapper: where a layer's files are mounted, if not in the root.",
    ),
)
_OWN = frozenset(
    {"root", "driver", "containerd_root", "namespace", "xattr_prefix", "no_cache", "ascii", "json", "layer_dir"}
).union(_HANDED)


def root_options(*, json: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the options about the root (and ``--json``); its function gets them as one :class:`Options`, first.

    They may stand before the verb too; those behind it win.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def collected(**values: Any) -> Any:
            rest = {name: value for name, value in values.items() if name not in _OWN}
            return function(options_of(click.get_current_context()), **rest)

        command: Callable[..., Any] = collected
        if json:
            command = click.option("--json", is_flag=True, help="Answer with one JSON document.")(command)
        for decorator in reversed(_ROOT_OPTIONS):
            command = decorator(command)
        return command

    return decorate


whole_ids = click.option("--no-trunc", is_flag=True, help="Don't cut ids and commands.")
ids_alone = click.option("-q", "--quiet", is_flag=True, help="Only the ids.")


def root_is_typed(context: click.Context) -> bool:
    """Whether ``--root`` stands on the command line, before the verb or behind it; the environment doesn't count."""
    sources = {place.get_parameter_source("root") for place in (context, context.find_root())}
    return ParameterSource.COMMANDLINE in sources


def options_of(context: click.Context) -> Options:
    """The options of a verb, joined with those that stood before it."""
    behind, before = context.params, context.find_root().params
    # Both look into the environment: what stands before the verb wins over that.
    if context.get_parameter_source("root") is ParameterSource.ENVIRONMENT:
        root = before.get("root")
    else:
        root = before.get("root") if behind.get("root") is None else behind["root"]
    if root == "":
        raise UsageError("the root's path is empty: give --root PATH, or leave it out for the usual places")

    def given(name: str) -> Any:
        return behind.get(name) or before.get(name)

    return Options(
        root=root,
        driver=given("driver"),
        xattr_prefix=given("xattr_prefix"),
        containerd_root=given("containerd_root"),
        namespace=given("namespace"),
        ascii=bool(given("ascii")),
        json=bool(behind.get("json")),
        no_cache=bool(given("no_cache")),
        handed=tuple((name, given(name)) for name in _HANDED if given(name)),
        layer_dirs=tuple(map(_layer_directory, given("layer_dir") or ())),
    )
