"""One stage of a build: each of its steps carried out on the image of the one before.

| step | works in a layer | its container |
| --- | --- | --- |
| COPY, ADD | on the image | none |
| RUN | on the image and docker's own files | one without entry point, its configuration kept as it was asked for |
| WORKDIR, and any other if the working directory is missing | the same; the directory is made | one that runs nothing |
| others | none | the same |

Source: moby builder/dockerfile/dispatchers.go, internals.go, daemon/create_unix.go; 20.10.24.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, Protocol

from layerscope.errors import CommitError, UsageError
from layerscope.formats.dockerfile import Stage, parse_instruction
from layerscope.formats.escape import escape as escape_text
from layerscope.lab.build.arguments import BuildArguments
from layerscope.lab.build.cache import StepCache
from layerscope.lab.build.config import StageConfig, clean_path
from layerscope.lab.build.copy import Copier, find_sources
from layerscope.lab.build.files import Files, inside, resolved
from layerscope.lab.build.image_files import ImageFiles
from layerscope.lab.build.layer import EMPTY, BuildOptions, StageImage, StepMaker
from layerscope.lab.build.overlay import make_directories
from layerscope.lab.build.owner import owner_of
from layerscope.lab.build.run import demand_root, run_script
from layerscope.lab.build.steps import Step, parse_step
from layerscope.lab.container.run_config import RunConfig, merged, started
from layerscope.lab.root.transaction import Transaction
from layerscope.model.digest import CacheID

_HOST_NAME_LENGTH = 12
_SHORT_ID = 12


class Progress(Protocol):
    """Whoever wants to know how a build goes on."""

    def step(self, number: int, total: int, text: str) -> None:
        """A step begins."""
        ...

    def line(self, text: str) -> None:
        """Something happened in it."""
        ...

    @property
    def output(self) -> BinaryIO:
        """What RUN prints goes here."""
        ...


class ImageSources(Protocol):
    """Who knows the images that stages name. Both raise UsageError if there is none."""

    def from_image(self, name: str, stage: Stage) -> StageImage:
        """What FROM names."""
        ...

    def source_image(self, name: str, stage: Stage) -> StageImage:
        """What COPY --from names."""
        ...


class StageRunner:
    """One stage while it is built; ``image`` is what it has come to.

    Args:
        maker: makes the steps' images.
        context: the files of the build's context.
        sources: knows other images.
        arguments: the stage's.
        cache: the images that are there.
        options: how to build.
        progress: is told what happens.
        escape: the Dockerfile's character that escapes.
    """

    def __init__(
        self,
        maker: StepMaker,
        context: Files,
        sources: ImageSources,
        arguments: BuildArguments,
        cache: StepCache,
        options: BuildOptions,
        progress: Progress,
        escape: str,
    ) -> None:
        self._maker = maker
        self._context = context
        self._sources = sources
        self._arguments = arguments
        self._cache = cache
        self._options = options
        self._progress = progress
        self._escape = escape
        self._stage: Stage | None = None
        self._state = StageConfig({}, arguments, escape)
        self._made_directory = ""
        self.image = EMPTY

    def begin(self, stage: Stage) -> None:
        """FROM: take the image that the stage begins with, and carry out what it asks to be done then."""
        if stage.start.flags:
            raise UsageError(f"{stage.start.flags[0]!r:.80}: an image is taken as it is, for whatever platform")
        name = self._state.resolve(stage.base, self._arguments.before_stages)
        if not name:
            raise UsageError(f"the image {stage.base!r:.80} is an empty text once its variables are replaced")
        self._stage = stage
        self.image = self._sources.from_image(name, stage)
        self._state = StageConfig(self.image.run_config, self._arguments, self._escape)
        self._tell_image()
        triggers = self._state.config.get("OnBuild")
        if not triggers:
            return
        self._state.config["OnBuild"] = None
        self._progress.line(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}")
        for trigger in triggers:
            instruction = parse_instruction(str(trigger).strip(), stage.start.line)
            if instruction.keyword in ("FROM", "ONBUILD", "MAINTAINER"):
                raise UsageError(f"the image's trigger {str(trigger)!r:.80} isn't allowed")
            self.carry_out(parse_step(instruction, self._escape))

    def carry_out(self, step: Step) -> None:
        """One step.

        Raises:
            UsageError: it isn't right.
            CommitError: it failed.
            OSError: the disk said no.
        """
        self._state.config["Image"] = self.image.id or ""
        if step.keyword in ("COPY", "ADD"):
            self._copy(step)
        elif step.keyword == "RUN":
            self._run(step)
        elif step.keyword == "WORKDIR":
            self._nothing_but_say(self._state.change_directory(step), one_word=True)
        else:
            self._nothing_but_say(self._state.apply(step))
        self._tell_image()

    def _tell_image(self) -> None:
        self._progress.line(f" ---> {self.image.id.removeprefix('sha256:')[:_SHORT_ID] if self.image.id else ''}")

    # ------------------------------------------------------------------ the kinds of steps
    def _nothing_but_say(self, comment: str, one_word: bool = False) -> None:
        """A step that changes the configuration; the working directory is made if it is missing."""
        ran = self._state.said(comment, one_word)
        if self._is_cached(ran):
            return
        directory = self._state.config.get("WorkingDir") or ""
        with self._maker.begin() as transaction:
            layer = None
            if directory not in ("", "/", self._made_directory):
                layer = self._maker.work_layer(transaction, self.image, with_init=True)
                with self._maker.open(layer) as overlay:
                    files = ImageFiles(overlay, self._options.commit)
                    make_directories(overlay, files, resolved(files, inside(directory)))
            health = self._state.config.get("Healthcheck")
            if health is not None:
                # The daemon fills in what it leaves open from the image's, in the builder's own copy, too.
                self._state.config["Healthcheck"] = merged(ran, self.image.run_config)["Healthcheck"]
            self._make(transaction, ran, lambda identity: self._as_created(ran, identity), layer)
        self._made_directory = directory

    def _run(self, step: Step) -> None:
        state = self._state
        command = state.command(step)
        variables = state.build_variables
        saved = command
        if variables:
            kept = (f"{name}={value}" for name, value in variables.items() if self._arguments.leaves_trace(name))
            told = sorted(kept, key=str.encode)
            saved = [f"|{len(told)}", *told, *command]
        ran = {**state.config, "Cmd": saved, "Entrypoint": None}
        if self._is_cached(ran):
            return
        demand_root(state.config.get("User") or "")
        directory = state.config.get("WorkingDir") or "/"
        volumes = [inside(path) for path in state.config.get("Volumes") or ()]
        with self._maker.begin() as transaction:
            layer = self._maker.work_layer(transaction, self.image, with_init=True)
            with self._maker.open(layer) as overlay:
                files = ImageFiles(overlay, self._options.commit)
                for path in (inside(directory), *volumes):
                    make_directories(overlay, files, resolved(files, path))
                known = {**variables, **state.environment}
                run_script(overlay, command, directory, known, self._progress.output, self._progress.line)
            for path in volumes:
                self._demand_unchanged(layer, path)
            self._make(transaction, ran, lambda _: ran, layer)
        self._made_directory = directory

    def _demand_unchanged(self, layer: CacheID, volume: str) -> None:
        """Refuse what docker would lose: in a container that runs, a volume lies over its path."""
        if self._maker.upper(layer).descend(volume).names() if volume else False:
            raise CommitError(
                f"it writes below /{escape_text(volume)}, a volume by now: docker keeps nothing of that; "
                "put RUN before VOLUME"
            )

    def _copy(self, step: Step) -> None:
        state = self._state
        owner_words = state.resolve(step.options.get("chown", ""))
        *paths, target = (state.resolve(word) for word in step.words)
        if not target:
            raise UsageError("the destination is an empty text")
        for path in paths:
            if "://" in path or path.startswith("git@"):
                raise UsageError(f"{path!r:.80}: nothing is fetched from the network")
        with self._maker.begin() as transaction, ExitStack() as closing:
            files, where, source_layer = self._context, "the context (or .dockerignore leaves it out)", None
            if "from" in step.options:
                assert self._stage is not None
                source = self._sources.source_image(step.options["from"], self._stage)
                source_layer = self._maker.work_layer(transaction, source, with_init=False)
                seen = closing.enter_context(self._maker.open(source_layer))
                files, where = ImageFiles(seen, self._options.commit), f"{step.options['from']!r:.80}"
            copy = find_sources(files, paths, target, unpack=step.keyword == "ADD", where=where)
            chown = f"--chown={owner_words}" if owner_words else ""
            ran = state.said(f"{step.keyword} {chown}{copy.sum} in {target} ", one_word=True)
            if self._is_cached(ran):
                return
            layer = self._maker.work_layer(transaction, self.image, with_init=False)
            with self._maker.open(layer) as overlay:
                there = ImageFiles(overlay, self._options.commit)
                owner: tuple[int, int] | None = (0, 0)
                if owner_words:
                    owner = owner_of(owner_words, there)
                elif source_layer is not None:
                    owner = None
                Copier(overlay, there, state.config.get("WorkingDir") or "/", owner).copy(copy)
            closing.close()
            if source_layer is not None:
                self._maker.remove(source_layer)
            self._make(transaction, ran, None, layer)

    # ------------------------------------------------------------------ images
    def _is_cached(self, ran: RunConfig) -> bool:
        rows = len(self.image.config.get("history") or ()) + 1
        found = self._cache.find(self.image.id, ran, rows)
        if found is None:
            return False
        self._progress.line(" ---> Using cache")
        self.image = StageImage.of(found)
        return True

    def _make(
        self,
        transaction: Transaction,
        ran: RunConfig,
        container: Callable[[str], RunConfig] | None,
        layer: CacheID | None,
    ) -> None:
        self.image = self._maker.make(
            transaction,
            self.image,
            ran,
            self._state.config,
            author=self._state.author,
            container=container,
            layer=layer,
        )

    def _as_created(self, ran: RunConfig, identity: str) -> RunConfig:
        """The configuration that docker's daemon makes of one that a container is asked for."""
        config = merged(ran, self.image.run_config) if self.image.id is not None else dict(ran)
        directory = config.get("WorkingDir") or ""
        return {
            **started(config),
            "Hostname": config.get("Hostname") or identity[:_HOST_NAME_LENGTH],
            "WorkingDir": clean_path(directory) if directory else "",
        }
