"""The commands of the small shell that only look, or move about."""

from __future__ import annotations

import fnmatch
import os
import re
import stat as modes

from layerscope.formats.gotime import format_rfc3339
from layerscope.lab.shell.arguments import options
from layerscope.lab.shell.interpreter import AlreadyTold, CommandError, Shell, Verb, joined

_CHUNK = 1 << 20
_KINDS = {"f": modes.S_IFREG, "d": modes.S_IFDIR, "l": modes.S_IFLNK, "p": modes.S_IFIFO, "s": modes.S_IFSOCK}
_KINDS |= {"c": modes.S_IFCHR, "b": modes.S_IFBLK}
_WORDS = {
    modes.S_IFREG: "regular file",
    modes.S_IFDIR: "directory",
    modes.S_IFLNK: "symbolic link",
    modes.S_IFIFO: "fifo",
    modes.S_IFSOCK: "socket",
    modes.S_IFCHR: "character special file",
    modes.S_IFBLK: "block special file",
}


def _cd(shell: Shell, words: list[str]) -> None:
    path = shell.path(words[0] if words else "/")
    if not shell.is_directory(path):
        shell.overlay.stat(path)
        raise CommandError(f"{words[0]} is no directory")
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            names = names[:-1]
        elif name not in ("", "."):
            names.append(name)
    shell.directory = "/" + "/".join(names)


def _pwd(shell: Shell, words: list[str]) -> None:
    shell.print(shell.directory)


def _ls(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "laARd1")
    first = True

    def ls(text: str) -> None:
        nonlocal first
        path = shell.path(text)
        status = shell.overlay.lstat(path)
        if "d" in given or not shell.is_directory(path, follow="l" not in given):
            shell.print(_line(shell, path, text, status) if "l" in given else text)
            return
        pending = [(path, text)]
        while pending:
            here, shown = pending.pop()
            if len(paths) > 1 or "R" in given:
                if not first:
                    shell.print("")
                shell.print(f"{shown}:")
            first = False
            entries = sorted(shell.overlay.scandir(here), key=lambda entry: os.fsencode(entry.name))
            for entry in entries:
                if entry.name.startswith(".") and not {"a", "A"} & set(given):
                    continue
                line = _line(shell, joined(here, entry.name), entry.name, entry.status)
                shell.print(line if "l" in given else entry.name)
            if "R" in given:
                below = [entry.name for entry in entries if modes.S_ISDIR(entry.status.st_mode)]
                pending += [(joined(here, name), joined(shown, name)) for name in reversed(below)]

    shell.each("ls", paths or ["."], ls)


def _line(shell: Shell, path: str, name: str, status: os.stat_result) -> str:
    size = str(status.st_size)
    if modes.S_ISCHR(status.st_mode) or modes.S_ISBLK(status.st_mode):
        size = f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}"
    time = (format_rfc3339(status.st_mtime_ns // 10**9 * 10**9) or "?").replace("T", " ").removesuffix("Z")
    arrow = f" -> {shell.overlay.readlink(path)}" if modes.S_ISLNK(status.st_mode) else ""
    owner = f"{status.st_uid}:{status.st_gid}"
    return f"{modes.filemode(status.st_mode)} {status.st_nlink:>2} {owner:<9} {size:>9} {time} {name}{arrow}"


def _cat(shell: Shell, words: list[str]) -> None:
    _, paths = options(words, "")
    if not paths:
        if shell.source is None:
            raise CommandError("expected a path, or < PATH")
        while chunk := shell.source.read(_CHUNK):
            shell.out.write(chunk)

    def cat(path: str) -> None:
        with os.fdopen(shell.overlay.open(shell.path(path), os.O_RDONLY), "rb") as file:
            while chunk := file.read(_CHUNK):
                shell.out.write(chunk)

    shell.each("cat", paths, cat)


def _echo(shell: Shell, words: list[str]) -> None:
    newline, escapes = True, False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        newline = newline and "n" not in words[0]
        escapes = "e" in words[0] or escapes
        words = words[1:]
    text = os.fsencode(" ".join(words))
    if escapes:
        text = re.sub(rb"\\(x[0-9a-fA-F]{1,2}|0[0-7]{0,3}|[\\abefnrtv])", _escaped, text)
    shell.out.write(text + (b"\n" if newline else b""))


def _escaped(found: re.Match[bytes]) -> bytes:
    text = found[1]
    if text.startswith(b"x"):
        return bytes((int(text[1:], 16),))
    if text.startswith(b"0"):
        return bytes((int(text, 8) & 0xFF,))
    return {b"\\": b"\\", b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"f": b"\f", b"n": b"\n"}.get(
        text, {b"r": b"\r", b"t": b"\t", b"v": b"\v"}.get(text, b"")
    )


def _stat(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "L", {"c"}, least=1)
    for text in paths:
        path = shell.path(text)
        status = shell.overlay.stat(path, follow_symlinks="L" in given)
        facts = _facts(shell, path, text, status)
        if "c" in given:
            parts = re.split(r"(%[a-zA-Z%])", given["c"])
            shell.print("".join(facts.get(part[1:], part) if part.startswith("%") else part for part in parts))
            continue
        arrow = f" -> {shell.overlay.readlink(path)}" if modes.S_ISLNK(status.st_mode) else ""
        shell.print(f"  File: {text}{arrow}")
        shell.print(f"  Size: {facts['s']}  Type: {facts['F']}  Links: {facts['h']}  Level: {facts['L']}")
        shell.print(f"  Mode: {facts['a'].zfill(4)} ({facts['A']})  Owner: {facts['u']}:{facts['g']}")
        shell.print(f"Modify: {facts['y']}")


def _facts(shell: Shell, path: str, name: str, status: os.stat_result) -> dict[str, str]:
    serving = [copy.level for copy in shell.overlay.layers_of(path) if copy.serves]
    return {
        "%": "%",
        "n": name,
        "s": str(status.st_size),
        "a": f"{modes.S_IMODE(status.st_mode):o}",
        "A": modes.filemode(status.st_mode),
        "f": f"{status.st_mode:x}",
        "F": _WORDS.get(modes.S_IFMT(status.st_mode), "unknown"),
        "u": str(status.st_uid),
        "g": str(status.st_gid),
        "h": str(status.st_nlink),
        "i": str(status.st_ino),
        "t": f"{os.major(status.st_rdev):x}",
        "T": f"{os.minor(status.st_rdev):x}",
        "Y": str(status.st_mtime_ns // 10**9),
        "y": format_rfc3339(status.st_mtime_ns) or "?",
        "L": str(serving[0]) if serving else "?",
    }


def _find(shell: Shell, words: list[str]) -> None:
    places = []
    while words and not words[0].startswith("-"):
        places.append(words[0])
        words = words[1:]
    tests: dict[str, str] = {}
    while words:
        test, *words = words
        if test == "-print":
            continue
        if test not in ("-name", "-path", "-type", "-maxdepth", "-mindepth") or not words:
            raise CommandError(f"{test}: expected -name, -path, -type, -maxdepth or -mindepth with a value")
        tests[test], *words = words
    for text in ("-maxdepth", "-mindepth"):
        if not tests.get(text, "0").isdigit():
            raise CommandError(f"{text}: {tests[text]!r} is no number")
    deepest, least = int(tests.get("-maxdepth", "1000000")), int(tests.get("-mindepth", "0"))
    for place in places or ["."]:
        pending = [(place, shell.overlay.lstat(shell.path(place)), 0)]
        while pending:
            here, status, depth = pending.pop()
            if depth >= least and _fits(here, status, tests):
                shell.print(here)
            if modes.S_ISDIR(status.st_mode) and depth < deepest:
                entries = sorted(shell.overlay.scandir(shell.path(here)), key=lambda entry: os.fsencode(entry.name))
                pending += [(joined(here, entry.name), entry.status, depth + 1) for entry in reversed(entries)]


def _fits(path: str, status: os.stat_result, tests: dict[str, str]) -> bool:
    name = path.rstrip("/").rpartition("/")[2] or "/"
    if "-name" in tests and not fnmatch.fnmatchcase(name, tests["-name"]):
        return False
    if "-path" in tests and not fnmatch.fnmatchcase(path, tests["-path"]):
        return False
    if "-type" in tests:
        wanted = [_KINDS.get(letter) for letter in tests["-type"].split(",")]
        if None in wanted:
            raise CommandError(f"-type: {tests['-type']!r} is none of {','.join(_KINDS)}")
        return modes.S_IFMT(status.st_mode) in wanted
    return True


def _help(shell: Shell, words: list[str]) -> None:
    for name, verb in sorted(shell.verbs.items()):
        if not words or name in words:
            shell.print(f"{name} {verb.usage}".rstrip())
            shell.print(f"    {verb.summary}")


def _true(shell: Shell, words: list[str]) -> None:
    return


def _false(shell: Shell, words: list[str]) -> None:
    raise AlreadyTold


def _exit(shell: Shell, words: list[str]) -> None:
    shell.ended = True


LOOKING = {
    "cd": Verb(_cd, "[PATH]", "Go to a directory."),
    "pwd": Verb(_pwd, "", "Where one is."),
    "ls": Verb(_ls, "[-laARd] [PATH…]", "List."),
    "cat": Verb(_cat, "PATH…", "The bytes of files."),
    "echo": Verb(_echo, "[-ne] [TEXT…]", "Print; with > or >> into a file."),
    "stat": Verb(_stat, "[-L] [-c FORMAT] PATH…", "What is known of a path, with the level that serves it."),
    "find": Verb(_find, "[PATH…] [-name GLOB] [-path GLOB] [-type f|d|l|p|c|b] [-maxdepth N]", "Names below a path."),
    "help": Verb(_help, "[COMMAND…]", "What there is."),
    "true": Verb(_true, "", "Nothing, and well."),
    "false": Verb(_false, "", "Nothing, and badly."),
    "exit": Verb(_exit, "", "Leave."),
}
