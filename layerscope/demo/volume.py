"""What the database of the story has in its volume."""

from __future__ import annotations

from layerscope.demo.generated import tide_table
from layerscope.demo.volume_record import volume_database
from layerscope.lab.root.disk import Disk
from layerscope.lab.root.records import VOLUMES

_NAME = "db-data"
_DATA = f"{VOLUMES}/{_NAME}/_data"


def fill_volume(disk: Disk) -> None:
    """Write the database's files into its volume, which is there and empty, and the volume's record."""
    disk.write(f"{VOLUMES}/metadata.db", volume_database(_NAME, {"shop.keep": "yes"}), 0o600)
    articles = "".join(f"{n:>6}  article {n}, in stock: {n % 13}\n" for n in range(1001, 1421))
    journal = "".join(f"{n:>8}  wrote row {n % 2_200}\n" for n in range(1, 4_001))
    for folder in ("base", "journal"):
        disk.make_directory(f"{_DATA}/{folder}", 0o755)
    for name, content in (
        ("VERSION", "16.2\n"),
        ("base/articles.rows", articles),
        ("base/tides.rows", tide_table(2_200)),
        ("journal/000000010000000000000001", journal),
    ):
        disk.write(f"{_DATA}/{name}", content.encode(), 0o644)
