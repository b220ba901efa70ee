"""Names of images: which ones docker takes, and giving one to an image.

A name is kept in its familiar form, ``:latest`` added where there is neither tag nor digest. Source: moby
daemon/images/image_tag.go, refstore/store.go; github.com/distribution/reference.
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.errors import UsageError
from layerscope.formats.reference import familiar_name, full_name, parse_reference
from layerscope.lab.root.records import REPOSITORIES, read_repositories, stage_metadata
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import ImageID

_HEX64 = re.compile(r"[0-9a-f]{64}")


class Reference(Struct, frozen=True):
    """A name of an image, in familiar form: ``repository`` (without tag), ``text`` (with it)."""

    repository: str
    text: str

    @property
    def tag(self) -> str:
        """The tag."""
        return self.text.removeprefix(self.repository).removeprefix(":")

    @property
    def full(self) -> str:
        """The name with its domain, as ``docker.io/library/busybox:latest``."""
        return full_name(self.text)


def parse_tag(text: str) -> Reference:
    """The reference that docker would give to an image by this text.

    Raises:
        UsageError: docker takes no such name; the text says what it expects.
    """
    parts = parse_reference(text)
    if parts is None:
        lower = parse_reference(text.lower())
        hint = (
            "repository names are lowercase"
            if lower is not None
            else "expected [HOST[:PORT]/]NAME[:TAG], as in shop/web:1.0"
        )
        raise UsageError(f"{text!r:.100} is no valid image name: {hint}")
    name, tag, digest = parts
    if digest is not None:
        raise UsageError(f"{text!r:.200}: a name with a digest can't be given to an image; leave @{digest[:20]}… out")
    if _HEX64.fullmatch(name):
        raise UsageError(f"{text!r:.100} is no valid image name: 64 hexadecimal digits would be an image ID")
    repository = familiar_name(name)
    if repository == "sha256":
        raise UsageError(f"{text!r:.100}: an image can't be called sha256, like the digests that name images")
    return Reference(repository, f"{repository}:{tag or 'latest'}")


def stage_tags(root: LabRoot, transaction: Transaction, tags: dict[Reference, ImageID]) -> dict[Reference, str]:
    """Names are to be given to images; to be staged last. Gives the images that lose a name by it."""
    if not tags:
        return {}
    repositories = read_repositories(root.disk)
    lost = {}
    for reference, image in tags.items():
        before = repositories.set(reference.repository, reference.text, image)
        if before is not None:
            lost[reference] = before
    for image in dict.fromkeys(tags.values()):
        stage_metadata(transaction, image, "lastUpdated", root.disk.now().encode())
    transaction.stage_file(REPOSITORIES, repositories.text(), 0o600)
    return lost


def tag_image(root: LabRoot, image: ImageID, reference: Reference) -> None:
    """Give a name to an image; the one that had it goes without.

    Raises:
        CommitError: the disk said no, or the names there are damaged.
    """
    with Transaction(root.disk, f"cannot tag {reference.text}") as transaction:
        stage_tags(root, transaction, {reference: image})
        transaction.publish()
