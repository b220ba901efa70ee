"""The images of the shop: what each instruction of their build files did."""

from __future__ import annotations

from msgspec import Struct

from layerscope.demo.base_image import PACKAGES as BASE_PACKAGES
from layerscope.demo.base_image import install
from layerscope.demo.file_system import FileSystem, Step
from layerscope.demo.generated import (
    Package,
    archive,
    bundle,
    catalogue,
    collation,
    harbour,
    package_index,
    program,
    stylesheet,
    tide_table,
)
from layerscope.demo.texts import text

_HTML = "usr/share/nginx/html"

_WEB_PACKAGES = (
    Package("nginx", "1.26", "a web server, in words", ("usr/sbin/nginx", "etc/nginx/nginx.conf"), "libicu-words", 48),
    Package("nginx-common", "1.26", "the web server's configuration", ("etc/nginx/mime.types",), "", 20),
    Package("libicu-words", "72.1", "how the world sorts", ("usr/lib/icu/72/collation.txt",), "libc-words", 26),
    Package("libpcre-words", "10.42", "patterns, and what they match", ("usr/lib/libpcre.txt",), "libc-words", 22),
    Package("ssl-words", "3.2", "what is said before the secret", ("usr/lib/libssl.txt",), "libc-words", 33),
)
_CURL_PACKAGES = (
    Package("curl", "8.8", "fetches what has an address", ("usr/bin/curl",), "libcurl-words", 38),
    Package("libcurl-words", "8.8", "the words that curl uses", ("usr/lib/libcurl.txt",), "ssl-words", 38),
    Package("ca-words", "2026", "whom to believe", ("etc/ssl/certs/believed.txt",), "", 12),
)
_PYTHON_PACKAGES = (
    Package("python3", "3.11", "a language, in words", ("usr/bin/python3.11",), "libc-words", 30),
    Package("python3-pip", "24.0", "fetches what is written in it", ("usr/bin/pip",), "python3", 22),
)
_DATABASE_PACKAGES = (
    Package("tidedb-16", "16.2", "a database that comes and goes", ("usr/sbin/tidedb",), "ssl-words", 34),
    Package("ssl-words", "3.2", "what is said before the secret", ("usr/lib/libssl.txt",), "libc-words", 33),
)


# ------------------------------------------------------------------ shop/web
def install_nginx(below: FileSystem, moment: int) -> Step:
    """`RUN apt-get install nginx`, which cleans up behind itself."""
    step = Step(below, moment)
    install(step, _WEB_PACKAGES)
    step.append("etc/passwd", "www:x:101:101:web server:/nonexistent:/usr/sbin/nologin\n")
    step.append("etc/group", "www:x:101:\n")
    step.append("etc/shadow", "www:!:20523::::::\n")
    for name in ("nginx.conf", "mime.types"):
        step.file(f"etc/nginx/{name}", text(f"web/{name}"))
    step.file("etc/nginx/conf.d/default.conf", text("web/default.conf"))
    for name in ("gzip.conf", "security-headers.conf", "cache.conf"):
        step.file(f"etc/nginx/snippets/{name}", text(f"web/{name}"))
    step.file("etc/logrotate.d/nginx", text("web/logrotate"))
    step.file("docker-entrypoint.d/10-listen.sh", text("web/10-listen.sh"), 0o755)
    step.file("docker-entrypoint.d/20-api.sh", text("web/20-api.sh"), 0o755)
    step.file("usr/sbin/nginx", program("nginx", "serve pages to whoever asks", 3_600), 0o755)
    step.file("usr/lib/icu/72/collation.txt", collation(0x4E00, 14_000))
    step.file("usr/lib/libpcre.txt", program("libpcre", "match a pattern", 1_500))
    step.file("usr/lib/libssl.txt", program("libssl", "agree on a secret in public", 2_400))
    step.file(f"{_HTML}/index.html", text("web/welcome.html"))
    step.file(f"{_HTML}/50x.html", text("web/50x.html"))
    step.file(f"{_HTML}/assets/old-logo.svg", text("shop/old-logo.svg"))
    step.file(f"{_HTML}/assets/welcome.css", "body { font-family: serif; margin: 4rem; }\n")
    step.file(f"{_HTML}/assets/welcome.js", 'document.title += " (and runs)";\n')
    for path in ("var/log/nginx", "var/cache/nginx", "var/lib/nginx"):
        step.directory(path)
    return step


def copy_entrypoint(below: FileSystem, moment: int) -> Step:
    """`COPY docker-entrypoint.sh /`."""
    step = Step(below, moment)
    step.file("docker-entrypoint.sh", text("web/docker-entrypoint.sh"), 0o755)
    return step


def install_curl(below: FileSystem, moment: int) -> Step:
    """`RUN apt-get install curl`, which leaves its cache behind."""
    step = Step(below, moment)
    install(step, _CURL_PACKAGES)
    step.file("usr/bin/curl", program("curl", "fetch what has an address", 900), 0o755)
    step.file("usr/lib/libcurl.txt", program("libcurl", "know forty ways to fetch", 1_600))
    believed = (f"{n:>4}  The {kind} of {place}\n" for n, (kind, place) in enumerate(_AUTHORITIES, 1))
    step.file(
        "etc/ssl/certs/believed.txt", "Who is believed when they say that a key is somebody's:\n\n" + "".join(believed)
    )
    offered = (*BASE_PACKAGES, *_WEB_PACKAGES, *_CURL_PACKAGES, *_PYTHON_PACKAGES, *_DATABASE_PACKAGES[:1])
    for suite, copies in (("heron", 24), ("heron-updates", 9), ("heron-security", 5)):
        step.file(f"var/lib/apt/lists/deb.quayside.example_dists_{suite}_Packages", package_index(offered, copies))
    for package, length in zip(_CURL_PACKAGES, (2_600, 3_900, 1_100), strict=True):
        step.file(f"var/cache/apt/archives/{package.name}_{package.version}_all.deb", archive(package, length))
    step.file("var/cache/apt/pkgcache.txt", package_index(offered, 12))
    return step


_AUTHORITIES = tuple(
    (kind, place)
    for kind in ("harbour master", "lighthouse keeper", "post office", "town hall", "ferry office", "weather station")
    for place in (
        "Anholt",
        "Bornholm",
        "Fanø",
        "Juist",
        "Læsø",
        "Öland",
        "Rügen",
        "Sylt",
        "Texel",
        "Usedom",
        "Vlieland",
    )
)


class Pages(Struct, frozen=True):
    """What differs between two versions of the shop's pages."""

    stem: str
    modules: int
    rules: int
    waves: int
    boats: int


_PAGES = {
    "2.3": Pages("91c07d", 700, 240, 140, 100),
    "2.4": Pages("3f2c91", 1_100, 400, 80, 60),
    "2.5": Pages("b8d51e", 1_600, 420, 120, 80),
}


def deploy(below: FileSystem, moment: int, version: str, *, tidy: bool, broken: bool = False) -> Step:
    """The shop's pages of one version. ``tidy``: what was there before is removed first."""
    step = Step(below, moment)
    if tidy:
        step.remove(f"{_HTML}/50x.html")
        step.remove(f"{_HTML}/assets")
        step.directory(f"{_HTML}/assets")
    pages = _PAGES[version]
    step.file(f"{_HTML}/index.html", text("shop/index.html").replace("3f2c91", pages.stem))
    script = bundle(text("shop/app.js"), version, pages.modules)
    if broken:
        script = script[: len(script) // 3] + "\n/* the build stopped here: no space left on device */\n"
    step.file(f"{_HTML}/assets/app.{pages.stem}.js", script, 0o664)
    step.file(f"{_HTML}/assets/app.{pages.stem}.css", stylesheet(text("shop/app.css"), version, pages.rules), 0o664)
    step.file(f"{_HTML}/assets/hero.svg", harbour(pages.waves, pages.boats), 0o664)
    step.file(f"{_HTML}/assets/lantern.svg", text("shop/lantern.svg"), 0o664)
    step.file(f"{_HTML}/catalog.json", catalogue())
    step.file(f"{_HTML}/news.html", text("shop/news.html"))
    step.file(f"{_HTML}/robots.txt", text("shop/robots.txt"))
    step.file(f"{_HTML}/status", text("shop/status"))
    for name, source in (("index", "press"), ("spring-2026", "press-spring"), ("pier-4", "press-pier")):
        step.file(f"{_HTML}/press/{name}.html", text(f"shop/{source}.html"))
    step.file(f"{_HTML}/RELEASE.txt", text(f"shop/RELEASE-{version}"))
    step.file(f"{_HTML}/releases/{version}/NOTES", text(f"shop/RELEASE-{version}"))
    step.symlink(f"{_HTML}/current", f"releases/{version}")
    return step


def remove_caches(below: FileSystem, moment: int) -> Step:
    """`RUN rm -rf /var/cache/apt /var/lib/apt/lists/*`: too late, the bytes are in the layer below."""
    step = Step(below, moment)
    step.remove("var/cache/apt")
    for path in step.below("var/lib/apt/lists"):
        step.remove(path)
    return step


def chmod_assets(below: FileSystem, moment: int) -> Step:
    """`RUN chmod -R g-w …`: the same bytes once more, with another mode."""
    step = Step(below, moment)
    for path in step.below(f"{_HTML}/assets"):
        step.chmod(path, 0o644)
    return step


# ------------------------------------------------------------------ shop/api, shop/report
def install_python(below: FileSystem, moment: int) -> Step:
    """`RUN apt-get install python3`."""
    step = Step(below, moment)
    install(step, _PYTHON_PACKAGES)
    step.file("usr/bin/python3.11", program("python3", "read a text and do what it says", 4_200), 0o755)
    step.symlink("usr/bin/python3", "python3.11")
    step.file("usr/bin/pip", program("pip", "fetch what others wrote", 120), 0o755)
    for name in (
        "argparse",
        "asyncio",
        "datetime",
        "email",
        "functools",
        "http",
        "json",
        "logging",
        "pathlib",
        "socket",
        "ssl",
        "unittest",
    ):
        step.file(
            f"usr/lib/python3.11/{name}.py",
            f'"""{name}: the words of a module, without the module."""\n' * (4 * len(name)),
        )
    return step


def install_requirements(below: FileSystem, moment: int) -> Step:
    """`RUN pip install -r requirements.txt`."""
    step = Step(below, moment)
    site = "usr/local/lib/python3.11/site-packages"
    for name, version, parts in (
        ("harbourmaster", "3.1.0", 14),
        ("ropelength", "1.8.2", 5),
        ("tidedb_client", "16.2", 9),
    ):
        step.file(f"{site}/{name}/__init__.py", f'"""{name} {version}."""\n')
        for part in range(1, parts + 1):
            lines = "".join(f"knot_{line} = {part * line}\n" for line in range(1, 60 * part))
            step.file(f"{site}/{name}/part_{part:02}.py", f'"""{name}, part {part} of {parts}."""\n\n{lines}')
        step.file(
            f"{site}/{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    step.file("root/.cache/pip/wheels.txt", program("a wheel", "be unpacked once and kept for ever", 2_200))
    return step


def copy_requirements(below: FileSystem, moment: int) -> Step:
    """`COPY requirements.txt /srv/api/`."""
    step = Step(below, moment)
    step.file("srv/api/requirements.txt", text("api/requirements.txt"))
    return step


def copy_service(below: FileSystem, moment: int) -> Step:
    """`COPY shop_api/ /srv/api/shop_api/`."""
    step = Step(below, moment)
    for name in ("main", "articles", "tides"):
        step.file(f"srv/api/shop_api/{name}.py", text(f"api/{name}.py.txt"))
    step.file("srv/api/shop_api/__init__.py", "")
    return step


def copy_report(below: FileSystem, moment: int) -> Step:
    """`COPY report.py /srv/report/`."""
    step = Step(below, moment)
    step.file("srv/report/report.py", text("api/report.py.txt"))
    step.file("srv/report/tides.txt", tide_table(1_400))
    return step


# ------------------------------------------------------------------ shop/db
def install_database(below: FileSystem, moment: int) -> Step:
    """`RUN apt-get install tidedb-16`."""
    step = Step(below, moment)
    install(step, _DATABASE_PACKAGES)
    step.append("etc/passwd", "tidedb:x:102:102:tidedb:/var/lib/tidedb:/usr/sbin/nologin\n")
    step.append("etc/group", "tidedb:x:102:\n")
    step.file("usr/sbin/tidedb", program("tidedb", "keep rows until the tide takes them", 5_200), 0o755)
    step.file("usr/lib/libssl.txt", program("libssl", "agree on a secret in public", 2_400))
    step.file("etc/tidedb/tidedb.conf", text("db/tidedb.conf"))
    step.directory("var/lib/tidedb", 0o700)
    step.directory("var/log/tidedb")
    return step


def copy_seed(below: FileSystem, moment: int) -> Step:
    """`COPY tides.txt /docker-entrypoint.d/`."""
    step = Step(below, moment)
    step.file("docker-entrypoint.d/tides.txt", tide_table(3_000))
    return step
