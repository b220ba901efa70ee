"""bbolt database files, read from bytes: no lock, no mapping, nothing written.

:class:`Database` is one state of a file, chosen by its metas (:mod:`layerscope.formats.boltdb.meta`). A :class:`Bucket`
is a sorted map in it, whose pages (:mod:`layerscope.formats.boltdb.page`) are read when it is asked.

Source: go.etcd.io/bbolt page.go, bucket.go, db.go; seen with files of 1, 4 and 64 KiB pages and of docker 20.10.24.
"""

from __future__ import annotations

from layerscope.formats.boltdb.bucket import Bucket
from layerscope.formats.boltdb.database import Database

__all__ = ["Bucket", "Database"]
