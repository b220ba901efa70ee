"""The small shell of ``layerscope sh``: commands about files, carried out by the overlay engine. No program is run.

What it changes lies in the container's upper directory at once, as if a process in the container had done it: as root,
with umask 022.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import posixpath
import stat as modes
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from layerscope.errors import UsageError
from layerscope.formats.escape import escape
from layerscope.lab.shell.words import Command, Word, parse_script
from layerscope.overlay.engine import Overlay

_MOST_MATCHES = 100_000


class CommandError(Exception):
    """A command failed; the text is what it says, without its name."""


class AlreadyTold(Exception):
    """A command failed in part, and has said so."""


class Verb(NamedTuple):
    """A command of the shell: its function, the arguments that it takes, and what it is for."""

    run: Callable[[Shell, list[str]], None]
    usage: str
    summary: str


class Shell:
    """One run of the shell over an overlay.

    Args:
        overlay: the container's files.
        out: gets what commands print; its own errors come through.
        tell: gets one line for each complaint.
        verbs: the commands.
        source: what commands read from, if anything.
        is_terminal: a person looks at ``out``.
    """

    def __init__(
        self,
        overlay: Overlay,
        out: BinaryIO,
        tell: Callable[[str], None],
        verbs: Mapping[str, Verb],
        source: BinaryIO | None = None,
        is_terminal: bool = False,
    ) -> None:
        self.overlay = overlay
        self.out = out
        self._terminal = out if is_terminal else None
        self.source = source
        self.directory = "/"
        self.ended = False
        self.verbs = verbs
        self._tell = tell

    # ------------------------------------------------------------------ running
    def run(self, script: str, stop_on_error: bool = False) -> int:
        """Carry out a script; 0, or 1 if its last command (with ``stop_on_error``: any) failed.

        Raises:
            UsageError: it can't be taken apart; then nothing of it was done.
        """
        status = 0
        for command in parse_script(script):
            if (command.joiner == "&&" and status) or (command.joiner == "||" and not status):
                continue
            status = self._run(command)
            if self.ended or (status and stop_on_error):
                break
        return status

    def _run(self, command: Command) -> int:
        name = ""
        out, source = self.out, self.source
        try:
            words = [text for word in command.words for text in self._expanded(word)]
            name = words[0] if words else ""
            if command.source is not None:
                self.source = os.fdopen(self.overlay.open(self.path(command.source.text), os.O_RDONLY), "rb")
            if command.target is not None:
                self.out = self._redirected(command.target.text, command.append)
            if name:
                verb = self.verbs.get(name)
                if verb is None:
                    raise CommandError("there is no such command here; help lists those that there are")
                verb.run(self, words[1:])
            return 0
        except AlreadyTold:
            pass
        except CommandError as error:
            self._tell(f"{name}: {error}")
        except UsageError as error:
            self._tell(f"{name}: {error}")
        except OSError as error:
            self._tell(f"{name or 'sh'}: {said(error)}")
        finally:
            for stream, before in ((self.out, out), (self.source, source)):
                if stream is not None and stream is not before:
                    with suppress(OSError):
                        stream.close()
            self.out, self.source = out, source
        return 1

    def _redirected(self, path: str, append: bool) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        return os.fdopen(self.overlay.open(self.path(path), flags, 0o666), "ab" if append else "wb")

    def print(self, line: str) -> None:
        """A line of output; names in it keep their bytes, except before a terminal, which would obey them."""
        shown = escape(line) if self.out is self._terminal else line
        self.out.write(os.fsencode(shown) + b"\n")

    def each(self, name: str, words: Iterable[str], act: Callable[[str], None]) -> None:
        """Do the same with several things; what fails is told and doesn't keep the others.

        Raises:
            AlreadyTold: something failed.
        """
        failed = False
        for word in words:
            try:
                act(word)
            except OSError as error:
                self._tell(f"{name}: {said(error)}")
                failed = True
        if failed:
            raise AlreadyTold

    # ------------------------------------------------------------------ paths
    def path(self, text: str) -> str:
        """A path as the user gives it, from the root of the view; a final slash stays."""
        if not text:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), text)
        return text if text.startswith("/") else f"{self.directory.rstrip('/')}/{text}"

    def is_directory(self, path: str, follow: bool = True) -> bool:
        """Whether a path (from the root) leads to a directory."""
        try:
            return modes.S_ISDIR(self.overlay.stat(path, follow_symlinks=follow).st_mode)
        except OSError:
            return False

    def exists(self, path: str) -> bool:
        """Whether anything has this name."""
        try:
            self.overlay.lstat(path)
        except OSError:
            return False
        return True

    def leads_somewhere(self, path: str) -> bool:
        """Whether a path leads to anything, links followed."""
        try:
            self.overlay.stat(path)
        except OSError:
            return False
        return True

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted by their bytes."""
        return sorted(self.overlay.listdir(path), key=os.fsencode)

    def _expanded(self, word: Word) -> list[str]:
        """The names that a pattern fits, sorted; the word itself if it is none or fits nothing."""
        if word.pattern is None:
            return [word.text]
        found = ["/"] if word.pattern.startswith("/") else [""]
        for part in [part for part in word.pattern.split("/") if part]:
            found = [match for base in found for match in self._matches(base, part)]
            if len(found) > _MOST_MATCHES:
                raise CommandError(f"{word.text} fits more than {_MOST_MATCHES} names")
        return found or [word.text]

    def _matches(self, base: str, pattern: str) -> list[str]:
        """What fits one part of a pattern in the directory ``base``."""
        prefix = base if base in ("", "/") else base + "/"
        if not any(char in pattern for char in "*?["):
            return [prefix + pattern] if self.exists(self.path(prefix + pattern)) else []
        try:
            names = self.names(self.path(base or "."))
        except OSError:
            return []
        fitting = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        return [prefix + name for name in fitting if pattern.startswith(".") or not name.startswith(".")]

    # ------------------------------------------------------------------ completion
    def completions(self, text: str, first: bool) -> list[str]:
        """What a word that is begun may become: commands where it is the ``first``, else paths."""
        if first and "/" not in text:
            return sorted(name for name in self.verbs if name.startswith(text))
        folder, slash, start = text.rpartition("/")
        try:
            names = self.names(self.path(folder + slash if slash else "."))
        except OSError:
            return []
        fitting = [folder + slash + name for name in names if name.startswith(start) and name.isprintable()]
        return [name + ("/" if self.is_directory(self.path(name)) else "") for name in fitting]


def said(error: OSError) -> str:
    """An error as Unix commands tell it: the path, and the system's words."""
    words = os.strerror(error.errno) if error.errno else str(error)
    return f"{escape(os.fsdecode(error.filename))}: {words}" if error.filename else words


def joined(directory: str, name: str) -> str:
    """The path of an entry of a directory."""
    return f"{directory.rstrip('/')}/{name}"


def base_name(path: str) -> str:
    """The last name of a path, final slashes left out; "/" for the root."""
    return posixpath.basename(path.rstrip("/")) or "/"
