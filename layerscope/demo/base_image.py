"""The base image: a small distribution that consists of words."""

from __future__ import annotations

from layerscope.demo.file_system import FileSystem, Step
from layerscope.demo.generated import Package, charmap, collation, program, words
from layerscope.demo.texts import text

_TOOLS = {
    "bash": "read commands and have them carried out",
    "cat": "show a file from top to bottom",
    "chmod": "change who may read, write and enter",
    "chown": "change whose a file is",
    "cp": "make a second copy of a file",
    "cut": "keep some columns of each line",
    "date": "say what time it is",
    "dd": "copy blocks, exactly those asked for",
    "df": "say how full the disks are",
    "diff": "show where two files differ",
    "du": "say who filled them",
    "echo": "repeat what it is told",
    "env": "show the environment",
    "false": "fail",
    "find": "look for files by name, age or size",
    "grep": "keep the lines that match",
    "head": "show the first lines",
    "id": "say who you are",
    "ln": "give a file a second name",
    "ls": "list what a directory holds",
    "mkdir": "make a directory",
    "mount": "attach a file system to the tree",
    "mv": "give a file another name",
    "rm": "take a name away",
    "rmdir": "remove a directory that is empty",
    "sed": "edit lines as they pass by",
    "sleep": "wait",
    "sort": "put lines in order",
    "stat": "tell what is known of a file",
    "tail": "show the last lines, and those to come",
    "tar": "put many files into one",
    "touch": "set the time of a file, or make an empty one",
    "true": "succeed",
    "uniq": "drop lines that repeat",
    "wc": "count lines, words and bytes",
    "xargs": "turn lines into arguments",
}

PACKAGES = tuple(
    Package(name, version, summary, files, depends, notes)
    for name, version, summary, files, depends, notes in (
        ("apt", "2.7", "fetches packages and what they need", ("usr/bin/apt-get", "usr/bin/apt-cache"), "", 24),
        ("base-files", "12", "the first directories and files", ("etc/motd", "usr/lib/os-release"), "", 14),
        ("base-passwd", "3.6", "the users that every system has", ("etc/group", "etc/passwd"), "", 9),
        ("bash", "5.2", "the shell of most people", ("usr/bin/bash", "etc/bash.bashrc"), "libc-words", 30),
        ("bsdutils", "2.40", "tools with a long history", (), "libc-words", 12),
        (
            "coreutils",
            "9.4",
            "the everyday commands",
            tuple(f"usr/bin/{n}" for n in sorted(_TOOLS)[:20]),
            "libc-words",
            36,
        ),
        ("dash", "0.5", "the shell of scripts", ("usr/bin/dash",), "libc-words", 11),
        ("debconf", "1.5", "asks questions while packages are set up", (), "", 16),
        ("diffutils", "3.10", "finds the difference", ("usr/bin/diff",), "libc-words", 8),
        ("dpkg", "1.22", "unpacks packages and remembers their files", ("usr/bin/dpkg",), "tar", 40),
        ("findutils", "4.9", "finds files", ("usr/bin/find", "usr/bin/xargs"), "libc-words", 13),
        ("grep", "3.11", "finds lines", ("usr/bin/grep",), "libc-words", 12),
        ("gzip", "1.13", "packs single files", ("usr/bin/gunzip", "usr/bin/gzip"), "libc-words", 8),
        ("hostname", "3.23", "says what this machine is called", ("usr/bin/hostname",), "", 5),
        ("init-system-helpers", "1.66", "helps services that will not start here", (), "", 12),
        ("libc-words", "2.38", "the words that all others use", ("usr/lib/locale/C.utf8/LC_COLLATE",), "", 44),
        ("libcrypt-words", "4.4", "words that one may not say aloud", (), "libc-words", 10),
        ("libgcc-words", "13.2", "words between the words", (), "libc-words", 18),
        ("login", "4.13", "lets people in", ("usr/bin/login",), "base-passwd", 10),
        ("mawk", "1.3", "works on fields of lines", ("usr/bin/mawk",), "libc-words", 9),
        ("mount", "2.40", "attaches file systems", ("usr/bin/mount",), "libc-words", 11),
        ("sed", "4.9", "edits streams", ("usr/bin/sed",), "libc-words", 9),
        ("tar", "1.35", "makes one file of many", ("usr/bin/tar",), "libc-words", 17),
        ("tzdata", "2026a", "what time it is elsewhere", ("usr/share/zoneinfo/Etc/UTC",), "", 28),
        ("util-linux", "2.40", "tools that belong nowhere else", (), "libc-words", 21),
        ("wordlist", "1.0", "words, in order", ("usr/share/dict/words",), "", 6),
    )
)

_ZONES = {
    "Etc/UTC": 0, "Europe/Lisbon": 0, "Europe/Paris": 60, "Europe/Athens": 120, "Africa/Cairo": 120,
    "Asia/Karachi": 300, "Asia/Kolkata": 330, "Asia/Shanghai": 480, "Asia/Tokyo": 540, "Australia/Sydney": 600,
    "Pacific/Auckland": 720, "America/Halifax": -240, "America/New_York": -300, "America/Denver": -420,
}  # fmt: skip


def install(step: Step, packages: tuple[Package, ...]) -> None:
    """What a package manager writes down when it installs ``packages``; their own files are the caller's."""
    for package in packages:
        step.file(f"usr/share/doc/{package.name}/changelog", package.changelog)
        step.file(f"usr/share/doc/{package.name}/copyright", package.copyright)
        step.file(f"var/lib/dpkg/info/{package.name}.list", package.listing)
    paragraphs = "".join(package.status for package in packages)
    lines = "".join(f"status installed {package.name}:all {package.version}\n" for package in packages)
    for path, added in (("var/lib/dpkg/status", paragraphs), ("var/log/dpkg.log", lines)):
        if path in step.result.nodes:
            step.append(path, added)
        else:
            step.file(path, added)


def add_root_file_system(moment: int) -> Step:
    """`ADD rootfs.tar.xz /`."""
    step = Step(FileSystem(), moment)
    for path in ("boot", "dev", "etc", "home", "mnt", "opt", "proc", "run", "srv", "sys", "usr/local/bin", "var/tmp"):
        step.directory(path)
    step.directory("root", 0o700)
    step.directory("tmp", 0o1777)
    for name in ("bin", "lib", "sbin"):
        step.directory(f"usr/{name}")
        step.symlink(name, f"usr/{name}")
    _configuration(step)
    for name, purpose in _TOOLS.items():
        step.file(f"usr/bin/{name}", program(name, purpose, 8 + 3 * len(purpose)), 0o755)
    step.file("usr/bin/apt-get", program("apt-get", "fetch packages", 400), 0o755)
    step.file("usr/bin/dpkg", program("dpkg", "unpack packages", 600), 0o755)
    step.file("usr/bin/gunzip", program("gunzip or gzip", "unpack a file, or pack it, as it is called", 60), 0o755)
    step.hard_link("usr/bin/gzip", "usr/bin/gunzip")
    step.symlink("usr/bin/sh", "bash")
    step.symlink("usr/bin/awk", "mawk")
    step.file("usr/bin/mawk", program("mawk", "work on the fields of lines", 200), 0o755)
    step.file("usr/lib/locale/C.utf8/LC_COLLATE", collation(0x20, 15_000))
    step.file("usr/lib/locale/C.utf8/LC_TIME", "days begin at midnight; weeks on Monday; years when they are over\n")
    step.file("usr/share/i18n/charmaps/UTF-8", charmap(12_000))
    step.file("usr/share/dict/words", words(66_000))
    for zone, minutes in _ZONES.items():
        step.file(f"usr/share/zoneinfo/{zone}", f"{zone}: {minutes:+} minutes from UTC, summers not counted\n")
    for path in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "var/mail", "var/spool/cron"):
        step.directory(path)
    install(step, PACKAGES)
    return step


def _configuration(step: Step) -> None:
    for name in (
        "motd",
        "profile",
        "passwd",
        "group",
        "fstab",
        "nsswitch.conf",
        "services",
        "crontab",
        "logrotate.conf",
    ):
        step.file(f"etc/{name}", text(f"base/{name}"))
    step.file(
        "etc/shadow",
        "".join(f"{line.split(':')[0]}:*:20500:0:99999:7:::\n" for line in text("base/passwd").splitlines()),
        0o640,
    )
    step.file("etc/apt/sources.list", text("base/sources.list"))
    step.file("etc/apt/apt.conf.d/01keep-it-small", 'APT::Install-Recommends "false";\n')
    step.file("usr/lib/os-release", text("base/os-release"))
    step.symlink("etc/os-release", "../usr/lib/os-release")
    step.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    step.file("etc/quayside_version", "12.4\n")
    step.file("etc/bash.bashrc", text("base/bashrc"))
    step.file("etc/skel/.bashrc", text("base/bashrc"))
    step.file("root/.bashrc", text("base/bashrc"))
    step.file("home/harbour/.bashrc", text("base/bashrc"))
    step.directory("etc/profile.d")
    step.directory("etc/logrotate.d")
    step.file("etc/cron.daily/logrotate", "#!/bin/sh\nexec logrotate /etc/logrotate.conf\n", 0o755)
    step.file("etc/cron.daily/words", "#!/bin/sh\nwc -l /usr/share/dict/words >> /var/log/words.log\n", 0o755)
