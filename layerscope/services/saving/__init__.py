"""Where the exact bytes of an image come from, by the kind of store; what makes an archive of them knows none.

| store | a layer's tar is |
| --- | --- |
| docker's storage drivers; podman, Buildah, CRI-O | put together from the record of its tar and its files |
| containerd | its blob, decompressed |
| an archive | its member, decompressed |
"""

from __future__ import annotations

from layerscope.errors import UnsupportedError
from layerscope.lab.archive.saving import ImageBytes
from layerscope.model.image import Image
from layerscope.services.saving.archived import archived_image
from layerscope.services.saving.blobs import blob_image
from layerscope.services.saving.recorded import docker_image, podman_image
from layerscope.services.session import Session
from layerscope.stores.archive.store import ArchiveStore
from layerscope.stores.containerd.store import ContainerdStore
from layerscope.stores.docker.store import DockerStore
from layerscope.stores.podman.store import PodmanStore


def image_bytes(session: Session, image: Image) -> ImageBytes:
    """The bytes of an image of the session's store.

    Raises:
        CommitError: they aren't all there.
        UnsupportedError: the store has none, or its storage driver can't be read.
    """
    store, driver = session.store, session.contents.driver
    if isinstance(store, ArchiveStore):
        return archived_image(store, image)
    if isinstance(store, ContainerdStore):
        return blob_image(store, image)
    if isinstance(store, DockerStore) and driver is not None:
        return docker_image(store, driver, image)
    if isinstance(store, PodmanStore) and driver is not None:
        return podman_image(store, driver, image)
    raise UnsupportedError(
        f"cannot save from {store.name} with {session.driver}: nothing here tells of the tars that its layers were"
    )
