"""Building images as docker's classic builder does: one image for each step, each on top of the last one.

A step whose image is there already isn't made again (:mod:`layerscope.lab.build.cache`); images between stay, as the
classic builder leaves them. A step that fails leaves the root as it was before that step.

Source: moby builder/dockerfile/builder.go, evaluator.go, dispatchers.go; 20.10.24.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, field

from layerscope.errors import CommitError, LayerscopeError, UsageError
from layerscope.formats.dockerfile import Dockerfile, Stage
from layerscope.formats.engine_rules import rules_of
from layerscope.formats.escape import escape as escape_text
from layerscope.lab.build.arguments import BuildArguments
from layerscope.lab.build.cache import StepCache
from layerscope.lab.build.config import StageConfig
from layerscope.lab.build.context import Context
from layerscope.lab.build.layer import EMPTY, BuildOptions, StageImage, StepMaker
from layerscope.lab.build.stage import Progress, StageRunner
from layerscope.lab.build.steps import label_step, parse_step
from layerscope.lab.root.root import LabRoot
from layerscope.model.digest import ImageID
from layerscope.model.image import Image
from layerscope.model.problem import Problem

_SCRATCH = "scratch"


class BuildRequest(Struct, frozen=True):
    """What to build.

    ``arguments``: values for ARG. ``labels`` are put on the last stage. ``target``: the stage to stop at, "" for the
    last.
    """

    dockerfile: Dockerfile
    context: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    use_cache: bool = True


def build_image(
    root: LabRoot,
    request: BuildRequest,
    find_image: Callable[[str], Image],
    options: BuildOptions,
    progress: Progress,
) -> tuple[ImageID, tuple[Problem, ...]]:
    """Build, and give the last image. ``find_image`` gives that of a name, and raises UsageError if there is none.

    Raises:
        UsageError: the Dockerfile isn't right, or names what isn't there.
        CommitError: a step failed; the images of those before it stay.
    """
    with Context(request.context, type_bits=rules_of(options.commit.maker.engine).type_bits) as context:
        return _Build(root, request, find_image, options, progress, context).run()


class _Build:
    def __init__(
        self,
        root: LabRoot,
        request: BuildRequest,
        find_image: Callable[[str], Image],
        options: BuildOptions,
        progress: Progress,
        context: Context,
    ) -> None:
        self._root = root
        self._request = request
        self._find_image = find_image
        self._options = options
        self._progress = progress
        self._context = context
        self._maker = StepMaker(root, options)
        self._done: list[tuple[str, StageImage]] = []
        self._number = 0
        self._total = 0

    def run(self) -> tuple[ImageID, tuple[Problem, ...]]:
        """The whole build."""
        dockerfile = self._request.dockerfile
        stages = self._stages()
        escape = dockerfile.escape
        arguments = [parse_step(instruction, escape) for instruction in dockerfile.arguments]
        # A mistake counts even behind the stage that is wanted.
        steps = [[parse_step(instruction, escape) for instruction in stage.instructions] for stage in dockerfile.stages]
        del steps[len(stages) :]
        steps[-1] += [label_step(name, value) for name, value in sorted(self._request.labels.items())]
        self._total = len(arguments) + len(stages) + sum(len(inner) for inner in steps)
        for warning in dockerfile.warnings:
            self._progress.line(f"[Warning] {warning}")
        given = BuildArguments(self._request.arguments)
        for step in arguments:
            with self._step(step.instruction.original, step.instruction.line):
                words = StageConfig({}, given, escape)
                for name, value in step.pairs:
                    told = None if value is None else words.resolve(value, given.allowed)
                    given.declare(words.resolve(name, given.allowed), told, before_stages=True)
        for stage, inner in zip(stages, steps, strict=True):
            images = self._root.store().images() if self._request.use_cache else ()
            runner = StageRunner(
                self._maker,
                self._context,
                self,
                given.for_stage(),
                StepCache(images),
                self._options,
                self._progress,
                escape,
            )
            with self._step(stage.start.original, stage.start.line):
                runner.begin(stage)
            for step in inner:
                with self._step(step.instruction.original, step.instruction.line):
                    runner.carry_out(step)
            self._done.append((stage.name, runner.image))
        if given.unused:
            self._progress.line(f"[Warning] One or more build-args [{' '.join(given.unused)}] were not consumed")
        last = self._done[-1][1]
        if last.id is None:
            raise UsageError("no image was made: FROM scratch alone is nothing; add an instruction")
        return last.id, tuple(self._maker.problems)

    def _stages(self) -> Sequence[Stage]:
        stages, target = self._request.dockerfile.stages, self._request.target
        if not target:
            return stages
        for index, stage in enumerate(stages):
            if stage.name == target.lower():
                return stages[: index + 1]
        if target.isdecimal() and int(target) < len(stages):
            return stages[: int(target) + 1]
        named = ", ".join(stage.name for stage in stages if stage.name) or "none of its stages has a name"
        raise UsageError(f"the Dockerfile has no stage {target!r:.80} ({named})")

    @contextmanager
    def _step(self, text: str, line: int) -> Iterator[None]:
        """Tell of a step, and in the message of its failure which one it was."""
        self._number += 1
        self._progress.step(self._number, self._total, text)
        place = f" (line {line})" if line else ""
        doing = f"step {self._number}/{self._total}{place} {escape_text(text)[:80]}"
        self._maker.doing = doing
        try:
            yield
        except LayerscopeError as error:
            said = str(error)
            raise type(error)(said if said.startswith(doing) else f"{doing}: {said}") from None
        except OSError as error:
            # The disk of the root, or of the context; transactions have told what they know.
            raise CommitError(f"{doing}: {error.strerror or error}; nothing was changed") from None

    # ------------------------------------------------------------------ images that stages name
    def from_image(self, name: str, stage: Stage) -> StageImage:
        """What FROM names: an earlier stage, or an image."""
        for other, image in self._done:
            if other and other == name.lower():
                return image
        if name == _SCRATCH:
            return EMPTY
        return self._stored(name, stage)

    def source_image(self, name: str, stage: Stage) -> StageImage:
        """What COPY --from names: an earlier stage by name or number, or an image."""
        for other, image in self._done:
            if other and other == name.lower():
                return image
        if name.isdecimal() and len(name) < 6:
            index = int(name)
            if index == len(self._done):
                raise UsageError(f"--from={name} is this stage itself: a stage can't take files of itself")
            if index > len(self._done):
                raise UsageError(f"--from={name}: there is no stage {name} before this one")
            return self._done[index][1]
        return self._stored(name, stage)

    def _stored(self, name: str, stage: Stage) -> StageImage:
        try:
            image = self._find_image(name)
        except UsageError as error:
            later = [
                other for other in self._request.dockerfile.stages[len(self._done) :] if other.name == name.lower()
            ]
            if not later:
                raise UsageError(f"{error}; nothing is pulled: load or import it first") from None
            which = "this stage itself" if later[0] is stage else f"the later stage of line {later[0].start.line}"
            raise UsageError(
                f"{name!r:.80} is {which}, and no image: a stage can use earlier ones only, never in a circle"
            ) from None
        if image.broken or not image.config:
            raise CommitError(f"the image {name!r:.80} is broken; layerscope doctor tells more")
        return StageImage.of(image)
