"""The files of an image, for COPY --from: seen through an overlay over its layers, with their sums."""

from __future__ import annotations

from layerscope.formats.engine_rules import rules_of
from layerscope.lab.build.files import entry_sum, resolved
from layerscope.lab.container.overlay_files import OverlayFiles
from layerscope.lab.image.commit import CommitOptions
from layerscope.overlay.engine import Overlay


class ImageFiles(OverlayFiles):
    """The tree below an overlay. Owner names in sums are those that the engine would write."""

    def __init__(self, overlay: Overlay, options: CommitOptions) -> None:
        super().__init__(overlay)
        self._options = options
        self._rules = rules_of(options.maker.engine)

    def sum(self, path: str) -> str:
        """The sum of what a path leads to; its path where that is nothing."""
        real = resolved(self, path)
        entry = self.entry(real)
        if entry is None:
            return real or "."
        user = group = b""
        if self._rules.owner_names:
            user = self._options.users.get(entry.uid, b"")
            group = self._options.groups.get(entry.gid, b"")
        return entry_sum(self, real, entry, type_bits=self._rules.type_bits, user=user, group=group)
