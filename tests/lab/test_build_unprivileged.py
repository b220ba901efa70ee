"""A build in a lab of an ordinary user: the image is the one that root would have built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_lab_unprivileged import NOBODY, as_user, place

from layerscope.cli.build_progress import BuildProgress
from layerscope.services.lab.build import build_options, build_request
from layerscope.services.lab.lab import commit_options, new_lab, open_lab

__all__ = ["place"]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="compares with a lab that root makes"),
]
DOCKERFILE = b"""FROM base:1.0 AS first
COPY --chown=ada tree /made/
ADD --chown=4:5 tree /srv
RUN echo x > /etc/motd && rm -r /usr && chown 7:8 /opt && chmod 4711 /etc/group
WORKDIR /some/where
USER ada
FROM base:1.0
COPY --from=first /made /home/ada /taken/
COPY --from=first --chown=9:9 /etc/group /group
COPY . /all
LABEL a=b
"""


def build(root: Path, context: Path) -> str:
    new_lab(root)
    request = build_request(context, DOCKERFILE)
    options = build_options(commit_options(), "1700000000")
    with open_lab(root) as lab:
        image, problems = lab.build(request, ["built:1"], options, BuildProgress(quiet=True))
    assert problems == ()
    return image


def test_the_image_is_the_one_that_root_builds(place: Path, tmp_path: Path) -> None:
    context = place.parent / "context"
    (context / "tree/inner").mkdir(parents=True)
    (context / "tree/inner/file").write_text("file\n")
    (context / "tree/inner/file").chmod(0o4755)
    (context / "tree/link").symlink_to("inner/file")
    os.link(context / "tree/inner/file", context / "tree/again")
    (context / "tree/inner").chmod(0o2755)
    os.mkfifo(context / "tree/pipe")
    by_root = build(tmp_path / "lab", context)
    assert as_user(NOBODY, lambda: build(place / "lab", context)) == by_root
