"""The texts that were written by hand, each a file of ``texts/``."""

from __future__ import annotations

from importlib import resources

from layerscope.errors import RootError


def text(name: str) -> str:
    """One text by its path in ``texts/``.

    Raises:
        RootError: this installation lacks it.
    """
    try:
        return resources.files("layerscope.demo").joinpath("texts", *name.split("/")).read_text("utf-8")
    except OSError:
        raise RootError(f"cannot read layerscope/demo/texts/{name}: install layerscope again") from None
