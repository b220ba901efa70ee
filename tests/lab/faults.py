"""File operations counted, so that a process can be killed after any of them, or the disk be full before it.

Every call by which Python changes a file system is wrapped: those of :mod:`os`, and renameat2 where the package has it.
What a buffered file writes is seen at its ``fsync``, by which every record is brought to the disk. A process that is
forked on the way counts on: the operations of both are numbered as they come.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from layerscope.errors import CommitError

CALLS = (
    *(
        "chmod",
        "chown",
        "copy_file_range",
        "fchmod",
        "fchown",
        "fsync",
        "ftruncate",
        "lchown",
        "link",
        "mkdir",
        "mkfifo",
    ),
    *("mknod", "open", "remove", "removexattr", "rename", "replace", "rmdir", "setxattr", "symlink", "truncate"),
    *("unlink", "utime", "write"),
)
_CHANGES = os.O_CREAT | os.O_TRUNC
_SAID = 3


@contextmanager
def instrumented(before: Callable[[int, str], None], after: Callable[[int, str], None]) -> Iterator[None]:
    """Call ``before`` and ``after`` around each operation, with its number (from 0) and name."""
    count = multiprocessing.Value("q", 0)

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*words: Any, **more: Any) -> Any:
            if name == "open" and not words[1] & _CHANGES:
                return function(*words, **more)
            with count.get_lock():
                number = count.value
                count.value += 1
            before(number, name)
            try:
                return function(*words, **more)
            finally:
                after(number, name)

        return wrapped

    kept = [(os, name, getattr(os, name)) for name in CALLS]
    for module in [module for name, module in sys.modules.items() if name.startswith("layerscope.")]:
        if getattr(module, "renameat2", None) is not None:
            kept.append((module, "renameat2", module.renameat2))
    # Sets of functions that os itself keeps are asked for membership by identity.
    supports = {name: set(getattr(os, name)) for name in ("supports_dir_fd", "supports_follow_symlinks", "supports_fd")}
    for module, name, function in kept:
        wrapped = wrap(name, function)
        setattr(module, name, wrapped)
        for group in supports:
            if function in supports[group]:
                getattr(os, group).add(wrapped)
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)
        for group, functions in supports.items():
            getattr(os, group).intersection_update(functions)


def count_steps(act: Callable[[], object]) -> list[str]:
    """The operations that ``act`` makes, by name; done in a process of its own."""
    reader, writer = os.pipe()
    write = os.write

    def tell(_number: int, name: str) -> None:
        write(writer, f"{name} ".encode())

    child = os.fork()
    if not child:
        status = 1
        try:
            with instrumented(tell, lambda _number, _name: None):
                act()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent is told by the status
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    assert os.waitpid(child, 0)[1] == 0
    return text.split()


def killed_after(act: Callable[[], object], step: int, *, alone: bool = False) -> bool:
    """Do ``act`` in a process that is killed right after one of its operations; whether that came to pass.

    What it has forked is killed with it, as when the power fails. ``alone``: only the process whose operation it was;
    if that is a forked one, the first must have raised an error that says so. All have ended when this returns.
    """

    def kill(number: int, name: str) -> None:
        if number == step and alone:
            os.kill(os.getpid(), signal.SIGKILL)
        elif number == step:
            os.killpg(0, signal.SIGKILL)

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 0
        try:
            os.setpgid(0, 0)
            os.close(reader)
            with instrumented(lambda _number, _name: None, kill):
                act()
        except CommitError as error:
            status = _SAID if alone and "the process that made the layer's files was killed" in str(error) else 2
        except BaseException:  # noqa: BLE001 - the parent is told by the status
            traceback.print_exc()
            status = 2
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as open_in_all:
        open_in_all.read()
    _, status = os.waitpid(child, 0)
    return status == _SAID << 8 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
