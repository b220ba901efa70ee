"""Labs as front ends see them: a root that may be written to, and what can be done in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from layerscope.errors import CommitError, RootError, UsageError
from layerscope.formats.engine_rules import rules_of
from layerscope.formats.escape import escape
from layerscope.formats.gotime import format_rfc3339, parse_rfc3339
from layerscope.formats.passwd import group_names, user_names
from layerscope.formats.reference import parse_reference
from layerscope.lab.archive.importing import Loaded, import_image, load_archive
from layerscope.lab.archive.saving import Format, SavedImage, save_images
from layerscope.lab.build.image import BuildRequest, build_image
from layerscope.lab.build.layer import BuildOptions
from layerscope.lab.build.stage import Progress
from layerscope.lab.container.copying import copy_in, copy_tar_in
from layerscope.lab.container.create import create_container
from layerscope.lab.container.directories import open_overlay, writable_layer
from layerscope.lab.image.commit import CommitOptions, Committed, commit_container, upper_tar
from layerscope.lab.image.config import Maker
from layerscope.lab.image.removal import Removed, remove_container, remove_image
from layerscope.lab.image.tagging import Reference, parse_tag, tag_image
from layerscope.lab.layer.pack import LayerTar
from layerscope.lab.root.chown import give_to_root
from layerscope.lab.root.disk import now
from layerscope.lab.root.new import make_lab
from layerscope.lab.root.root import LabRoot
from layerscope.lab.root.sweep import sweep
from layerscope.lab.shell.commands import CHANGING
from layerscope.lab.shell.interpreter import Shell
from layerscope.lab.shell.looking import LOOKING
from layerscope.model.container import Container
from layerscope.model.digest import ContainerID, ImageID
from layerscope.model.image import Image
from layerscope.model.problem import Problem
from layerscope.model.ref import Ref
from layerscope.model.subject import Subject
from layerscope.overlay.engine import Overlay
from layerscope.services.export.path import copy_out
from layerscope.services.faults import told
from layerscope.services.opening.root import open_root
from layerscope.services.resolve import Names, familiar, name_meant
from layerscope.services.saving import image_bytes
from layerscope.services.session import Session
from layerscope.stores.base import SharesStorage

DEFAULT_ENGINE = "24"
_VERSIONS = {"20.10": "20.10.24", "23": "23.0.6", "24": "24.0.9"}
IMPORTED = "Imported from -"
"""The comment on an image that was made of a tar: docker's client sends every file as its standard input."""
_NAMES_LIMIT = 16 << 20


def new_lab(path: Path, *, empty: bool = False) -> None:
    """Make a lab root; with a small image in it unless ``empty``.

    Raises:
        CommitError: there is something at ``path``, or the disk said no.
    """
    make_lab(path, empty=empty)


def open_lab(path: Path | None, *, allow_real_root: bool = False) -> Lab:
    """Open a root for writing; None: the first of the usual places that can be read.

    Raises:
        RootError: there is no root.
        CommitError: it may not be written to.
    """
    if path is None:
        with open_root() as session:
            path = session.path
    return Lab(LabRoot.open(path, allow_real_root=allow_real_root))


class Lab:
    """A root that may be written to, locked against other writers; a context manager.

    Every method that changes something does it whole or not at all, and raises CommitError where it can't. Containers
    and images are named as in a REF, without a cut or a path; UsageError for a name that fits nothing, or two things.
    """

    def __init__(self, root: LabRoot) -> None:
        self._root = root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._root.close()

    @property
    def path(self) -> Path:
        """Where the root is."""
        return self._root.path

    # ------------------------------------------------------------------ what a name names
    def image(self, name: str) -> Image:
        """The image of a name or id."""
        image = Names(self._root.store().images()).subject(_plain(name), "image").image
        assert image is not None
        return image

    def container(self, name: str) -> Container:
        """The container of a name or id."""
        container = Names((), self._root.store().containers()).subject(_plain(name), "container").container
        assert container is not None
        return container

    # ------------------------------------------------------------------ containers
    def create(self, image: str, name: str = "", command: Sequence[str] = (), network: str = "default") -> ContainerID:
        """A container of an image, never started; ``command`` instead of the image's."""
        return create_container(self._root, self.image(image), _typed(image), name, command, network)

    def overlay(self, container: str) -> Overlay:
        """The container's files, to be changed."""
        found = self.container(container)
        doing = f"cannot change {found.name or found.id[:12]}"
        try:
            return open_overlay(self._root, writable_layer(self._root, found, doing))
        except OSError as error:
            raise CommitError(f"{doing}: {error.strerror or error}") from error

    def copy_in(self, source: Path | BinaryIO, container: str, path: str, *, contents_only: bool = False) -> None:
        """Copy a file or directory of the host, or the members of a tar, into a container, as docker cp does.

        ``contents_only``: what is in the directory, not itself.
        """
        shown = escape(os.fspath(source)) if isinstance(source, Path | str) else "the tar"
        with self.overlay(container) as overlay:
            try:
                if isinstance(source, Path):
                    copy_in(overlay, source, path, contents_only)
                else:
                    copy_tar_in(overlay, source, path)
            except OSError as error:
                where = f"{escape(os.fsdecode(error.filename))}: " if error.filename else ""
                raise CommitError(f"cannot copy {shown} to the end: {where}{error.strerror or error}") from None

    def shell(
        self,
        overlay: Overlay,
        out: BinaryIO,
        tell: Callable[[str], None],
        source: BinaryIO | None = None,
        is_terminal: bool = False,
    ) -> Shell:
        """The small shell over a container's files; ``is_terminal``: a person looks at ``out``."""
        return Shell(overlay, out, tell, {**LOOKING, **CHANGING}, source, is_terminal)

    def commit(
        self,
        container: str,
        name: str = "",
        *,
        options: CommitOptions | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> Committed:
        """An image of what a container has changed, under a name if one is given; ``tick`` may raise to stop it."""
        found = self.container(container)
        parent = next((image for image in self._root.store().images() if image.id == found.image_id), None)
        reference = parse_tag(name) if name else None
        return commit_container(self._root, found, parent, options or commit_options(), reference, tick)

    def layer_of(self, container: str, options: CommitOptions | None = None) -> LayerTar:
        """The layer tar that a commit would make of a container now, to be read once, while the lab is open."""
        found = self.container(container)
        mount_id = writable_layer(self._root, found, f"cannot read {found.name or found.id[:12]}")
        return upper_tar(self._root, mount_id, options or commit_options())

    def remove(self, container: str) -> ContainerID:
        """Remove a container, its writable layer with it."""
        found = self.container(container)
        remove_container(self._root, found)
        return found.id

    # ------------------------------------------------------------------ images
    def build(
        self, request: BuildRequest, names: Sequence[str], options: BuildOptions, progress: Progress
    ) -> tuple[ImageID, tuple[Problem, ...]]:
        """The image that a Dockerfile describes, under some names; images of its steps stay if a later one fails."""
        references = [parse_tag(name) for name in names]
        image, problems = build_image(self._root, request, self.image, options, progress)
        for reference in references:
            tag_image(self._root, image, reference)
        return image, problems

    def import_tar(
        self, tar: BinaryIO, shown: str, name: str = "", *, maker: Maker | None = None, changes: Sequence[str] = ()
    ) -> tuple[ImageID, tuple[Problem, ...]]:
        """An image of one layer, made of a tar; ``shown``: what the tar is called in messages."""
        reference = parse_tag(name) if name else None
        maker = maker or Maker(DEFAULT_ENGINE, _VERSIONS[DEFAULT_ENGINE], now(), comment=IMPORTED)
        return import_image(self._root, tar, shown, maker, reference, changes)

    def load(self, source: Path | BinaryIO, shown: str) -> list[Loaded]:
        """The images of an archive: of docker save, or an OCI layout."""
        return load_archive(self._root, source, shown)

    def tag(self, image: str, name: str) -> None:
        """Give one more name to an image."""
        found = self.image(image)
        tag_image(self._root, found.id, parse_tag(name))

    def remove_image(self, name: str, force: bool = False) -> list[Removed]:
        """Remove a name of an image, or the image, as docker would."""
        image = self.image(name)
        return remove_image(self._root, image, _reference_of(image, name), force)

    def give_to_root(self) -> None:
        """Turn a lab of an ordinary user into one as root makes it, fit for dockerd."""
        give_to_root(self._root)

    def sweep(self) -> list[str]:
        """Remove what interrupted work left; gives the paths that went."""
        return sweep(self._root)


def copy_to_tar(session: Session, subject: Subject, out: BinaryIO) -> list[Problem]:
    """Write what is at the subject's path as a tar, as docker cp to ``-`` does; what can't be read is told.

    Raises:
        UsageError: there is no such path.
    """
    path = subject.path or "/"
    with told(f"cannot copy {path} of {subject.name}"):
        return copy_out(session.view(subject), path, out)


def save(session: Session, images: Sequence[str], out: BinaryIO, form: Format = "docker") -> None:
    """Write an archive of images; an image asked for by a name gets that name in it, by a repository's all of that one.

    Raises:
        UsageError: a name fits nothing, or two images.
        UnsupportedError: the root has no layers that came in tars.
        CommitError: a layer was changed, or what its tar would be made of isn't there.
    """
    wanted = []
    for image, own in [found for name in images for found in _meant(session, name)]:
        parts = parse_reference(own) if own is not None else None
        tagged = parts is not None and parts[1] is not None and parts[2] is None  # as docker: a digest is no name
        wanted.append(SavedImage(image_bytes(session, image), (parse_tag(own),) if own and tagged else ()))
    save_images(wanted, out, form)


def _meant(session: Session, name: str) -> list[tuple[Image, str | None]]:
    """The images that are meant, each with its name that is: to docker, a repository is all of its tags."""
    ref = _plain(name)
    podman = isinstance(session.store, SharesStorage)
    if not podman:
        tags = [(usage.image, tag) for usage in session.images() for tag in usage.image.repo_tags]
        found: list[tuple[Image, str | None]] = [
            (image, tag) for image, tag in tags if tag.rpartition(":")[0] == familiar(ref.name)
        ]
        if found:
            return found
    image = session.find(ref, "image").image
    assert image is not None
    return [(image, name_meant(image, ref.name, podman))]


def commit_options(
    engine: str = DEFAULT_ENGINE,
    *,
    docker_version: str | None = None,
    created: str | None = None,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    passwd: Path | None = None,
    group: Path | None = None,
) -> CommitOptions:
    """How to commit: by which engine's rules, when, by whom.

    ``passwd`` and ``group`` (by default the machine's own) tell owners' names to engines that write them.

    Raises:
        UsageError: the engine or the time isn't one.
        RootError: a file of names can't be read.
    """
    rules = rules_of(engine)
    users = groups = b""
    if rules.owner_names:
        users, groups = _names_file(passwd or Path("/etc/passwd")), _names_file(group or Path("/etc/group"))
    maker = Maker(engine, docker_version or _VERSIONS.get(engine, engine), _moment(created), author, message)
    return CommitOptions(maker, tuple(changes), user_names(users), group_names(groups))


def import_maker(created: str | None, message: str, docker_version: str | None = None) -> Maker:
    """Who makes an image of a tar, and when."""
    return Maker(DEFAULT_ENGINE, docker_version or _VERSIONS[DEFAULT_ENGINE], _moment(created), comment=message)


def _moment(text: str | None) -> str:
    if text is None:
        return now()
    nanoseconds = parse_rfc3339(text)
    written = format_rfc3339(nanoseconds) if nanoseconds is not None else None
    if written is None:
        raise UsageError(f"{text!r:.100} is no time as 2024-01-02T03:04:05.678Z")
    return written


def _names_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_NAMES_LIMIT)
    except OSError as error:
        raise RootError(f"cannot read {escape(os.fspath(path))}: {error.strerror}") from None


def _plain(name: str) -> Ref:
    ref = Ref.parse(name)
    if ref.cut is not None or ref.path is not None:
        raise UsageError(f"{name!r:.200}: a cut or a path has no meaning here")
    return ref


def _typed(name: str) -> str:
    return name.removeprefix("image:")


def _reference_of(image: Image, name: str) -> Reference | None:
    """The image's own name that ``name`` means; None if it is an id, or a part of one."""
    short = familiar(_typed(name))
    for own in (*image.repo_tags, *image.repo_digests):
        if own in (short, f"{short}:latest"):
            repository = own.partition("@")[0] if "@" in own else own.rpartition(":")[0]
            return Reference(repository, own)
    return None
