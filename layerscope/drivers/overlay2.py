"""overlay2: one directory a layer, holding what that layer changed, in the kernel's own marks.

Where what lies: :class:`layerscope.drivers.folders.LinkedLayers`. Source: moby daemon/graphdriver/overlay2/overlay.go;
seen with 20.10.24 and 26.1.5.
"""

from __future__ import annotations

from layerscope.drivers.folders import LinkedLayers


class Overlay2(LinkedLayers):
    """The overlay2 driver on one root."""

    name = "overlay2"
    home = "overlay2"
    sizes_by_walk = True
