"""Which image configs docker takes from an archive: its fields must be of docker's kinds, and its times be times.

What isn't known is left alone, and null stands for nothing anywhere. docker hides an image whose config it can't read,
so one that came in all the same would be lost. Source: moby image/image.go (``Image``, ``V1Image``),
api/types/container/config.go, api/types/strslice; tried with 20.10.24.
"""

from __future__ import annotations

from typing import Any

import msgspec

from layerscope.errors import CommitError
from layerscope.formats.escape import escape
from layerscope.model.digest import ImageID, digest_of
from layerscope.model.problem import Severity
from layerscope.stores.records.image_config import HIDDEN, ImageConfig, config_record

_Words = list[str | None] | str | None
"""Several words, or one."""
_Texts = list[str | None] | None
_Keys = dict[str, dict[str, Any] | None] | None


class _Healthcheck(msgspec.Struct, rename="pascal"):
    test: _Texts = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    retries: int | None = None


class _RunConfig(msgspec.Struct, rename="pascal"):
    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: _Keys = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: _Texts = None
    cmd: _Words = None
    healthcheck: _Healthcheck | None = None
    args_escaped: bool | None = None
    image: str | None = None
    volumes: _Keys = None
    working_dir: str | None = None
    entrypoint: _Words = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: _Texts = None
    labels: dict[str, str | None] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: _Words = None


class _Image(msgspec.Struct):
    id: str | None = None
    parent: str | None = None
    comment: str | None = None
    container: str | None = None
    container_config: _RunConfig | None = None
    config: _RunConfig | None = None
    variant: str | None = None
    size: int | None = msgspec.field(default=None, name="Size")
    os_version: str | None = msgspec.field(default=None, name="os.version")
    os_features: _Texts = msgspec.field(default=None, name="os.features")


def demand_config(config: bytes, where: str) -> None:
    """Refuse a config that docker would refuse; ``where`` is its name in the archive.

    Raises:
        CommitError: it isn't one.
    """
    said = f"{escape(where)[:200]} of the archive is no image config"
    for form in (ImageConfig, _Image):
        try:
            msgspec.json.decode(config, type=form)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise CommitError(f"{said}: {str(error)[:200]}") from None
    for problem in config_record(ImageID(digest_of(config)), where, config).problems:
        if problem.severity is Severity.ERROR or problem.effect == HIDDEN:
            raise CommitError(f"{said}: it {problem.what}")
