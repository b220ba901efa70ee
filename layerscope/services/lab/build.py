"""What a build takes from its surroundings: the Dockerfile, values of arguments, the time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISREG

from msgspec.structs import replace

from layerscope.errors import RootError, UsageError
from layerscope.formats.dockerfile import MOST_BYTES, parse_dockerfile
from layerscope.formats.escape import escape
from layerscope.formats.gotime import format_rfc3339
from layerscope.lab.build.image import BuildRequest
from layerscope.lab.build.layer import BuildOptions
from layerscope.lab.image.commit import CommitOptions

_NAMES = ("Dockerfile", "dockerfile")
EPOCH = "SOURCE_DATE_EPOCH"


def build_request(
    context: Path,
    file: Path | bytes | None = None,
    *,
    arguments: Sequence[str] = (),
    labels: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    target: str = "",
    use_cache: bool = True,
) -> BuildRequest:
    """What to build.

    Args:
        context: the directory that COPY and ADD take from.
        file: the Dockerfile, or its bytes; None: that of the context.
        arguments: ``NAME=VALUE``, or a name whose value ``environment`` has.
        labels: ``NAME=VALUE``.
        environment: variables of the caller.
        target: the stage to stop at.
        use_cache: take images of earlier builds.

    Raises:
        UsageError: the Dockerfile isn't right, or an argument isn't one.
        RootError: it can't be read.
    """
    data = file if isinstance(file, bytes) else _read(context, file)
    given: dict[str, str] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"{text!r:.80} is no argument: expected NAME=VALUE, or NAME")
        if equals:
            given[name] = value
        elif environment and name in environment:
            given[name] = environment[name]
    pairs = dict(text.partition("=")[::2] for text in labels)
    if not all(pairs):
        raise UsageError("a label has no name: expected NAME=VALUE")
    return BuildRequest(parse_dockerfile(data), context, given, pairs, target, use_cache)


def build_options(commit: CommitOptions, epoch: str | None = None, created: str | None = None) -> BuildOptions:
    """How to build.

    Args:
        commit: whose rules, and who.
        epoch: seconds since 1970: no file of a layer is younger, and all is made then. "" and None: none.
        created: the time at which all is made instead; None: each step at its own.

    Raises:
        UsageError: the epoch isn't one.
    """
    latest = None
    made = commit.maker.created if created is not None else ""
    if epoch:
        if not (epoch.isascii() and epoch.isdecimal()) or len(epoch) > 11:
            raise UsageError(f"{EPOCH}={epoch!r:.40} is no number of seconds since 1970")
        latest = int(epoch)
        made = made or format_rfc3339(latest * 10**9) or ""
    return BuildOptions(replace(commit, maker=replace(commit.maker, created=made)), latest)


def _read(context: Path, file: Path | None) -> bytes:
    for path in [context / name for name in _NAMES] if file is None else [file]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RootError(f"cannot read the Dockerfile {escape(os.fspath(path))}: {error.strerror}") from None
        with os.fdopen(fd, "rb") as opened:
            if not S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"the Dockerfile {escape(os.fspath(path))} is no regular file")
            return opened.read(MOST_BYTES + 1)
    missing = context / _NAMES[0] if file is None else file
    raise UsageError(f"cannot read the Dockerfile {escape(os.fspath(missing))}: there is none; -f names another")
