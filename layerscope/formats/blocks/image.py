"""Which file system or disk image the beginning of a file is, told from its magic number.

Only to say what has to be done with it: roots on a file system that isn't mounted can't be read. Sources: the kernel's
``include/uapi/linux/magic.h`` and each system's on-disk format; QEMU docs/interop/qcow2.rst; UEFI specification 5.3.2.
"""

from __future__ import annotations

HEAD_BYTES = 0x10048
"""How much of a file :func:`disk_image` wants to see."""

_MAGICS = (
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (0x438, b"\x53\xef", "an ext file system"),
    (0, b"XFSB", "an xfs file system"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"LUKS\xba\xbe", "an encrypted volume"),
    (0x218, b"LVM2 001", "a physical volume of LVM"),
    (0x200, b"EFI PART", "a disk with partitions"),
    (0, b"QFI\xfb", "a qcow2 disk"),
    (0, b"KDMV", "a VMDK disk"),
    (0, b"vhdxfile", "a VHDX disk"),
    (0x1FE, b"\x55\xaa", "a disk with partitions"),
)


def disk_image(head: bytes) -> str | None:
    """What a file that begins with ``head`` is, in words with their article; None if it is none of these."""
    return next((what for at, magic, what in _MAGICS if head[at : at + len(magic)] == magic), None)
