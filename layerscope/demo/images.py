"""The images of the story: what each instruction of their build files changed, and their configs.

The history reads like that of BuildKit, the times are those of the story.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from msgspec import Struct, field

from layerscope.demo import shop_images as shop
from layerscope.demo.base_image import add_root_file_system
from layerscope.demo.file_system import FileSystem, Step
from layerscope.model.digest import DiffID

CUT_OFF = "shop/web:2.5"
"""The image that was just being loaded when the host lost power."""
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LayerTar(Struct, frozen=True):
    """A layer as the tar that engines exchange, and its diff ID."""

    data: bytes
    diff_id: DiffID


class Row(Struct, frozen=True):
    """One row of a history: the instruction, when it ran, and its layer tar (None: it changed no file)."""

    created: str
    created_by: str
    layer: LayerTar | None


class Image(Struct, frozen=True):
    """An image in the making; each instruction gives a new one that begins with the rows of the old."""

    files: FileSystem = field(default_factory=FileSystem)
    rows: tuple[Row, ...] = ()
    config: Mapping[str, Any] = field(default_factory=lambda: {"Env": [_PATH]})

    def run(self, when: str, instruction: str, deed: Callable[[FileSystem, int], Step]) -> Image:
        """An instruction that changes files."""
        step = deed(self.files, int(datetime.fromisoformat(when).timestamp()))
        tar = step.tar()
        layer = LayerTar(tar, DiffID(f"sha256:{sha256(tar).hexdigest()}"))
        return Image(step.result, (*self.rows, Row(when, f"{instruction} # buildkit", layer)), self.config)

    def note(self, when: str, instruction: str, **config: Any) -> Image:
        """An instruction that changes the config only; ``Env`` is added to, the rest replaced."""
        merged = {**self.config, **config}
        if "Env" in config:
            merged["Env"] = [*self.config["Env"], *config["Env"]]
        return Image(self.files, (*self.rows, Row(when, instruction, None)), merged)

    @property
    def layers(self) -> list[LayerTar]:
        """Base first."""
        return [row.layer for row in self.rows if row.layer is not None]

    @property
    def created(self) -> datetime:
        """When its last instruction ran."""
        return datetime.fromisoformat(self.rows[-1].created)

    def document(self) -> bytes:
        """The image config; its digest is the image's id."""
        history = [
            {"created": row.created, "created_by": row.created_by, "comment": "buildkit.dockerfile.v0"}
            | ({} if row.layer is not None else {"empty_layer": True})
            for row in self.rows
        ]
        document = {
            "architecture": "amd64",
            "config": self.config,
            "created": self.rows[-1].created,
            "history": history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
        }
        return json.dumps(document, separators=(",", ":")).encode()


def _run(command: str) -> str:
    return f"RUN /bin/sh -c {command}"


def story() -> list[tuple[Image, tuple[str, ...]]]:
    """All images in the order in which they are loaded, each with its names; a name that comes again moves on."""
    base = Image().run(
        "2026-02-17T08:00:00Z", "ADD rootfs.tar.xz /", lambda _files, moment: add_root_file_system(moment)
    )
    base = base.note("2026-02-17T08:00:01Z", 'CMD ["bash"]', Cmd=["bash"])
    return [
        (base, ("demo/base:12", "demo/base:latest")),
        *_web(base),
        *_api(base),
        (_database(base), ("shop/db:16",)),
    ]


def _web(base: Image) -> list[tuple[Image, tuple[str, ...]]]:
    web = base.note(
        "2026-02-24T09:12:00Z",
        "LABEL maintainer=Pier 4 <web@shop.example>",
        Labels={"maintainer": "Pier 4 <web@shop.example>"},
    )
    clean = "apt-get update && apt-get install -y nginx && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*"
    web = web.run("2026-02-24T09:12:31Z", _run(clean), shop.install_nginx)
    web = web.run("2026-02-24T09:12:33Z", "COPY docker-entrypoint.sh /", shop.copy_entrypoint)
    web = web.run("2026-02-24T09:12:58Z", _run("apt-get update && apt-get install -y curl"), shop.install_curl)

    def finished(image: Image, day: str, version: str) -> Image:
        image = image.note(
            f"{day}5Z", f"ENV SHOP_VERSION={version} SHOP_PORT=80", Env=[f"SHOP_VERSION={version}", "SHOP_PORT=80"]
        )
        image = image.note(f"{day}6Z", "EXPOSE map[80/tcp:{}]", ExposedPorts={"80/tcp": {}})
        image = image.note(f"{day}7Z", "STOPSIGNAL SIGQUIT", StopSignal="SIGQUIT")
        image = image.note(f"{day}8Z", 'ENTRYPOINT ["/docker-entrypoint.sh"]', Entrypoint=["/docker-entrypoint.sh"])
        return image.note(f"{day}9Z", 'CMD ["nginx" "-g" "daemon off;"]', Cmd=["nginx", "-g", "daemon off;"])

    old = web.run(
        "2026-02-24T09:13:04Z",
        "COPY dist/ /usr/share/nginx/html/",
        lambda files, moment: shop.deploy(files, moment, "2.3", tidy=False),
    )
    swap = _run("cd /usr/share/nginx/html && rm -r 50x.html assets && cp -r /dist/. .")
    broken = web.run(
        "2026-03-11T16:48:02Z", swap, lambda files, moment: shop.deploy(files, moment, "2.4", tidy=True, broken=True)
    )
    new = web.run("2026-03-12T08:40:20Z", swap, lambda files, moment: shop.deploy(files, moment, "2.4", tidy=True))
    new = new.run("2026-03-12T08:40:22Z", _run("rm -rf /var/cache/apt /var/lib/apt/lists/*"), shop.remove_caches)
    new = new.run("2026-03-12T08:40:23Z", _run("chmod -R g-w /usr/share/nginx/html/assets"), shop.chmod_assets)
    next_one = web.run("2026-03-12T10:22:38Z", swap, lambda files, moment: shop.deploy(files, moment, "2.5", tidy=True))
    return [
        (finished(old, "2026-02-24T09:13:0", "2.3"), ("shop/web:2.3",)),
        (finished(broken, "2026-03-11T16:48:0", "2.4"), ("shop/web:2.4",)),
        (finished(new, "2026-03-12T08:40:2", "2.4"), ("shop/web:2.4",)),
        (next_one, (CUT_OFF,)),
    ]


def _api(base: Image) -> list[tuple[Image, tuple[str, ...]]]:
    command = "apt-get update && apt-get install -y python3 python3-pip && rm -rf /var/lib/apt/lists/*"
    python = base.run("2026-02-26T14:03:10Z", _run(command), shop.install_python)
    api = python.run("2026-02-26T14:03:11Z", "COPY requirements.txt /srv/api/", shop.copy_requirements)
    api = api.run("2026-02-26T14:03:42Z", _run("pip install -r /srv/api/requirements.txt"), shop.install_requirements)
    served = api.run("2026-03-09T11:20:00Z", "COPY shop_api/ /srv/api/shop_api/", shop.copy_service)
    served = served.note("2026-03-09T11:20:01Z", "WORKDIR /srv/api", WorkingDir="/srv/api")
    served = served.note("2026-03-09T11:20:02Z", "ENV PYTHONUNBUFFERED=1", Env=["PYTHONUNBUFFERED=1"])
    served = served.note("2026-03-09T11:20:03Z", "EXPOSE map[9000/tcp:{}]", ExposedPorts={"9000/tcp": {}})
    served = served.note(
        "2026-03-09T11:20:04Z", 'CMD ["python3" "-m" "shop_api.main"]', Cmd=["python3", "-m", "shop_api.main"]
    )
    report = api.run("2026-03-02T07:30:00Z", "COPY report.py tides.txt /srv/report/", shop.copy_report)
    report = report.note(
        "2026-03-02T07:30:01Z",
        'ENTRYPOINT ["python3" "/srv/report/report.py"]',
        Entrypoint=["python3", "/srv/report/report.py"],
    )
    return [(served, ("shop/api:1.0",)), (report, ("shop/report:0.9",))]


def _database(base: Image) -> Image:
    command = "apt-get update && apt-get install -y tidedb-16 && rm -rf /var/lib/apt/lists/*"
    database = base.run("2026-02-20T10:00:12Z", _run(command), shop.install_database)
    database = database.run("2026-02-20T10:00:13Z", "COPY tides.txt /docker-entrypoint.d/", shop.copy_seed)
    database = database.note("2026-02-20T10:00:14Z", "VOLUME [/var/lib/tidedb]", Volumes={"/var/lib/tidedb": {}})
    database = database.note("2026-02-20T10:00:15Z", "EXPOSE map[5600/tcp:{}]", ExposedPorts={"5600/tcp": {}})
    return database.note(
        "2026-02-20T10:00:16Z",
        'CMD ["tidedb" "-c" "/etc/tidedb/tidedb.conf"]',
        Cmd=["tidedb", "-c", "/etc/tidedb/tidedb.conf"],
    )
