"""Storage drivers: from a cache ID to the files of one layer. A new driver is one file here and one line below."""

from __future__ import annotations

from layerscope.drivers.base import Driver, DriverFactory, RecordsLower, ShortNames
from layerscope.drivers.overlay2 import Overlay2

DRIVERS: dict[str, DriverFactory] = {
    "overlay2": Overlay2,
}

__all__ = ["DRIVERS", "Driver", "DriverFactory", "RecordsLower", "ShortNames"]
