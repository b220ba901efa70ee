"""The commands of the small shell that make, change and remove; those that only look are in ``shell_looking``."""

from __future__ import annotations

import errno
import os
import re
import stat as modes
from collections.abc import Iterator

from layerscope.formats.gotime import parse_rfc3339
from layerscope.lab.shell.arguments import mode_of, options, owner_of, size_of
from layerscope.lab.shell.interpreter import CommandError, Shell, Verb, base_name, joined

_CHUNK = 1 << 20
_ENDLESS = {"/dev/zero": bytes, "/dev/urandom": os.urandom}


def _mkdir(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "p", {"m"}, least=1)
    mode = mode_of(given["m"], 0o777, is_dir=True) if "m" in given else None

    def make(text: str) -> None:
        path = shell.path(text)
        if "p" in given:
            _make_parents(shell, path)
            if shell.is_directory(path):
                return
        shell.overlay.mkdir(path, 0o777)
        if mode is not None:
            shell.overlay.chmod(path, mode)

    shell.each("mkdir", paths, make)


def _make_parents(shell: Shell, path: str) -> None:
    names = [name for name in path.split("/") if name]
    for depth in range(1, len(names)):
        above = "/" + "/".join(names[:depth])
        if not shell.is_directory(above):
            shell.overlay.mkdir(above, 0o777)


def _rmdir(shell: Shell, words: list[str]) -> None:
    shell.each("rmdir", options(words, "", least=1)[1], lambda path: shell.overlay.rmdir(shell.path(path)))


def _touch(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "ch", {"d"}, least=1)
    time_ns = None
    if "d" in given:
        text = given["d"]
        seconds = re.fullmatch(r"@(-?\d{1,12})", text)
        time_ns = int(seconds[1]) * 10**9 if seconds else parse_rfc3339(text)
        if time_ns is None:
            raise CommandError(f"{text!r} is no time; expected @SECONDS, or as 2024-01-02T03:04:05Z")
    ns = (time_ns, time_ns) if time_ns is not None else None
    follow = "h" not in given

    def touch(text: str) -> None:
        path = shell.path(text)
        if follow and not shell.leads_somewhere(path):
            if "c" in given:
                return
            os.close(shell.overlay.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        shell.overlay.utime(path, ns=ns, follow_symlinks=follow)

    shell.each("touch", paths, touch)


def _rm(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "rRf", least=0 if "-f" in words or "-rf" in words else 1)

    def rm(text: str) -> None:
        path = shell.path(text)
        if base_name(path) in (".", "..", "/"):
            raise CommandError(f"{text}: it is not removed by this name")
        try:
            remove(shell, path, recursive=bool({"r", "R"} & set(given)))
        except FileNotFoundError:
            if "f" not in given:
                raise

    shell.each("rm", paths, rm)


def remove(shell: Shell, path: str, recursive: bool) -> None:
    """Remove a file, or with ``recursive`` a tree, without recursion on its depth."""
    if not modes.S_ISDIR(shell.overlay.lstat(path).st_mode):
        shell.overlay.unlink(path)
        return
    if not recursive:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    pending = [(path, False)]
    while pending:
        here, emptied = pending.pop()
        if emptied:
            shell.overlay.rmdir(here)
            continue
        pending.append((here, True))
        for entry in list(shell.overlay.scandir(here)):
            inner = joined(here, entry.name)
            if modes.S_ISDIR(entry.status.st_mode):
                pending.append((inner, False))
            else:
                shell.overlay.unlink(inner)


def _mv(shell: Shell, words: list[str]) -> None:
    _, paths = options(words, "fT", least=2)
    for source, target in _targets(shell, paths):
        try:
            shell.overlay.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A directory of a lower layer can't be renamed: mv copies it, and then removes it.
            copy(shell, source, target, preserve=True)
            remove(shell, source, recursive=True)


def _cp(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "arRpfT", least=2)
    recursive = bool({"a", "r", "R"} & set(given))
    for source, target in _targets(shell, paths):
        if shell.is_directory(source, follow=not recursive) and not recursive:
            raise CommandError(f"{source} is a directory; -r copies it")
        copy(shell, source, target, preserve=bool({"a", "p"} & set(given)), follow=not recursive)


def _targets(shell: Shell, paths: list[str]) -> Iterator[tuple[str, str]]:
    """Each source with the path that it gets, from the root of the view."""
    *sources, last = paths
    target = shell.path(last)
    into = shell.is_directory(target)
    if len(sources) > 1 and not into:
        raise CommandError(f"{last} is no directory")
    for text in sources:
        source = shell.path(text)
        goal = joined(target, base_name(source)) if into else target.rstrip("/")
        if (goal + "/").startswith(source.rstrip("/") + "/"):
            raise CommandError(f"{text} and {last}: it would go into itself")
        yield source, goal


def copy(shell: Shell, source: str, target: str, preserve: bool, follow: bool = False) -> None:
    """Copy a file or tree; with ``preserve`` also owners, modes and times."""
    overlay = shell.overlay
    finished: list[tuple[str, os.stat_result]] = []
    pending = [(source, target, follow)]
    while pending:
        here, goal, follow = pending.pop()
        status = overlay.stat(here, follow_symlinks=follow)
        mode = modes.S_IMODE(status.st_mode)
        if modes.S_ISDIR(status.st_mode):
            if not shell.is_directory(goal, follow=False):
                overlay.mkdir(goal, mode | 0o700)
            finished.append((goal, status))
            pending += [(joined(here, name), joined(goal, name), False) for name in shell.names(here)]
            continue
        if modes.S_ISREG(status.st_mode):
            _copy_file(shell, here, goal, mode)
        else:
            if shell.exists(goal):
                overlay.unlink(goal)
            if modes.S_ISLNK(status.st_mode):
                overlay.symlink(overlay.readlink(here), goal)
            else:
                overlay.mknod(goal, status.st_mode, status.st_rdev)
        if preserve:
            _preserve(shell, goal, status)
    for goal, status in reversed(finished):
        if preserve:
            _preserve(shell, goal, status)


def _copy_file(shell: Shell, source: str, target: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with (
        os.fdopen(shell.overlay.open(source, os.O_RDONLY), "rb") as file,
        os.fdopen(shell.overlay.open(target, flags, mode & 0o777), "wb") as out,
    ):
        while chunk := file.read(_CHUNK):
            out.write(chunk)


def _preserve(shell: Shell, path: str, status: os.stat_result) -> None:
    shell.overlay.lchown(path, status.st_uid, status.st_gid)
    if not modes.S_ISLNK(status.st_mode):
        shell.overlay.chmod(path, modes.S_IMODE(status.st_mode))
    shell.overlay.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _ln(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "sfn", least=2)
    if len(paths) != 2:
        raise CommandError("expected TARGET and the new NAME")
    target, path = paths[0], shell.path(paths[1])
    if shell.is_directory(path, follow="n" not in given):
        path = joined(path, base_name(target))
    if "f" in given and shell.exists(path):
        shell.overlay.unlink(path)
    if "s" in given:
        shell.overlay.symlink(target, path)
    else:
        shell.overlay.link(shell.path(target), path)


def _walked(shell: Shell, paths: list[str], recursive: bool) -> Iterator[tuple[str, bool]]:
    """Paths from the root, with ``recursive`` all below them; whether it is one that was named."""
    for text in paths:
        yield shell.path(text), True
        pending = [shell.path(text)] if recursive and shell.is_directory(shell.path(text), follow=False) else []
        while pending:
            here = pending.pop()
            for entry in list(shell.overlay.scandir(here)):
                inner = joined(here, entry.name)
                if modes.S_ISDIR(entry.status.st_mode):
                    pending.append(inner)
                yield inner, False


def _chmod(shell: Shell, words: list[str]) -> None:
    if not words or (words[0] == "-R" and len(words) < 2):
        raise CommandError("expected MODE PATH…")
    recursive = words[0] == "-R"
    text, *paths = words[1:] if recursive else words
    if not paths:
        raise CommandError("expected MODE PATH…")
    for path, named in _walked(shell, paths, recursive):
        status = shell.overlay.stat(path) if named else shell.overlay.lstat(path)
        if modes.S_ISLNK(status.st_mode):
            continue
        shell.overlay.chmod(path, mode_of(text, modes.S_IMODE(status.st_mode), modes.S_ISDIR(status.st_mode)))


def _chown(shell: Shell, words: list[str]) -> None:
    given, rest = options(words, "Rh", least=2)
    uid, gid = owner_of(shell.overlay, rest[0])
    for path, named in _walked(shell, rest[1:], "R" in given):
        shell.overlay.chown(path, uid, gid, follow_symlinks=named and "h" not in given and "R" not in given)


def _truncate(shell: Shell, words: list[str]) -> None:
    given, paths = options(words, "c", {"s"}, least=1)
    if "s" not in given:
        raise CommandError("expected -s SIZE")
    sign = given["s"][:1] if given["s"][:1] in ("+", "-") else ""
    size = size_of(given["s"].removeprefix(sign))

    def truncate(text: str) -> None:
        path = shell.path(text)
        if not shell.leads_somewhere(path):
            if "c" in given:
                return
            os.close(shell.overlay.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        present = shell.overlay.stat(path).st_size
        shell.overlay.truncate(path, present + size if sign == "+" else max(0, present - size) if sign else size)

    shell.each("truncate", paths, truncate)


def _dd(shell: Shell, words: list[str]) -> None:
    given = dict(word.partition("=")[::2] for word in words)
    unknown = set(given) - {"if", "of", "bs", "count", "seek", "skip", "conv", "status"}
    if unknown or "of" not in given or "if" not in given:
        raise CommandError("expected if=PATH of=PATH [bs=N] [count=N] [seek=N] [skip=N] [conv=notrunc]")
    block = size_of(given.get("bs", "512"))
    count = size_of(given["count"]) if "count" in given else None
    seek, skip = size_of(given.get("seek", "0")) * block, size_of(given.get("skip", "0")) * block
    endless = _ENDLESS.get(given["if"])
    if not block or (endless is not None and count is None):
        raise CommandError("bs must not be 0, and count is needed with an endless source")
    keep = "notrunc" in given.get("conv", "")
    flags = os.O_WRONLY | os.O_CREAT | (0 if keep or seek else os.O_TRUNC)
    path = shell.path(given["of"])
    source = None if endless is not None else os.fdopen(shell.overlay.open(shell.path(given["if"]), os.O_RDONLY), "rb")
    try:
        with os.fdopen(shell.overlay.open(path, flags, 0o666), "wb") as out:
            if seek and not keep:
                out.truncate(seek)
            out.seek(seek)
            if source is not None:
                source.seek(skip)
            left = None if count is None else count * block
            while left is None or left:
                size = min(_CHUNK, _CHUNK if left is None else left)
                chunk = endless(size) if endless is not None else source.read(size) if source is not None else b""
                if not chunk:
                    break
                out.write(chunk)
                left = None if left is None else left - len(chunk)
    finally:
        if source is not None:
            source.close()


def _mknod(shell: Shell, words: list[str]) -> None:
    given, rest = options(words, "", {"m"}, least=2)
    kinds = {"p": modes.S_IFIFO, "c": modes.S_IFCHR, "u": modes.S_IFCHR, "b": modes.S_IFBLK}
    path, kind, *numbers = rest
    if kind not in kinds or len(numbers) != (0 if kind == "p" else 2) or not all(n.isdigit() for n in numbers):
        raise CommandError("expected NAME p, or NAME c MAJOR MINOR, or NAME b MAJOR MINOR")
    device = os.makedev(int(numbers[0]), int(numbers[1])) if numbers else 0
    shell.overlay.mknod(shell.path(path), kinds[kind] | 0o666, device)
    if "m" in given:
        shell.overlay.chmod(shell.path(path), mode_of(given["m"], 0o666, is_dir=False))


def _xattr(shell: Shell, words: list[str]) -> None:
    action, *rest = words or [""]
    overlay = shell.overlay
    if action == "-l" and len(rest) == 1:
        path = shell.path(rest[0])
        for key in sorted(overlay.listxattr(path, follow_symlinks=False)):
            value = overlay.getxattr(path, key, follow_symlinks=False)
            text = value.decode("utf-8", "replace")
            shell.print(f"{key}={text if text.isprintable() else '0x' + value.hex()}")
    elif action == "-p" and len(rest) == 2:
        shell.out.write(overlay.getxattr(shell.path(rest[1]), rest[0], follow_symlinks=False) + b"\n")
    elif action == "-w" and len(rest) == 3:
        value = bytes.fromhex(rest[1][2:]) if re.fullmatch(r"0x([0-9a-fA-F]{2})*", rest[1]) else os.fsencode(rest[1])
        overlay.setxattr(shell.path(rest[2]), rest[0], value, follow_symlinks=False)
    elif action == "-d" and len(rest) == 2:
        overlay.removexattr(shell.path(rest[1]), rest[0], follow_symlinks=False)
    else:
        raise CommandError("expected -l PATH, -p NAME PATH, -w NAME VALUE PATH or -d NAME PATH")


CHANGING = {
    "mkdir": Verb(_mkdir, "[-p] [-m MODE] PATH…", "Make directories."),
    "rmdir": Verb(_rmdir, "PATH…", "Remove empty directories."),
    "touch": Verb(_touch, "[-ch] [-d TIME] PATH…", "Make files, or set their times."),
    "rm": Verb(_rm, "[-rf] PATH…", "Remove files and trees."),
    "mv": Verb(_mv, "SOURCE… TARGET", "Rename, or move into a directory."),
    "cp": Verb(_cp, "[-arp] SOURCE… TARGET", "Copy files and trees."),
    "ln": Verb(_ln, "[-sfn] TARGET NAME", "Link."),
    "chmod": Verb(_chmod, "[-R] MODE PATH…", "Change permissions: 644, u+x, go-w."),
    "chown": Verb(_chown, "[-Rh] USER[:GROUP] PATH…", "Change owners, by number or by the container's own names."),
    "truncate": Verb(_truncate, "[-c] -s SIZE PATH…", "Cut or grow files."),
    "dd": Verb(_dd, "if=PATH of=PATH [bs=N] [count=N] [seek=N] [skip=N] [conv=notrunc]", "Copy a part of a file."),
    "mknod": Verb(_mknod, "[-m MODE] NAME p|c|b [MAJOR MINOR]", "Make a FIFO or device node."),
    "xattr": Verb(_xattr, "-l PATH, -p NAME PATH, -w NAME VALUE PATH, -d NAME PATH", "Extended attributes."),
}
