# SPDX-License-Identifier: Apache-2.0
"""The LUNs of the snapshot as JSON. While all are well, only times are new, and they are put into a text."""

import json
from collections.abc import Callable

from fencer.sidecar.lun_records import LunView
from fencer.sidecar.lun_state import LunStates
from fencer.state.json_records import plain
from fencer.state.snapshot import LunSnapshot

_TIME = "\0time\0"
"""No name, error or key has a NUL."""


class LunTexts:
    """describe: a LUN for the snapshot."""

    def __init__(self, known: LunStates, describe: Callable[[LunView], LunSnapshot]) -> None:
        self._known = known
        self._describe = describe
        self._template = ""
        self._changes = -1

    def text(self, now: float) -> str | None:
        """A JSON list of LunSnapshots; None when not all is well."""
        if not self._known.is_well(now):
            return None
        if self._changes != self._known.changes:
            self._template, self._changes = self._made(now), self._known.changes
        return self._template % self._known.times()

    def _made(self, now: float) -> str:
        luns = []
        for view in self._known.view(now):
            lun = plain(self._describe(view))
            lun["read_monotonic_s"] = _TIME
            for path in lun["paths"]:
                path["probed_monotonic_s"] = path["probe_took_s"] = _TIME
            luns.append(lun)
        text = json.dumps(luns, separators=(",", ":")).replace("%", "%%")
        return text.replace(json.dumps(_TIME), "%r")
