"""podman's answers about the samples in the shape of docker's, by the names that docker's have.

Kept beside podman's own: ``save-layers.json``, what podman 4.3 saved of the image that it can (its own record of a tar
with a sparse file doesn't give that tar back), and ``export.json``, what the kernel's mount of the directories that
``podman inspect`` names holds.
"""

from __future__ import annotations

import json
import re
from typing import Any

from podman_roots import DATA, truth, truth_lines


def answer(driver: str, name: str) -> Any:
    """One answer; None if podman gave none of that kind."""
    make = _MADE.get(name)
    if make is not None:
        return make(driver)
    path = DATA / driver / "truth" / name
    return json.loads(path.read_text()) if path.exists() and name in ("save-layers.json", "export.json") else None


def _images(driver: str) -> list[dict[str, Any]]:
    return [
        {**image, "Id": f"sha256:{image['Id']}", "Parent": f"sha256:{image['Parent']}" if image["Parent"] else ""}
        for image in truth(driver, "image-inspect")
    ]


def _disk_use(driver: str) -> dict[str, Any]:
    if not (DATA / driver / "truth" / "system-df-v.txt").exists():
        return {"Images": []}
    identifiers = {image["Id"][:12]: image["Id"] for image in truth(driver, "images-all")}
    rows = [line.split() for line in truth_lines(driver, "system-df-v") if re.match(r"(localhost|<none>)", line)]
    return {
        "Images": [
            {
                "ID": f"sha256:{identifiers[short]}",
                "Repository": name,
                "Tag": tag,
                "SharedSize": shared,
                "UniqueSize": unique,
                "Containers": containers,
            }
            for name, tag, short, *_age_and_size, shared, unique, containers in rows
        ]
    }


def _history(driver: str) -> dict[str, Any]:
    return {
        image: [{**row, "Comment": row.get("comment", ""), "Size": str(row["size"])} for row in rows]
        for image, rows in truth(driver, "image-history").items()
    }


def _containers(driver: str) -> list[dict[str, Any]]:
    sizes = {told["Id"]: told["Size"] for told in truth(driver, "ps-as")}
    return [
        {
            **told,
            "Name": f"/{told['Name']}",
            "Image": f"sha256:{told['Image']}",
            "Config": {**told["Config"], "Image": told["ImageName"]},
            "SizeRw": sizes[told["Id"]]["rwSize"],
            "SizeRootFs": sizes[told["Id"]]["rootFsSize"],
        }
        for told in truth(driver, "container-inspect")
    ]


def _changes(driver: str) -> dict[str, list[str]]:
    letters = {"added": "A", "changed": "C", "deleted": "D"}
    return {
        name: [f"{letters[kind]} {path}" for kind, paths in told.items() for path in paths]
        for name, told in truth(driver, "container-diff").items()
    }


_MADE = {
    "inspect-images.json": _images,
    "images-a.jsonl": lambda driver: [{"ID": f"sha256:{image['Id']}"} for image in truth(driver, "images-all")],
    "system-df-v.json": _disk_use,
    "history-cli.json": _history,
    "inspect-containers.json": _containers,
    "ps-as.jsonl": lambda driver: [],
    "diff.json": _changes,
    "info.json": lambda driver: {"Driver": driver},
}
