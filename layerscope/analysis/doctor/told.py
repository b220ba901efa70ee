"""The rules for what the stores and drivers tell by themselves: which kind of damage is it, and what does docker do?

A rule knows its problems by the place that they are told of, and where one place can be damaged in several ways, by a
word of what is said. The first rule that fits counts. What docker does was seen with 20.10.24, unless said otherwise in
the rule's text. Sources: moby daemon/daemon.go, layer/layer_store.go, image/store.go, refstore/store.go,
daemon/graphdriver/overlay2/overlay.go; moby issues 35747, 36304, 38344, 42456, 44909, 45939, 22207.
"""

from __future__ import annotations

import re

from msgspec import Struct

from layerscope.model.diagnosis import Outcome
from layerscope.model.problem import Problem

_HEX = "[0-9a-f]{64}"
_CHAIN = f"R/layerdb/sha256/{_HEX}"
_HOMES = "overlay2|overlay|fuse-overlayfs|aufs/diff|btrfs/subvolumes|vfs/dir"
_RECORDS = re.compile(r"^image/[^/]+/")


class Told(Struct, frozen=True):
    """One kind of damage; ``place`` matches a whole path, ``R`` being the driver's records; ``word`` what is said."""

    rule: str
    place: re.Pattern[str]
    word: re.Pattern[str]
    outcome: Outcome
    docker: str
    readable: str
    repair: str

    def fits(self, problem: Problem) -> bool:
        """Whether this rule is the one for a problem."""
        return bool(
            self.place.fullmatch(_RECORDS.sub("R/", problem.path))
            and self.word.search(f"{problem.what}; {problem.effect}")
        )


def _rule(rule: str, place: str, outcome: Outcome, docker: str, readable: str, repair: str, word: str = "") -> Told:
    return Told(rule, re.compile(place), re.compile(word), outcome, docker, readable, repair)


_DROPPED = "it drops this layer and everything above it: those images are hidden, their containers gone"
_UP_TO = "the levels below the gap, and whatever the directory holds"
_AGAIN = "stop docker, move the record away, pull or load the image again; containers on it need their own record back"
_NOT_LOADED = "it doesn't load the container; its files stay"

RULES: tuple[Told, ...] = (
    _rule(
        "names missing",
        "R/repositories.json",
        Outcome.FORGETS_NAMES,
        "it makes a new, empty file: all images are <none>",
        "all images, without names",
        "put the file back from a backup, or tag the images again",
        word="is missing",
    ),
    _rule(
        "names damaged",
        "R/repositories.json",
        Outcome.REFUSES_TO_START,
        "the daemon does not start: “Couldn't create reference store repository”",
        "all images, without names",
        "restore the file (a .tmp-repositories.json beside it may be whole), or move it away and tag the images again",
        word="refuses to start",
    ),
    _rule(
        "name damaged",
        "R/repositories.json",
        Outcome.WORKS,
        "it ignores this name",
        "everything else",
        "take the name out of the file while docker is stopped, or give it to another image",
    ),
    _rule(
        "name without image",
        f"R/imagedb/content/sha256/{_HEX}",
        Outcome.HIDES_IMAGE,
        "it doesn't show the name, and keeps it in its file",
        "containers of that image, by the records of their own layers",
        "pull or load the image again, or give the name to another image",
        word="though it has a name",
    ),
    _rule(
        "write interrupted",
        r"R/imagedb/content/sha256/\.tmp-.*|R/layerdb/tmp/.*",
        Outcome.KEEPS,
        "it never removes it",
        "everything else",
        "remove it while docker is stopped",
    ),
    _rule(
        "image record misnamed",
        "R/imagedb/content/sha256/[^/]+",
        Outcome.HIDES_IMAGE,
        "it skips the file",
        "the image, by the digest of its bytes",
        "rename the file to the digest of its bytes while docker is stopped",
        word="is no image ID",
    ),
    _rule(
        "image record damaged",
        f"R/imagedb/content/sha256/{_HEX}",
        Outcome.HIDES_IMAGE,
        "it says “invalid image” and hides the image; names and files stay",
        "the fields that still can be parsed, and its layers if they are named",
        "restore the very bytes (their digest is the name), or pull or load the image again",
    ),
    _rule(
        "image parent damaged",
        "R/imagedb/metadata/.*",
        Outcome.WORKS,
        "it shows the image without that parent",
        "everything else",
        "remove the metadata of the image while docker is stopped",
    ),
    _rule(
        "layer deletion interrupted",
        r"R/layerdb/sha256/.*-removing",
        Outcome.CLEANS,
        "it removes it, with its directory of files, when it stops in good order",
        "the layer's files, by the cache-id in the record",
        "start docker and stop it in good order",
    ),
    _rule(
        "layer record empty",
        _CHAIN,
        Outcome.HIDES_IMAGE,
        f"{_DROPPED}; and it can't register the layer again (“file exists”)",
        _UP_TO,
        "stop docker and remove the empty directory, then pull or load the image again",
        word="holds no layer record",
    ),
    _rule(
        "layer parent lost",
        _CHAIN,
        Outcome.WORKS,
        "it loads it on the wrong layer, or as a base, and counts wrong sizes (read in its source)",
        "the right order, from an image's configuration",
        "write the chain ID of the layer below into the file parent, without a newline, while docker is stopped",
        word="together make another chain ID",
    ),
    _rule("layer record missing", _CHAIN, Outcome.HIDES_IMAGE, _DROPPED, _UP_TO, _AGAIN, word="is missing"),
    _rule(
        "layer size damaged",
        f"{_CHAIN}/size",
        Outcome.HIDES_IMAGE,
        _DROPPED,
        "all of the layer's files; its recorded size is unknown",
        "write the number of bytes into the file, without a newline, while docker is stopped",
    ),
    _rule("layer record damaged", f"{_CHAIN}(/.*)?", Outcome.HIDES_IMAGE, _DROPPED, _UP_TO, _AGAIN),
    _rule(
        "foreign entry among layers",
        "R/layerdb/sha256/[^/]+",
        Outcome.KEEPS,
        "it ignores it",
        "everything",
        "remove it while docker is stopped",
    ),
    _rule(
        "container layer without container",
        "R/layerdb/mounts/[^/]+",
        Outcome.KEEPS,
        "it loads it unseen, never removes it, and so keeps the layers below it for ever",
        "its files, in the driver's directory of its mount ID",
        "stop docker, remove this record, the driver's directories of its mount ID and init ID and their names in l/",
        word="orphaned container layer",
    ),
    _rule(
        "container being made or removed",
        "R/layerdb/mounts/[^/]+",
        Outcome.KEEPS,
        "it is at work on it, or was interrupted and leaves it behind",
        "its files",
        "look again when no container is being created or removed",
        word="layer of an unfinished container",
    ),
    _rule(
        "build step",
        "R/layerdb/mounts/[^/]+",
        Outcome.KEEPS,
        "a running build has it; one that was killed leaves it behind",
        "its files",
        "look again when no build runs",
        word="build step",
    ),
    _rule(
        "container without layer",
        f"R/layerdb/mounts/{_HEX}",
        Outcome.SKIPS_CONTAINER,
        f"it says “mount does not exist”; {_NOT_LOADED}",
        "its settings, log and image; its changes only if their directory is found",
        "write mount-id, init-id and parent anew, if the directory of its changes is known; else remove the container",
        word="is missing",
    ),
    _rule(
        "mount record damaged",
        f"R/layerdb/mounts/{_HEX}(/.*)?",
        Outcome.SKIPS_CONTAINER,
        f"it ignores the record; {_NOT_LOADED}",
        "its settings, log and image",
        "write the 64 digits of the driver's directory into the file while docker is stopped",
    ),
    _rule(
        "removal of container interrupted",
        f"containers/{_HEX}/config.v2.json",
        Outcome.WORKS,
        "the container comes back as dead",
        "what was not removed yet",
        "docker rm -f",
        word="(is|was) being removed",
    ),
    _rule(
        "image of container removed",
        f"containers/{_HEX}/config.v2.json",
        Outcome.WORKS,
        "it works, with the image's ID for a name",
        "everything: the layers are known from the mount record",
        "none is needed; pull the image again to have its name and history",
        word="was made from the image",
    ),
    _rule(
        "name of two containers",
        f"containers/{_HEX}/config.v2.json",
        Outcome.SKIPS_CONTAINER,
        "it loads only one of them, at random",
        "both",
        "give one of them another Name in its config.v2.json while docker is stopped",
        word="has the name",
    ),
    _rule(
        "container of another ID",
        f"containers/{_HEX}/config.v2.json",
        Outcome.SKIPS_CONTAINER,
        _NOT_LOADED,
        "everything",
        "make ID the name of the directory again while docker is stopped",
        word="has the ID",
    ),
    _rule(
        "container record damaged",
        f"containers/{_HEX}/config.v2.json",
        Outcome.SKIPS_CONTAINER,
        f"it says “failed to load container”; {_NOT_LOADED}",
        "its layers, size and log; its name and settings are lost",
        "restore the file from a backup or a .tmp-config.v2.json beside it, while docker is stopped",
        word="doesn't load",
    ),
    _rule(
        "host settings damaged",
        f"containers/{_HEX}/hostconfig.json",
        Outcome.SKIPS_CONTAINER,
        _NOT_LOADED,
        "everything but its host settings",
        "restore the file, or remove it while docker is stopped: a missing one is taken as empty",
    ),
    _rule(
        "stray entry among containers",
        "containers/[^/]+",
        Outcome.SKIPS_CONTAINER,
        "it says “failed to load container” and leaves it alone",
        "everything else",
        "move it away while docker is stopped",
    ),
    _rule(
        "short name missing",
        "(overlay2|fuse-overlayfs)/l/.*",
        Outcome.FAILS_ON_USE,
        "what stands on this layer can't be inspected, started or measured",
        "everything: layers are found by their link files",
        "make the symlink again",
    ),
    _rule(
        "short name damaged",
        f"({_HOMES})/[^/]+/link",
        Outcome.FAILS_ON_USE,
        "“readlink …/l: invalid argument”: what stands on this layer can't be mounted",
        "everything: the order is taken from the layer records",
        "write the name that l/ has for it into the file, and into lower of the layers above, while docker is stopped",
    ),
    _rule(
        "order disagrees",
        r"(overlay2|fuse-overlayfs)/[^/]+/lower|aufs/layers/[^/]+",
        Outcome.MOUNTS_OTHER,
        "it mounts what lower says (read in its source), whatever the layer records say",
        "both orders; what would be mounted is shown",
        "write lower anew from the layer records while docker is stopped",
        word="names [0-9]+ layers below|whose own record is damaged",
    ),
    _rule(
        "order damaged",
        r"(overlay2|fuse-overlayfs)/[^/]+/lower|aufs/layers/[^/]+|overlay/[^/]+/lower-id",
        Outcome.FAILS_ON_USE,
        "it can't mount the layer",
        "everything: the order is taken from the layer records",
        "write lower anew from the layer records while docker is stopped",
    ),
    _rule(
        "contents missing",
        f"({_HOMES})/[^/]+(/diff)?",
        Outcome.FAILS_ON_USE,
        "all is listed, with its size; start, diff, export, save fail: “no such file or directory”",
        "the names of its files, from the record of its tar; all other layers",
        "restore the directory, or remove the image and pull it again",
        word="contents",
    ),
    _rule(
        "other driver",
        "image|containers",
        Outcome.WORKS,
        "it shows only what belongs to the driver it runs; with several to choose from it may refuse to start",
        "everything, driver by driver",
        "--driver NAME",
        word="drivers?",
    ),
    _rule(
        "volume record damaged",
        "volumes/.*",
        Outcome.UNKNOWN,
        "",
        "the volume's files",
        "",
    ),
)


def rule_for(problem: Problem) -> Told | None:
    """The first rule that fits."""
    return next((rule for rule in RULES if rule.fits(problem)), None)
