"""Long texts, made by rule: they give the layers their sizes."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from msgspec import Struct

_ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v")
_VOWELS = ("a", "e", "i", "o", "u")


def words(count: int) -> str:
    """Words that nobody has said yet, in order, one a line."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    stream = ("".join(parts) for parts in itertools.product(syllables, repeat=3))
    return "".join(f"{word}\n" for word in itertools.islice(stream, count))


def collation(first: int, count: int) -> str:
    """A table that says which character sorts where: by its number."""
    return "% Order of characters, as the C locale has it.\n\n" + "".join(
        f"<U{code:04X}>  sorts at  {code:>6}\n" for code in range(first, first + count)
    )


def charmap(count: int) -> str:
    """A table from code point to its bytes in UTF-8."""
    lines = ["<code_set_name> UTF-8", "<mb_cur_max>    4", "CHARMAP"]
    for code in itertools.islice((code for code in itertools.count(0xA0) if not 0xD800 <= code <= 0xDFFF), count):
        lines.append(f"<U{code:04X}>     " + "".join(f"/x{byte:02x}" for byte in chr(code).encode()))
    return "\n".join([*lines, "END CHARMAP", ""])


class Package(Struct, frozen=True):
    """A package as a package manager would list it; ``notes`` is how long its changelog is."""

    name: str
    version: str
    summary: str
    files: tuple[str, ...] = ()
    depends: str = ""
    notes: int = 6

    @property
    def status(self) -> str:
        """Its paragraph in the list of what is installed."""
        depends = f"Depends: {self.depends}\n" if self.depends else ""
        return (
            f"Package: {self.name}\nStatus: install ok installed\nPriority: optional\nSection: main\n"
            f"Installed-Size: {4 * (len(self.files) + self.notes)}\n"
            "Maintainer: The harbour crew <crew@quayside.example>\n"
            f"Architecture: all\nVersion: {self.version}\n{depends}Description: {self.summary}\n"
            " This package holds words, not programs. It was written for a demonstration of layers.\n\n"
        )

    @property
    def listing(self) -> str:
        """The list of its files."""
        own = (f"usr/share/doc/{self.name}/changelog", f"usr/share/doc/{self.name}/copyright", *self.files)
        folders = {"/."}
        for path in own:
            while path := path.rpartition("/")[0]:
                folders.add(f"/{path}")
        return "".join(f"{path}\n" for path in sorted(folders | {f"/{path}" for path in own}))

    @property
    def changelog(self) -> str:
        """What its makers did, newest first."""
        deeds = itertools.cycle(_DEEDS[len(self.name) % len(_DEEDS) :] + _DEEDS[: len(self.name) % len(_DEEDS)])
        when = datetime(2026, 1, 20, 9, 0, tzinfo=UTC)
        entries = []
        for number in range(self.notes, 0, -1):
            lines = "".join(f"  * {next(deeds)}\n" for _ in range(2 + number % 3))
            entries.append(
                f"{self.name} ({self.version}-{number}) heron; urgency=low\n\n{lines}\n"
                f" -- The harbour crew <crew@quayside.example>  {when:%a, %d %b %Y %H:%M:%S} +0000\n"
            )
            when -= timedelta(days=17 + len(self.name))
        return "\n".join(entries)

    @property
    def copyright(self) -> str:
        """Whose it is."""
        return (
            f"{self.name} {self.version}\n\nWritten for a demonstration, by the makers of that demonstration.\n"
            "MIT licence, like all of it.\n"
        )


_DEEDS = (
    "Say what was found, not only that it was wrong.",
    "Close a file that was open since the last full moon.",
    "Accept names with a blank in them.",
    "Sort by bytes, so that every machine agrees.",
    "Write the manual page for the option that everybody asked about.",
    "No change; built again with the new year.",
    "Stop following a link that leads out of the directory.",
    "Use the same word for the same thing in all messages.",
    "Keep the order of lines when there is nothing to sort.",
    "Take less memory on long lists.",
    "Remove an option that nobody was able to describe.",
)


def program(name: str, purpose: str, length: int = 1) -> str:
    """The text that stands where a program would be; ``length`` times the words of its purpose."""
    why = "A program would be here. This image is for looking at, so it has words instead."
    return f"#!/bin/false\n{name}: {purpose}.\n\n{why}\n" + "".join(
        f"{line:>5}  {name} would {purpose}.\n" for line in range(1, length)
    )


def package_index(packages: Sequence[Package], copies: int) -> str:
    """What a package server offers: the packages, in ``copies`` versions."""
    return "".join(
        f"Package: {package.name}\nVersion: {package.version}+{release}\nArchitecture: all\n"
        f"Filename: pool/main/{package.name[0]}/{package.name}/{package.name}_{package.version}+{release}_all.deb\n"
        f"Description: {package.summary}\n\n"
        for package in packages
        for release in range(copies, 0, -1)
    )


def archive(package: Package, length: int) -> str:
    """What stands for a package's file: a table of contents that is as long as wanted."""
    lines = (
        f"{number:>6}  {package.name} {package.version}  part {number % 97:02} of the package\n"
        for number in range(length)
    )
    return f"!<words>\n{package.name} {package.version}: {package.summary}\n\n" + "".join(lines)


# ------------------------------------------------------------------ the shop
_KINDS = (
    ("rope", 340),
    ("lantern", 2400),
    ("anchor", 8900),
    ("bell", 5200),
    ("oar", 3100),
    ("hook", 780),
    ("buoy", 1950),
)
_MAKES = (
    "plain",
    "tarred",
    "brass",
    "storm",
    "harbour",
    "northern",
    "grandmother's",
    "unsinkable",
    "folding",
    "Sunday",
)
_SIZES = ("for a dinghy", "for a cutter", "for a ferry", "for a shelf", "for two", "of medium length")


@cache
def catalogue() -> str:
    """All articles of the shop, as JSON."""
    articles = [
        {
            "number": number,
            "name": f"{make} {kind} {size}",
            "text": f"A {make} {kind} {size}. Made by hand on Pier 4, where the tide lets us.",
            "cents": cents + 10 * (number % 40),
            "image": f"/assets/{kind}.svg",
        }
        for number, ((kind, cents), make, size) in enumerate(itertools.product(_KINDS, _MAKES, _SIZES), 1001)
    ]
    return json.dumps(articles, indent=1, ensure_ascii=False) + "\n"


def bundle(head: str, version: str, count: int) -> str:
    """A script as bundlers write it: our own part, then the parts of others."""
    modules = (
        f'/* module {number:04} */ define("lantern/part-{number:04}", (need) => {{\n'
        f'  const before = need("lantern/part-{number - 1:04}");\n'
        f"  return {{ ...before, part{number:04}: (boat) => boat.add({{ part: {number}, of: {count} }}) }};\n}});\n"
        for number in range(1, count + 1)
    )
    return head.replace("@VERSION@", version) + "".join(modules)


def stylesheet(head: str, version: str, count: int) -> str:
    """A style sheet with many rules that differ in a number."""
    rules = (
        f".rope-{n} {{ width: {n}rem; border-bottom: {1 + n % 4}px solid var(--rope); }}\n" for n in range(1, count + 1)
    )
    return head.replace("@VERSION@", version) + "\n" + "".join(rules)


def harbour(waves: int, boats: int) -> str:
    """A drawing of the harbour: sky, sea in lines, boats in rows."""
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 400">',
        '<rect width="1200" height="400" fill="#0d1b2a"/>',
        '<circle cx="980" cy="90" r="40" fill="#ffb703"/>',
    ]
    swell = [(x, 200 + round(6 * math.sin(x / 40))) for x in range(0, 1201, 12)]
    for wave in range(waves):
        crest = " ".join(f"{x},{y + 2 * wave}" for x, y in swell)
        lines.append(f'<polyline points="{crest}" fill="none" stroke="#1b4965" stroke-opacity=".{20 + wave % 60}"/>')
    for boat in range(boats):
        x, y = 20 + 58 * (boat % 20), 190 + 30 * (boat // 20)
        lines.append(f'<path d="M{x} {y}h30l-6 8h-18zM{x + 15} {y}v-24l12 20z" fill="#e8f1f2"/>')
    return "\n".join([*lines, "</svg>", ""])


_AGENTS = ("Lighthouse/3.1", "Compass/12.0 (mobile)", "Spyglass/7.4", "Telegraph/2.0 (reads alone)")


def access_log(pages: Sequence[tuple[str, int]], start: datetime, visits: int, apart: timedelta) -> str:
    """The visitors of a morning, each of whom gets all ``pages`` (with their lengths), one line a request.

    Their addresses are those kept for documentation.
    """
    return "".join(_visit_lines(pages, start, visits, apart))


def _visit_lines(pages: Sequence[tuple[str, int]], start: datetime, visits: int, apart: timedelta) -> Iterator[str]:
    for visit in range(visits):
        when = start + visit * apart
        address = f"{('192.0.2', '198.51.100', '203.0.113')[visit % 3]}.{1 + visit * 7 % 64}"
        for path, length in pages:
            yield (
                f'{address} - - [{when:%d/%b/%Y:%H:%M:%S} +0000] "GET {path} HTTP/1.1" 200 {length} '
                f'"https://shop.example/" "{_AGENTS[visit % len(_AGENTS)]}"\n'
            )


def json_log(lines: Sequence[tuple[datetime, str, str]]) -> str:
    """A container's log as the engine's json-file driver keeps it: (time, stream, text)."""
    return "".join(
        json.dumps(
            {"log": f"{text}\n", "stream": stream, "time": f"{when:%Y-%m-%dT%H:%M:%S}.{number % 1000:03}418204Z"},
            separators=(",", ":"),
        )
        + "\n"
        for number, (when, stream, text) in enumerate(lines, 417)
    )


def tide_table(rows: int) -> str:
    """High water, twice a day: what fills the database."""
    first, period = datetime(2026, 1, 1, 3, 40, tzinfo=UTC), timedelta(hours=12, minutes=25)
    return "".join(
        f"{number:>6}  {first + number * period:%Y-%m-%d %H:%M}  high  {310 + round(60 * math.cos(number / 14))} cm\n"
        for number in range(rows)
    )
