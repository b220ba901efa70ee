"""What may stand behind an option about the root, for the completion in a shell; nothing where that can't be known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from layerscope.errors import LayerscopeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerscope.services.session import Session

_MOST = 1000


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Files and folders, which the shell knows best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Folders, which the shell knows best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def drivers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """The storage drivers that the root has records of; all that there are if it can't be opened."""
    from layerscope.services.opening.choices import driver_choices

    session = _session(context)
    if session is None:
        return _items(driver_choices(None), incomplete)
    with session:
        return _items(driver_choices(session), incomplete)


def namespaces(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """The containerd namespaces of the root."""
    from layerscope.services.opening.choices import namespace_choices

    session = _session(context)
    if session is None:
        return []
    with session:
        return _items(namespace_choices(session), incomplete)


def layer_directories(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """``ID=`` for each layer of the root, and behind that folders."""
    from layerscope.services.opening.choices import layer_choices

    name, separator, path = incomplete.partition("=")
    if separator:
        top = os.path.dirname(path)
        try:
            with os.scandir(os.path.expanduser(top) or ".") as found:
                inside = sorted(entry.name for entry in found if entry.is_dir())
        except OSError:
            return []
        return _items([f"{name}={os.path.join(top, one)}/" for one in inside], incomplete)
    session = _session(context)
    if session is None:
        return []
    with session:
        return _items([f"{one}=" for one in layer_choices(session)], incomplete)


def _items(texts: Sequence[str], incomplete: str) -> list[CompletionItem[Any]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(text) for text in texts if text.startswith(incomplete) and text.isprintable()][:_MOST]


def _session(context: click.Context) -> Session | None:
    from layerscope.cli.options import options_of

    try:
        return options_of(context)._replace(driver=None, namespace=None).session()
    except (LayerscopeError, OSError):
        return None
