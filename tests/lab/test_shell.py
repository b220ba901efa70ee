"""The small shell against busybox in a chroot over the kernel's overlay: the same tree afterwards, the same status."""

from __future__ import annotations

import io
import os
import stat as modes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live.engine import busybox

from layerscope.errors import UsageError
from layerscope.lab.shell.commands import CHANGING
from layerscope.lab.shell.looking import LOOKING
from layerscope.lab.shell.words import parse_script
from layerscope.services.lab.lab import Lab, new_lab, open_lab

SCRIPTS = {
    "echo": 'echo hello world > /a; echo \'single $x\' "double \\" q" >> /a; echo -n no newline >> /a',
    "escapes": "echo -e 'tab\\there\\nline\\\\' > /a; echo -ne 'x\\0101\\x41' > /b",
    "cat": "cat /etc/motd /etc/os-release > /both; cat < /etc/motd >> /both",
    "globs": (
        "rm /etc/*e*; cp /srv/www/* /tmp; echo /usr/*/d?c/* > /found; echo '/etc/*' \\* >> /found; "
        "echo none*fits >> /found"
    ),
    "mkdir": "mkdir /a /b; mkdir -p /c/d/e /c/d/f; mkdir -m 700 /g; mkdir -p -m 711 /h/i",
    "mkdir-fails": "mkdir /etc; mkdir /no/such; mkdir /ok",
    "rm": "rm /etc/motd; rm /nothing; rm -f /nothing; rm -r /srv; rm /usr; echo done > /done",
    "rmdir": "mkdir /e; rmdir /e; rmdir /etc; rmdir /opt",
    "and-or": (
        "true && echo yes > /a || echo no > /b; false && echo yes > /c || echo no > /d; false || false && echo x > /e"
    ),
    "cp": "cp /etc/motd /copy; cp /etc/motd /opt; cp -r /srv /srv2; cp -r /srv /opt; cp -a /home /home2; cp /etc /x",
    "cp-modes": (
        "chmod 4751 /etc/motd; chown 5:6 /etc/motd; cp /etc/motd /plain; cp -p /etc/motd /kept; "
        "cp -a /srv/www/current /l"
    ),
    "cp-over": "echo old > /f; ln -s /f /l; cp /etc/motd /l; cp -r /srv/www /srv/www2; cp -r /srv/www /srv/www2",
    "mv": (
        "mv /etc/motd /etc/new; mv /srv /srv2; mv /etc/group /opt; mv /opt /home/ada; mv /nothing /x; "
        "mv /var/log/app.log /tmp/"
    ),
    "mv-over": "mkdir -p /d/srv; mv /usr/share/doc/README /etc/motd; mv /home /d",
    "mv-cd": "cd /etc; mv motd ../m; mv ../m ./n; cd /usr/share/../..; mkdir here; cd ..; mkdir there",
    "ln": (
        "ln /etc/motd /hard; ln -s /etc/motd /soft; ln -s motd /etc/rel; ln -sf other /soft; ln /nothing /x; "
        "ln -s a /etc/motd"
    ),
    "chmod": (
        "chmod 600 /etc/motd; chmod u+x,go+r /etc/motd; chmod a-w,u=rwX /etc/group; chmod +x /etc/passwd; "
        "chmod g+s,+t /srv"
    ),
    "chmod-r": "chmod -R go-rwx /srv; chmod -R u=rwX,g=u /usr; chmod 2755 /home; chmod u-s,g-s /home; chmod g=o /var",
    "chown": (
        "chown 1000:1000 /etc/motd; chown ada /srv; chown :ada /usr; chown -R ada:root /home; "
        "chown -h 7:8 /srv/www/current"
    ),
    "chown-clears": "chmod 6755 /etc/motd; chown 1:1 /etc/motd; chmod 2644 /etc/group; chown 2:2 /etc/group",
    "touch": (
        "touch /new /etc/motd; touch -c /nothing; touch -d @86400 /etc/group /old; touch -h -d @5 /srv/www/current"
    ),
    "truncate": "truncate -s 5 /etc/motd; truncate -s 10K /new; truncate -c -s 1 /nothing",
    "dd": (
        "dd if=/etc/passwd of=/p bs=10 count=2 skip=1; dd if=/p of=/q seek=3 bs=4; "
        "dd if=/etc/motd of=/p bs=1 count=3 conv=notrunc"
    ),
    "comments": "# nothing\necho a > /a # and this\n\necho b > /b;\necho c \\\n d > /c",
    "append": "echo x >> /etc/motd; echo y >> /n; > /empty; echo z > /srv",
    "names": "echo x > '/a b'; mkdir '/ü'; echo \"q\" > /ü/\"d'q\"; cp '/a b' '/ü/c d'; mv /ü /v",
    "deep": "mkdir -p /a/b/c/d; echo x > /a/b/c/d/f; mv /a/b /b; rm -r /a; mkdir /a; cp -r /b /a; rm -rf /b/c/d",
    "opaque": "rm -r /srv; mkdir /srv; echo n > /srv/n; rm -r /usr/share; mkdir -p /usr/share/doc",
    "find": (
        "find /srv -name '*.css' > /found; find /etc -name '*.conf' >> /found; "
        "find /usr -maxdepth 1 >> /found; find /home -type d >> /found"
    ),
    "mknod": "mknod /pipe p; mknod /null c 1 3; mknod -m 600 /disk b 7 1; mknod /x c; mknod /pipe p",
    "redirect-fails": "echo x > /no/such/file; echo y > /etc; echo z > /ok",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    path = tmp_path / "lab"
    new_lab(path)
    with open_lab(path) as opened:
        opened.create("base:1.0", "web")
        before = os.umask(0o022)
        yield opened
        os.umask(before)


def facts(top: Path) -> dict[str, tuple[object, ...]]:
    """What every entry of a mounted tree is."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(folder, name)
            status = path.lstat()
            content: object = None
            if modes.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif modes.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif modes.S_ISCHR(status.st_mode) or modes.S_ISBLK(status.st_mode):
                content = status.st_rdev
            old = status.st_mtime_ns if status.st_mtime_ns < 10**18 else None
            links = None if modes.S_ISDIR(status.st_mode) else status.st_nlink
            key = str(path.relative_to(top))
            found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, links, old, content)
    return found


@pytest.mark.root
@pytest.mark.overlayfs
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts and enters a chroot")
@pytest.mark.skipif(busybox() is None, reason="no static busybox (apt-get install busybox-static)")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_tree_is_as_busybox_leaves_it(lab: Lab, tmp_path: Path, name: str) -> None:
    script = SCRIPTS[name]
    with lab.overlay("web") as overlay:
        told: list[str] = []
        status = lab.shell(overlay, io.BytesIO(), told.append).run(script)
    home = lab.path / "overlay2"
    container = lab.container("web")
    lower = (home / str(container.mount_id) / "lower").read_text().split(":")
    program = busybox()
    assert program is not None
    (tmp_path / "tool").mkdir()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for point in (ours, theirs):
        point.mkdir()
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    layers = ":".join(str(home / layer) for layer in lower)
    layer = home / str(container.mount_id)
    mine = f"lowerdir={layers},upperdir={layer / 'diff'},workdir={layer / 'work'}"
    other = f"lowerdir={layers},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    try:
        subprocess.run(["mount", "-t", "overlay", "-o", mine, "overlay", ours], check=True)
        subprocess.run(["mount", "-t", "overlay", "-o", other, "overlay", theirs], check=True)
        # The program lies in a directory that is not looked at; -e nothing: a failed command doesn't end the script.
        subprocess.run(["mount", "--bind", tmp_path / "tool", theirs / "sys"], check=True)
        (tmp_path / "tool" / "busybox").write_bytes(program.read_bytes())
        (tmp_path / "tool" / "busybox").chmod(0o755)
        for applet in LOOKING | CHANGING:
            (tmp_path / "tool" / applet).symlink_to("busybox")
        done = subprocess.run(
            ["/usr/sbin/chroot", theirs, "/sys/busybox", "sh", "-c", f"umask 022\n{script}"],
            env={"PATH": "/sys"},
            capture_output=True,
            text=True,
            check=False,
        )
        subprocess.run(["umount", theirs / "sys"], check=True)
        assert facts(ours) == facts(theirs), (told, done.stderr)
        assert status == (1 if done.returncode else 0), (told, done.stderr)
    finally:
        for point in (theirs / "sys", theirs, ours):
            if point.is_mount():
                subprocess.run(["umount", point], check=False)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'open", "no matching '"),
        ('echo "open', 'no matching "'),
        ("echo x >", "needs the name of a file"),
        ("ls | cat", "no pipes"),
        ("ls &", "no background jobs"),
        ("echo $(ls)", "no subshells"),
        ("&& ls", "needs a command before it"),
        ("ls && ", "needs a command behind it"),
    ],
)
def test_a_script_that_cant_be_taken_apart_does_nothing(script: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_script(f"rm /etc/motd\n{script}")


def test_words_keep_what_was_quoted() -> None:
    (command,) = parse_script(r"""echo a\ b 'c  d' "e\"f\n" g"h"'i' \* '*' *""")
    assert [word.text for word in command.words] == ["echo", "a b", "c  d", 'e"f\\n', "ghi", "*", "*", "*"]
    assert [word.pattern is not None for word in command.words] == [False] * 7 + [True]


def test_completion(lab: Lab) -> None:
    with lab.overlay("web") as overlay:
        shell = lab.shell(overlay, io.BytesIO(), print)
        assert shell.completions("tr", True) == ["true", "truncate"]
        assert shell.completions("/etc/p", False) == ["/etc/passwd"]
        assert shell.completions("/et", False) == ["/etc/"]
        shell.run("cd /etc")
        assert shell.completions("mo", False) == ["motd"]
        assert shell.completions("../us", False) == ["../usr/"]
        assert shell.completions("/no/such", False) == []


def test_output_and_complaints(lab: Lab) -> None:
    out, told = io.BytesIO(), []
    with lab.overlay("web") as overlay:
        shell = lab.shell(overlay, out, told.append)
        assert (
            shell.run("cd /etc; pwd; cat motd nothing; stat -c '%n %a %u:%g %s %F' motd; nope; ls app; exit; ls") == 0
        )
        assert shell.ended
    assert out.getvalue().decode().splitlines() == [
        "/etc",
        "A lab of layers. Nothing here can break.",
        "motd 644 0:0 41 regular file",
        "app.conf",
    ]
    assert told == [
        "cat: /etc/nothing: No such file or directory",
        "nope: there is no such command here; help lists those that there are",
    ]


def test_a_script_stops_at_the_first_failure_when_asked(lab: Lab) -> None:
    with lab.overlay("web") as overlay:
        shell = lab.shell(overlay, io.BytesIO(), lambda _: None)
        assert shell.run("rm /nothing; echo x > /a", stop_on_error=True) == 1
        assert not overlay.access("/a", os.F_OK)
        assert shell.run("rm /nothing; echo x > /a") == 0
        assert overlay.read_bytes("/a") == b"x\n"


def test_xattrs(lab: Lab) -> None:
    out = io.BytesIO()
    with lab.overlay("web") as overlay:
        shell = lab.shell(overlay, out, print)
        script = "xattr -w user.a text /etc/motd; xattr -w user.b 0x00ff /etc/motd; xattr -l /etc/motd"
        assert shell.run(f"{script}; xattr -p user.a /etc/motd; xattr -d user.a /etc/motd; xattr -l /etc/motd") == 0
        assert overlay.getxattr("/etc/motd", "user.b") == b"\x00\xff"
    assert out.getvalue() == b"user.a=text\nuser.b=0x00ff\ntext\nuser.b=0x00ff\n"
