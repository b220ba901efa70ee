"""The life of a path as the lines of a table: one a level that did something, one a gap between them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from layerscope.model.blame import BlameEvent
from layerscope.model.level import Role
from layerscope.services.file.copies import Copy, Life, Step
from layerscope.tui.glyphs import Mark
from layerscope.tui.units import size_text

_FIELD_WORDS = {"uid": "owner", "gid": "group", "rdev": "device"}
_MARKS = {
    BlameEvent.CREATED: Mark.ADDED,
    BlameEvent.RECREATED: Mark.ADDED,
    BlameEvent.MODIFIED: Mark.MODIFIED,
    BlameEvent.METADATA: Mark.COPIED,
    BlameEvent.REPLACED: Mark.MODIFIED,
    BlameEvent.DELETED: Mark.WHITEOUT,
    BlameEvent.HIDDEN: Mark.HIDDEN,
}


class LifeRow(Struct, frozen=True):
    """One line: levels ``first`` to ``last`` (``first`` is the lower one), and what they did.

    ``step`` is None for levels that hold nothing there. ``role`` is "" for a gap of several levels. ``above``: above
    the cut, so what is said here isn't so in the view that is looked at. ``serves``: the copy that the view shows.
    """

    first: int
    last: int
    role: str
    mark: Mark
    words: str
    step: Step | None = None
    above: bool = False
    serves: bool = False

    @property
    def copy(self) -> Copy | None:
        """The copy that the level stores."""
        return self.step.copy if self.step else None

    @property
    def levels(self) -> str:
        """``8`` or ``3-7``."""
        return f"{self.last}" if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def size(self) -> str:
        """The copy's size; "" for a directory and for what stores none."""
        copy = self.copy
        if copy is None or copy.type not in ("file", "symlink"):
            return ""
        return size_text(copy.stat.st_size)

    @property
    def content(self) -> str:
        """The first and last digits of the content's SHA-256; ``?`` where it wasn't read, "" where there is none."""
        if self.step is None or self.copy is None or not self.copy.is_file:
            return ""
        return "?" if self.step.sha256 is None else short_digest(self.step.sha256)


def short_digest(digest: str) -> str:
    """Enough of a digest to tell two apart at a glance: 4 digits from its beginning, 2 from its end."""
    return f"{digest[:4]}…{digest[-2:]}"


def life_rows(life: Life, cut: int) -> list[LifeRow]:
    """The rows of a life, top first, seen from the cut ``cut``."""
    rows: list[LifeRow] = []
    deciding = life.at(cut)
    above = life.levels + 1
    for step in life.steps:
        number = step.level.number
        rows.extend(_gap(number + 1, above - 1, cut))
        role = "" if step.level.role is Role.IMAGE else step.level.role.value
        serves = step is deciding and step.copy is not None
        rows.append(LifeRow(number, number, role, mark_of_step(step), words_of(step), step, number > cut, serves))
        above = number
    rows.extend(_gap(1, above - 1, cut))
    return rows


def _gap(first: int, last: int, cut: int) -> Iterable[LifeRow]:
    """Levels that hold nothing; in two rows if the cut lies between them."""
    for low, high in ((max(first, cut + 1), last), (first, min(last, cut))):
        if low <= high:
            yield LifeRow(low, high, "", Mark.WITHIN, "not present", above=low > cut)


def mark_of_step(step: Step) -> Mark:
    """The sign of what a level did."""
    if step.copy is not None and step.copy.opaque and step.event is not BlameEvent.CREATED:
        return Mark.OPAQUE
    if step.event is None:
        return Mark.WITHIN
    if step.event is BlameEvent.CREATED and step.level.number == 1:
        return Mark.SAME
    return _MARKS[step.event]


def words_of(step: Step) -> str:
    """What a level did to the path, in a few words."""
    copy, event, fields = step.copy, step.event, step.fields
    if event is None:
        return "copied up for what is in it"
    if event is BlameEvent.CREATED:
        return "there from the beginning" if step.level.number == 1 else "added"
    if event is BlameEvent.RECREATED:
        return "made anew"
    if event is BlameEvent.DELETED:
        return "deleted by a whiteout"
    if event is BlameEvent.HIDDEN:
        return "hidden by its parent"
    if event is BlameEvent.REPLACED:
        if copy is not None and copy.opaque and "type" not in fields:
            return "opaque: hides what is below"
        return f"replaced by a {copy.type}" if copy is not None else "replaced"
    if event is BlameEvent.METADATA:
        if "content?" in fields:
            return "copied up, too large to compare"
        if not fields:
            return "copied up, nothing differs"
        return "same content, other " + ", ".join(field_words(fields))
    return "target changed" if "target" in fields else "copied up, changed"


def field_words(fields: Iterable[str]) -> list[str]:
    """Names of fields in plain words, each once."""
    words = (_FIELD_WORDS.get(field, field.partition(":")[0]) for field in fields)
    return list(dict.fromkeys(words))
