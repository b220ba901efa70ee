"""A session: one root, open for reading, and everything that can be asked of it.

It joins what the rooms below don't know of each other: a store's records give chain and cache IDs, a driver turns cache
IDs into files, the overlay engine merges those, and the analyses answer. Front ends call nothing else. What
few questions need is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from msgspec.structs import replace

from layerscope.errors import UnsupportedError, UsageError
from layerscope.model.container import Container
from layerscope.model.image import HistoryRow, Image
from layerscope.model.level import Level, Role
from layerscope.model.problem import Problem
from layerscope.model.ref import Ref, SubjectKind
from layerscope.model.root import Daemon, RootSummary
from layerscope.model.subject import ContainerUsage, ImageUsage, StackLevel, Subject
from layerscope.services.contents import Contents
from layerscope.services.faults import told
from layerscope.services.level_sizes import container_usages, disk_share, level_size
from layerscope.services.resolve import Names
from layerscope.services.setting import Setting, daemon_of
from layerscope.stores.base import (
    CountsImages,
    LiesAnywhere,
    SeveralRoots,
    SharesStorage,
    SharesWithUnlisted,
    Store,
    TwoRoots,
)

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.analysis.measuring.ahead import Ahead
    from layerscope.drivers import Driver
    from layerscope.hostfs import Directory
    from layerscope.model.blame import Blame
    from layerscope.model.change import Change
    from layerscope.model.diagnosis import Diagnosis
    from layerscope.model.entry import Entry
    from layerscope.model.ledger import Ledger
    from layerscope.model.owner import Owner
    from layerscope.model.reclaim import Reclaim
    from layerscope.model.verdict import Verdict
    from layerscope.overlay import MergedView
    from layerscope.services.waste import SubjectWaste

_Thing = TypeVar("_Thing", Image, Container)
Cancelled = Callable[[], bool]


class Session:
    """One opened root; a context manager. Nothing here changes anything below it.

    Values are those of :mod:`layerscope.model`. Problems found on the way gather in :meth:`problems`. Every method
    raises :class:`~layerscope.errors.LayerscopeError` for what can't be answered, and nothing else. ``contents`` is for
    the other services, not for front ends.
    """

    def __init__(
        self, path: Path | str, root: Directory, store: Store, driver: Driver | None, setting: Setting
    ) -> None:
        self._path = path
        self.root = root
        self.store = store
        self.setting = setting
        self.contents = Contents(store, driver)
        self._found: dict[Problem, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the root's descriptor back."""
        if isinstance(self.store, TwoRoots):
            self.store.close()
        self.root.close()

    @cached_property
    def path(self) -> Path:
        """Where the root lies on the host."""
        from pathlib import Path

        return Path(self._path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every directory of the host that is read: the root, and its store's other half."""
        others = self.store.paths if isinstance(self.store, TwoRoots) else ()
        return tuple(dict.fromkeys((self.path, *others)))

    def directory(self, path: str) -> Directory:
        """The directory at a path as levels tell it: below the root, or (absolute) below another one of the store's."""
        if isinstance(self.store, LiesAnywhere):
            return self.store.host.descend(path.removeprefix("/")) if path.startswith("/") else self.root.descend(path)
        others = [self.store.layer_root] if isinstance(self.store, TwoRoots) else []
        others.extend(self.store.more_layer_roots if isinstance(self.store, SeveralRoots) else ())
        others.extend(self.contents.handed().values())
        for other in others:
            if other is not None and other.shown and f"{path}/".startswith(f"{other.shown}/"):
                return other.descend(path.removeprefix(other.shown).removeprefix("/"))
        return self.root.descend(path)

    @property
    def driver(self) -> str:
        """The storage driver whose world is shown."""
        return self.store.driver

    # ------------------------------------------------------------------ the root
    def info(self) -> RootSummary:
        """What was found at the root, with every problem of its records and layers."""
        things: list[Image | Container] = [*self.store.images(), *self.store.containers()]
        for thing in things:
            self.levels(Subject(thing, None) if isinstance(thing, Image) else Subject(None, thing))
        return self.setting.summary(self.store, self.contents, self.problems())

    def daemon(self) -> Daemon:
        """Whether an engine holds the root now, told anew by each session."""
        return daemon_of(self.store)

    def problems(self) -> tuple[Problem, ...]:
        """Every problem found until now: those of the records, and what reading layers added."""
        records = (*self.setting.problems, *self.store.problems())
        return tuple(dict.fromkeys((*records, *self._found, *self.contents.found_damage())))

    def _note(self, problems: list[Problem]) -> None:
        self._found.update(dict.fromkeys(problems))

    def images(self) -> list[ImageUsage]:
        """Every image, intermediate and broken ones included, newest first, then by id."""
        if isinstance(self.store, CountsImages):
            usages = self.store.image_usages()
        else:
            from layerscope.analysis.sizes import image_usages

            store = self.store
            everything = isinstance(store, SharesWithUnlisted) and store.shares_with_unlisted
            usages = image_usages(store.images(), store.containers(), store.layers(), everything)
        return [replace(usage, image=self._with_missing_layers(usage.image)) for usage in usages]

    def containers(self, sizes: bool = True, ahead: Ahead | None = None) -> list[ContainerUsage]:
        """Every container, newest first, then by id; with ``sizes`` measured, which may have begun ``ahead``."""
        containers = [self._with_missing_layers(container) for container in self.store.containers()]
        if not sizes:
            return [ContainerUsage(one, None, None) for one in containers]
        found, problems = container_usages(self.contents, containers, ahead=ahead)
        self._note(problems)
        return found

    def _with_missing_layers(self, subject: _Thing) -> _Thing:
        missing: list[Problem] = self.contents.missing_layers(subject)
        self._note(missing)
        return replace(subject, problems=(*subject.problems, *missing)) if missing else subject

    def measured(self, container: Container, cancelled: Cancelled = lambda: False) -> ContainerUsage:
        """One container with its writable layer measured; means nothing once ``cancelled`` has said so."""
        found, problems = container_usages(self.contents, [container], cancelled)
        self._note(problems)
        return found[0]

    # ------------------------------------------------------------------ what a REF names
    def find(self, text: str | Ref, kind: SubjectKind | None = None) -> Subject:
        """The image or container that a REF names.

        Raises:
            UsageError: it names nothing, several things, or a cut above its top level.
        """
        ref = Ref.parse(text) if isinstance(text, str) else text
        subject = self._names.subject(ref, kind)
        if subject.cut is not None:
            count = len(self.levels(subject))
            if subject.cut > count:
                levels = "1 level" if count == 1 else f"{count} levels"
                raise UsageError(f"{subject.name} has {levels}, there is no level {subject.cut}")
        return subject

    @cached_property
    def _names(self) -> Names:
        return Names(self.store.images(), self.store.containers(), isinstance(self.store, SharesStorage))

    def history(self, subject: Subject) -> list[HistoryRow]:
        """The history of an image (of a container: of its image as recorded), newest first."""
        image = subject.image
        if image is None:
            assert subject.container is not None
            wanted = subject.container.image_id
            image = next((image for image in self.store.images() if image.id == wanted), None)
            if image is None:
                raise UsageError(f"the image of {subject.name} is no longer here, and its history with it")
        return list(reversed(image.history))

    @property
    def measures_images(self) -> bool:
        """Whether image layers have no recorded size: whoever wants one lets them be read (:meth:`stack`)."""
        return self.contents.measures_images

    def records(self, subject: Subject) -> dict[str, object]:
        """The engine's own records of the subject, joined."""
        return self.store.records(subject.thing)

    # ------------------------------------------------------------------ layers
    def levels(self, subject: Subject) -> tuple[Level, ...]:
        """All levels of the subject's stack, base first; its cut doesn't count."""
        levels, problems = self.contents.levels(subject.thing)
        self._note(problems)
        if not self.setting.sees_marks:
            self._note(self.contents.lost_marks(levels))
        return levels

    def view(self, subject: Subject) -> MergedView:
        """The merged view of the subject, at its cut."""
        levels = self.levels(subject)
        if subject.cut is not None:
            levels = levels[: subject.cut]
        view, problems = self.contents.view(levels)
        self._note(problems)
        return view

    def stack(self, subject: Subject, counts: bool = True, cancelled: Cancelled = lambda: False) -> list[StackLevel]:
        """The levels of the subject up to its cut, top first, with sizes and (if wanted) counts."""
        levels = self.levels(subject)
        view = self.view(subject)
        shown = levels if subject.cut is None else levels[: subject.cut]
        found = [self.stack_level(view, level, counts, cancelled) for level in shown]
        self._note(view.problems)
        return found[::-1]

    def stack_level(
        self, view: MergedView, level: Level, counts: bool = True, cancelled: Cancelled = lambda: False
    ) -> StackLevel:
        """One level with its size, measured where it isn't recorded, and its counts.

        When ``cancelled`` says so the counting ends, and its result means nothing.
        """
        from layerscope.analysis.counts import level_counts

        size = level.size
        if size is None and (level.role is not Role.IMAGE or self.contents.measures_images):
            size = level_size(self.contents, view, level, cancelled)
        counted = level_counts(view, level.number, cancelled) if counts else None
        return StackLevel(level, size, counted, disk_share(self.contents, level, cancelled) if counts else None)

    def changes(self, subject: Subject, corrected: bool = False, detail: bool = True) -> list[Change]:
        """What a container changed: the lines of ``docker diff``, or (``corrected``) every difference there is."""
        if subject.container is None:
            raise UsageError(f"{subject.name} is an image: give two REFs to compare, or a container")
        levels = self.levels(subject)
        if not levels or levels[-1].role is not Role.RW:
            raise UsageError(f"{subject.name} has no writable layer: its mount record is missing")
        view = self.view(replace(subject, cut=None))
        if not view.levels or view.levels[-1].number != levels[-1].number:
            absence = levels[-1].absence
            why = f"{absence.what} ({absence.hint})" if absence else "can't be read: what it changed is not known"
            raise UnsupportedError(f"the writable layer of {subject.name} {why}")
        if not corrected:
            found = self.contents.docker_diff(view, detail)
        else:
            below = view.cut(len(levels) - 1)
            from layerscope.analysis.changes.views import exact_changes

            found = exact_changes(below, view)
            self._note(below.problems)
        self._note(view.problems)
        return found

    def compare(self, old: Subject, new: Subject, cancelled: Cancelled = lambda: False) -> list[Change]:
        """Every difference from one view to another, each at its cut; nothing is sure once ``cancelled`` says so."""
        return list(self.differences(old, new, cancelled))

    def differences(self, old: Subject, new: Subject, cancelled: Cancelled = lambda: False) -> Iterator[Change]:
        """As :meth:`compare`; what an added directory holds is read when it is asked for."""
        from layerscope.analysis.changes.views import stream_exact_changes

        views = self.view(old), self.view(new)
        changes = stream_exact_changes(*views, cancelled)

        def noted() -> Iterator[Change]:
            yield from changes
            self._note([problem for view in views for problem in view.problems])

        return noted()

    # ------------------------------------------------------------------ files
    def entries(
        self,
        subject: Subject,
        path: str = "/",
        *,
        recursive: bool = False,
        hidden: bool = False,
        detail: bool = True,
        xattrs: bool = True,
    ) -> Iterator[Entry]:
        """The entries at a path of the view, in the order of their paths' bytes, as they are read.

        With ``detail`` also extended attributes (not without ``xattrs``), and the first name of each inode that has
        several (which walks the view once, if there is such an inode).
        """
        from layerscope.services.listing import list_entries, with_links

        view = self.view(subject)
        numbers = {level.number: level for level in self.levels(subject)}
        with told(f"cannot list {path} of {subject.name}", self, subject):
            listed = list_entries(view, path, numbers, recursive, hidden, xattrs=detail and xattrs)
            yield from with_links(listed, view) if detail else listed
        self._note(view.problems)

    def open_file(self, subject: Subject, path: str, level: int | None = None) -> BinaryIO:
        """The bytes that the view serves at a path, or the copy that one level holds; links resolve in the view."""
        from layerscope.services.file.reading import open_copy

        with told(f"cannot read {path} of {subject.name}", self, subject):
            return open_copy(self.view(subject), path, level)

    def blame(self, subject: Subject, path: str) -> Blame:
        """The life of a path through the subject's levels."""
        from layerscope.analysis.blame import blame

        with told(f"cannot blame {path} of {subject.name}", self, subject):
            return blame(self.view(subject), path, {level.number: level for level in self.levels(subject)})

    def explain(self, subject: Subject, path: str) -> str:
        """In a few words what the entry is, and why it is seen or not."""
        from layerscope.analysis.blame import blame
        from layerscope.analysis.explain import explain

        with told(f"cannot explain {path} of {subject.name}", self, subject):
            view = self.view(subject)
            return explain(view, path, blame(view, path, {level.number: level for level in self.levels(subject)}))

    def owners(self, thing: str) -> list[Owner]:
        """Who owns a path, an id or its prefix, a short name, a digest, or the directories of a mount line."""
        from layerscope.services.owners import owners

        return owners(self.contents, thing)

    # ------------------------------------------------------------------ of the whole root
    def ledger(self) -> Ledger:
        """Every byte of the root in exactly one class, measured anew. See :func:`layerscope.services.ledger.ledger`."""
        from layerscope.services.ledger import ledger

        return ledger(self)

    def reclaim(self, *things: str, wanted: int | None = None) -> Reclaim:
        """What comes back if things go, or what to remove for ``wanted`` bytes. See ``services.reclaim.reclaim``."""
        from layerscope.services.reclaim import reclaim

        return reclaim(self, things, wanted)

    def verify(self, subject: Subject | None = None, *, deep: bool = False) -> Iterator[Verdict]:
        """All layers, or those of one image or container, against their records. See ``services.verify.verify``."""
        from layerscope.services.verify.layers import verify

        return verify(self, subject, deep=deep)

    def doctor(self) -> list[Diagnosis]:
        """Every damaged or inconsistent thing, the gravest first. See ``services.doctor.examine``."""
        from layerscope.services.doctor import examine

        return examine(self)

    def waste(self, subject: Subject) -> SubjectWaste:
        """What an image or a container stores and nobody sees; to be closed. See ``services.waste.waste_of``."""
        from layerscope.services.waste import waste_of

        return waste_of(self, subject)

    # ------------------------------------------------------------------ bytes out of it
    def export(self, subject: Subject, out: BinaryIO, passed: Callable[[], object] = lambda: None) -> list[Problem]:
        """Write the view as a tar, as ``docker export`` does; what can't be read is told and left out."""
        from layerscope.services.export.view import export_tar

        problems = export_tar(self.view(subject), out, passed)
        self._note(problems)
        return problems

    def extract(
        self, subject: Subject, path: str, destination: Path, passed: Callable[[], object] = lambda: None
    ) -> list[Problem]:
        """Copy what is at a path to the analyst's own disk, outside of the root; ``passed`` is called per entry."""
        from layerscope.services.export.extract import extract

        if any(destination.resolve().is_relative_to(path.resolve()) for path in self.paths):
            raise UsageError(f"{destination} is below the root that is being read: nothing is ever written there")
        with told(f"cannot extract {path} of {subject.name}", self, subject):
            problems = extract(self.view(subject), path, destination, passed)
        self._note(problems)
        return problems
