"""devicemapper: every layer is a thin device in one pool, a snapshot of its parent's, with a whole file system inside.

| below ``devicemapper/`` | what |
| --- | --- |
| ``metadata/<id>`` | docker's record of one device (:mod:`layerscope.formats.device_record`) |
| ``metadata/base`` | the same of the device that all bottom layers are snapshots of: an empty file system |
| ``metadata/deviceset-metadata``, ``transaction-metadata`` | which file system is inside, the last change to the pool |
| ``metadata/.tmp*``, ``*.migrated`` | leftovers |
| ``devicemapper/metadata``, ``devicemapper/data`` | the pool's halves, sparse files; absent where they are devices |
| ``mnt/<id>/`` | mount point, an empty directory (or none) when it isn't mounted |

Inside a device the layer's files lie in ``rootfs``. Who is whose snapshot isn't recorded here; the layer records tell.
Source: moby daemon/graphdriver/devmapper/; seen with 20.10.24 on ext4 and xfs.
"""

from __future__ import annotations

from layerscope.drivers.devicemapper.driver import DeviceMapper

__all__ = ["DeviceMapper"]
