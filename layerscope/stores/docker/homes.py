"""What a storage driver keeps in its directory: for each layer a part whose names are known, and the layer's own files.

| driver | below `<driver>/` |
| --- | --- |
| overlay2, fuse-overlayfs | `<id>/{diff,link,lower,committed,work,merged}`, `l/<short name>` -> `../<id>/diff` |
| overlay | `<id>/{root}` or `<id>/{upper,work,merged,lower-id}` |
| vfs | `dir/<id>` |
| btrfs | `subvolumes/<id>`, `quotas/<id>` |
| zfs | `graph/<id>`, mounted while in use |
| aufs | `diff/<id>`, `layers/<id>`, `mnt/<id>` |
| devicemapper | `devicemapper/{data,metadata}`, `metadata/<id>`, `mnt/<id>/` |

Source: moby daemon/graphdriver; seen with 20.10.24.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from layerscope.hostfs import Directory
from layerscope.model.claim import Category, Claim, Place
from layerscope.stores.docker.cache_claims import CacheClaims
from layerscope.stores.overlay_places import overlay_layer, short_names

_PROBE = re.compile(r"(opaque-bug-check|userxattr-check|check-overlayfs-support|metacopy-check|d-type-supported)\w*")


def home(driver: str, root: Directory, prefix: str, claims: CacheClaims) -> Place:
    """The directory of ``driver`` in a root; ``prefix`` stands before its path."""
    own = Claim(f"{prefix}{driver}", Category.RECORD, "docker", f"the storage driver {driver}")
    make = _HOMES.get(driver)
    return Place(own) if make is None else make(own, root.enter(driver), claims)


def _overlay2(own: Claim, directory: Directory, claims: CacheClaims) -> Place:
    probe = Claim(f"{own.path}/check", Category.TEMPORARY, "docker", "docker's test of the file system")

    def layer(name: str) -> Place | None:
        if name == "l":
            return short_names(own, directory, claims)
        if _PROBE.fullmatch(name):
            return Place(probe, whole=True)
        claim = claims.claim(name)
        return None if claim is None else overlay_layer(claim, "diff", strict="fuse" not in own.path)

    names = {"backingFsBlockDev": Place(own), ".has-mount-program": Place(own)}
    return Place(own, names=names, rule=layer)


def _overlay(own: Claim, directory: Directory, claims: CacheClaims) -> Place:
    def layer(name: str) -> Place | None:
        if name.startswith("tmproot"):
            return Place(Claim(f"{own.path}/{name}", Category.TEMPORARY, "docker", "a layer being made"), whole=True)
        claim = claims.claim(name)
        if claim is None:
            return None
        place = overlay_layer(claim, "upper")
        if place.whole:
            return place
        return Place(claim, names={"root": Place(claim, whole=True)}, rule=place.rule, folder=True)

    return Place(own, names={"backingFsBlockDev": Place(own)}, rule=layer)


def _trees(folder: str, crosses: bool = False, beside: str = "") -> Callable[[Claim, Directory, CacheClaims], Place]:
    """A driver whose layers are whole trees in one directory."""

    def make(own: Claim, directory: Directory, claims: CacheClaims) -> Place:
        def layer(name: str) -> Place | None:
            claim = claims.claim(name)
            return None if claim is None else Place(claim, whole=True, crosses=crosses, folder=True)

        def record(name: str) -> Place | None:
            return Place(own) if claims.claim(name) is not None else None

        names = {folder: Place(own, rule=layer, crosses=crosses), "backingFsBlockDev": Place(own)}
        if beside:
            names[beside] = Place(own, rule=record)
        return Place(own, names=names)

    return make


def _aufs(own: Claim, directory: Directory, claims: CacheClaims) -> Place:
    def part(*, whole: bool) -> Callable[[str], Place | None]:
        def rule(name: str) -> Place | None:
            if name.endswith("-removing"):
                reason = "a layer whose removal didn't end"
                return Place(Claim(f"{own.path}/diff/{name}", Category.TEMPORARY, "docker", reason), whole=True)
            claim = claims.claim(name)
            return None if claim is None else Place(claim, whole=whole)

        return rule

    names = {"diff": Place(own, rule=part(whole=True))}
    names.update({name: Place(own, rule=part(whole=False)) for name in ("layers", "mnt")})
    return Place(own, names=names)


def _devicemapper(own: Claim, directory: Directory, claims: CacheClaims) -> Place:
    pool = Claim(
        f"{own.path}/devicemapper",
        Category.LAYER_POOL,
        "thin pool",
        f"{own.path}/metadata: all layers of images and containers",
    )
    metadata = {name: Place(own) for name in ("base", "deviceset-metadata", "transaction-metadata")}
    unfinished = Claim(f"{own.path}/metadata/.tmp", Category.TEMPORARY, "docker", "a record that was being written")

    def record(name: str) -> Place | None:
        if re.fullmatch(r"\.tmp\d*", name):
            return Place(unfinished)
        return Place(own) if claims.claim(name.removesuffix(".migrated")) is not None else None

    def mount(name: str) -> Place | None:
        return Place(own, names={"id": Place(own), "rootfs": Place(own)}) if claims.claim(name) is not None else None

    return Place(
        own,
        names={
            "devicemapper": Place(pool, names={"data": Place(pool), "metadata": Place(pool)}),
            "metadata": Place(own, names=metadata, rule=record),
            "mnt": Place(own, rule=mount),
            "setup-config.json": Place(own),
        },
    )


_HOMES: dict[str, Callable[[Claim, Directory, CacheClaims], Place]] = {
    "overlay2": _overlay2,
    "fuse-overlayfs": _overlay2,
    "overlay": _overlay,
    "vfs": _trees("dir"),
    "btrfs": _trees("subvolumes", crosses=True, beside="quotas"),
    "zfs": _trees("graph", crosses=True),
    "aufs": _aufs,
    "devicemapper": _devicemapper,
}
