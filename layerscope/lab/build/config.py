"""What the instructions that make no layer change in a configuration, and how docker's history tells of them.

The history's text is the shell, ``#(nop)`` and what was said, values replaced: that of WORKDIR, COPY and ADD is one
word with it, so one blank stands between, else two. Lists stand there as Go prints them (``["/bin/sh" "-c" "x"]``).

Source: moby builder/dockerfile/dispatchers.go, internals.go; 20.10.24.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from layerscope.errors import UsageError
from layerscope.lab.build.arguments import BuildArguments
from layerscope.lab.build.changes import ConfigState
from layerscope.lab.build.steps import Step
from layerscope.lab.build.words import resolve, split_words
from layerscope.lab.container.run_config import RunConfig, in_order

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL = ("/bin/sh", "-c")
_SHORT = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_SIGNALS = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE"),
        *("POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU"),
        *("URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"),
        *(f"RTMIN+{number}" for number in range(1, 16)),
        *(f"RTMAX-{number}" for number in range(1, 15)),
    )
)
_HEALTH_TIMES = ("Interval", "Timeout", "StartPeriod")


class StageConfig:
    """The configuration of a stage while it is built. ``author``: of MAINTAINER, "" without.

    Args:
        base: the ``config`` of the stage's image.
        arguments: the stage's.
        escape: the character that escapes.
    """

    def __init__(self, base: Mapping[str, Any], arguments: BuildArguments, escape: str) -> None:
        self.config: RunConfig = in_order(base)
        self.config.update(OpenStdin=False, StdinOnce=False)
        variables = list(self.config.get("Env") or ())
        if not any(variable.partition("=")[0] == "PATH" for variable in variables):
            self.config["Env"] = [*variables, f"PATH={DEFAULT_PATH}"]
        self.arguments = arguments
        self.author = ""
        self._escape = escape
        self._cmd_given = False

    # ------------------------------------------------------------------ words
    @property
    def environment(self) -> dict[str, str]:
        """The variables that are set."""
        return dict((*variable.partition("=")[::2],) for variable in self.config.get("Env") or ())

    @property
    def build_variables(self) -> dict[str, str]:
        """The build's arguments that no variable hides."""
        own = self.environment
        return {name: value for name, value in self.arguments.allowed.items() if name not in own}

    def resolve(self, word: str, variables: Mapping[str, str] | None = None) -> str:
        """A word without its quotes, variables replaced; by default those of the stage.

        Raises:
            UsageError: a quote or brace isn't closed, or the substitution is unknown.
        """
        if variables is None:
            variables = {**self.build_variables, **self.environment}
        try:
            return resolve(word, variables, self._escape)
        except RecursionError:
            raise UsageError(f"too many substitutions inside of each other: {word!r:.80}") from None

    def said(self, comment: str, one_word: bool = False) -> RunConfig:
        """The configuration of the container that such a step has: its command is the history's text."""
        words = [f"#(nop) {comment}"] if one_word else ["#(nop) ", comment]
        return {**self.config, "Cmd": [*self.shell, *words]}

    @property
    def shell(self) -> Sequence[str]:
        """The words before a line for the shell."""
        return self.config.get("Shell") or _SHELL

    def command(self, step: Step) -> list[str]:
        """The words of RUN, CMD or ENTRYPOINT, the shell's before them where it isn't a list."""
        return [*step.words] if step.is_list else [*self.shell, *step.words]

    # ------------------------------------------------------------------ the instructions
    def apply(self, step: Step) -> str:
        """Carry out an instruction of :data:`APPLIED`; gives what the history says.

        Raises:
            UsageError: it isn't right.
        """
        return APPLIED[step.keyword](self, step)

    def _pairs(self, step: Step) -> list[tuple[str, str]]:
        if step.literal:
            return [(name, value or "") for name, value in step.pairs]
        variables = {**self.build_variables, **self.environment}
        return [(self.resolve(name, variables), self.resolve(value or "", variables)) for name, value in step.pairs]

    def _env(self, step: Step) -> str:
        variables = list(self.config.get("Env") or ())
        comment = "ENV"
        for name, value in self._pairs(step):
            text = f"{name}={value}"
            comment += f" {text}"
            places = [place for place, old in enumerate(variables) if old.partition("=")[0] == name]
            if places:
                variables[places[0]] = text
            else:
                variables.append(text)
        self.config["Env"] = variables
        return comment

    def _label(self, step: Step) -> str:
        pairs = self._pairs(step)
        self.config["Labels"] = {**(self.config.get("Labels") or {}), **dict(pairs)}
        return " ".join(("LABEL", *(f"{name}={value}" for name, value in pairs)))

    def _arg(self, step: Step) -> str:
        words = ["ARG"]
        for name, value in step.pairs:
            name = self.resolve(name)
            value = None if value is None else self.resolve(value)
            words.append(name if value is None else f"{name}={value}")
            self.arguments.declare(name, value)
        return " ".join(words)

    def _maintainer(self, step: Step) -> str:
        self.author = step.words[0]
        return f"MAINTAINER {step.words[0]}"

    def _user(self, step: Step) -> str:
        self.config["User"] = self.resolve(step.words[0])
        return f"USER {self.config['User']}"

    def _cmd(self, step: Step) -> str:
        self.config["Cmd"] = self.command(step)
        self.config.pop("ArgsEscaped", None)
        self._cmd_given = self._cmd_given or bool(step.words)
        return f"CMD {go_quoted_list(self.config['Cmd'])}"

    def _entrypoint(self, step: Step) -> str:
        self.config["Entrypoint"] = self.command(step) if step.words else None
        self.config.pop("ArgsEscaped", None)
        if not self._cmd_given:
            self.config["Cmd"] = None
        return f"ENTRYPOINT {go_quoted_list(self.config['Entrypoint'] or ())}"

    def _volume(self, step: Step) -> str:
        paths = [self.resolve(word) for word in step.words]
        if not all(paths):
            raise UsageError("a volume can't be an empty text")
        self.config["Volumes"] = {**(self.config.get("Volumes") or {}), **{path: {} for path in paths}}
        return f"VOLUME [{' '.join(paths)}]"

    def _expose(self, step: Step) -> str:
        ports = [port for word in step.words for port in split_words(self.resolve(word))]
        if ports:
            self._by_state("EXPOSE", " ".join(ports))
        return f"EXPOSE {' '.join(ports)}"

    def _stop_signal(self, step: Step) -> str:
        signal = self.resolve(step.words[0])
        is_number = signal.isascii() and signal.isdecimal() and len(signal) < 4 and int(signal) > 0
        if not is_number and signal.upper().removeprefix("SIG") not in _SIGNALS:
            raise UsageError(f"{signal!r:.80} is no signal")
        self.config["StopSignal"] = signal
        return f"STOPSIGNAL {signal}"

    def _healthcheck(self, step: Step) -> str:
        self._by_state("HEALTHCHECK", step.words[0])
        health = self.config["Healthcheck"]
        times = " ".join(f'"{go_duration(health.get(name) or 0)}"' for name in _HEALTH_TIMES)
        retries = go_quoted(chr(health.get("Retries") or 0), "'")
        return f"HEALTHCHECK &{{{go_quoted_list(health['Test'])} {times} {retries}}}"

    def _on_build(self, step: Step) -> str:
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), step.words[0]]
        return f"ONBUILD {step.words[0]}"

    def _shell(self, step: Step) -> str:
        self.config["Shell"] = list(step.words)
        return f"SHELL [{' '.join(step.words)}]"

    def _by_state(self, instruction: str, text: str) -> None:
        state = ConfigState(dict(self.config))
        state.apply(instruction, text)
        self.config = state.config

    # ------------------------------------------------------------------ WORKDIR
    def change_directory(self, step: Step) -> str:
        """WORKDIR: takes the new path into the configuration; gives what the history says."""
        path = self.resolve(step.words[0])
        if not path:
            raise UsageError("the path is empty")
        if not path.startswith("/"):
            path = clean_path(f"/{self.config.get('WorkingDir') or ''}/{path}")
        self.config["WorkingDir"] = path
        return f"WORKDIR {path}"


APPLIED: dict[str, Callable[[StageConfig, Step], str]] = {
    "ARG": StageConfig._arg,
    "CMD": StageConfig._cmd,
    "ENTRYPOINT": StageConfig._entrypoint,
    "ENV": StageConfig._env,
    "EXPOSE": StageConfig._expose,
    "HEALTHCHECK": StageConfig._healthcheck,
    "LABEL": StageConfig._label,
    "MAINTAINER": StageConfig._maintainer,
    "ONBUILD": StageConfig._on_build,
    "SHELL": StageConfig._shell,
    "STOPSIGNAL": StageConfig._stop_signal,
    "USER": StageConfig._user,
    "VOLUME": StageConfig._volume,
}
"""What changes a configuration and nothing else."""


def clean_path(path: str) -> str:
    """An absolute path without ``.``, ``..`` and needless slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


# ---------------------------------------------------------------------- as Go prints
def go_quoted(text: str, quote: str = '"') -> str:
    """A text as Go's ``%q`` prints it."""
    shown = []
    for char in text:
        if char in (quote, "\\"):
            shown.append(f"\\{char}")
        elif char in _SHORT:
            shown.append(_SHORT[char])
        elif char.isprintable():
            shown.append(char)
        elif char < " " or char == "\x7f":
            shown.append(f"\\x{ord(char):02x}")
        else:
            shown.append(f"\\u{ord(char):04x}" if char < "\U00010000" else f"\\U{ord(char):08x}")
    return quote + "".join(shown) + quote


def go_quoted_list(words: Iterable[str]) -> str:
    """A list as Go's ``%q`` prints it."""
    return f"[{' '.join(go_quoted(word) for word in words)}]"


def go_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: ``1m30s``, ``1.5s``, ``200ms``."""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(amount: int, size: int) -> str:
    whole, rest = divmod(amount, size)
    return f"{whole}.{str(rest + size)[1:].rstrip('0')}" if rest else str(whole)
