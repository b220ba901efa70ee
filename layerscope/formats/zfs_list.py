"""What ``zfs list -Hp`` prints: one dataset or snapshot a line, exact bytes, tabs between the columns.

The columns are those of :data:`COMMAND`, in its order; ``-`` stands where a property has no meaning. Source:
zfs-list(8) and zfsprops(7) of OpenZFS 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from layerscope.errors import CorruptError

COLUMNS = (
    *("name", "used", "referenced", "usedbydataset", "usedbysnapshots", "usedbychildren", "written"),
    *("origin", "defer_destroy", "compressratio", "creation", "quota", "mountpoint"),
)
COMMAND = f"zfs list -Hp -t filesystem,snapshot -o {','.join(COLUMNS)} -r DATASET"
_MOST_BYTES = 20


class Dataset(Struct, frozen=True):
    """One dataset with what its snapshots say; bytes, None where zfs tells nothing.

    ``name`` is the last part of the dataset's name, that of its layer; ``origin`` the same of the dataset that it was
    cloned from ("" if it wasn't). ``written`` counts from the clone on: that of all its own snapshots, and since the
    last.
    """

    name: str
    referenced: int | None
    usedbydataset: int | None
    written: int | None
    origin: str


def parse_zfs_list(text: str) -> Mapping[str, Dataset]:
    """The datasets by the last part of their names; those at the top of the listing too.

    Raises:
        CorruptError: a line hasn't these columns, or no number where one belongs.
    """
    datasets: dict[str, dict[str, str]] = {}
    snapshots: dict[str, int] = {}
    for number, row in _rows(text):
        full, mark, _ = row["name"].partition("@")
        if mark:
            snapshots[full] = snapshots.get(full, 0) + (_bytes(row["written"], number) or 0)
        else:
            datasets[full] = {**row, "number": str(number)}
    found = {}
    for full, row in datasets.items():
        number = int(row["number"])
        since_last = _bytes(row["written"], number)
        name = full.rpartition("/")[2]
        found[name] = Dataset(
            name,
            _bytes(row["referenced"], number),
            _bytes(row["usedbydataset"], number),
            None if since_last is None else since_last + snapshots.get(full, 0),
            "" if row["origin"] == "-" else row["origin"].partition("@")[0].rpartition("/")[2],
        )
    return found


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        values = line.split("\t")
        if len(values) != len(COLUMNS):
            wanted = f"line {number} has {len(values)} columns, not {len(COLUMNS)}"
            raise CorruptError(f"{wanted}: it must be what this prints: {COMMAND}")
        yield number, dict(zip(COLUMNS, values, strict=True))


def _bytes(text: str, number: int) -> int | None:
    if text == "-":
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_BYTES:
        raise CorruptError(f"line {number}: {text[:40]!r} is no number of bytes; was -p left out?")
    return int(text)
