# SPDX-License-Identifier: Apache-2.0
"""The one rule for when a sidecar counts as alive: by its snapshot, the boot id and CLOCK_MONOTONIC. Pure.

The exporter, ``halvm-watchdogd status`` and the agent's ``proof=self`` all decide by it.
"""

import math

from fencer._enum import StrEnum
from fencer.state.snapshot import PolicyState, Snapshot

MISSED_INTERVALS = 3
FRESH_LEAST_S = 5.0
"""The limit for short intervals: a busy machine may delay the publisher so long."""

FRESH_MOST_S = 900.0
"""The limit for long intervals."""


class Liveness(StrEnum):
    """What a snapshot says of its sidecar. Only ALIVE counts as alive."""

    ALIVE = "alive"
    STOPPED = "stopped"  # fresh, but the last one before an orderly stop
    STALE = "stale"  # of this boot, but not renewed in time
    OTHER_BOOT = "other boot"  # the sidecar has not run in this boot
    NO_NUMBERS = "no numbers"  # a time is infinite or NaN
    FUTURE = "future"  # written later than now


def liveness(snapshot: Snapshot, boot_id: str, now_s: float) -> Liveness:
    """The liveness of the sidecar that wrote a snapshot. now_s: CLOCK_MONOTONIC, taken after the snapshot was read."""
    if not boot_id or snapshot.boot_id != boot_id:
        return Liveness.OTHER_BOOT
    times = (snapshot.written_monotonic_s, snapshot.written_unix_s, snapshot.interval_s, snapshot.check_interval_s)
    if not all(map(math.isfinite, times)):  # NaN compares false with every limit
        return Liveness.NO_NUMBERS
    age_s = now_s - snapshot.written_monotonic_s
    if not age_s >= 0:
        return Liveness.FUTURE
    if not age_s < fresh_for_s(snapshot.interval_s):
        return Liveness.STALE
    return Liveness.STOPPED if snapshot.state is PolicyState.STOPPED else Liveness.ALIVE


def fresh_for_s(interval_s: float) -> float:
    """The age at which something that is renewed every interval_s is stale."""
    return min(max(FRESH_LEAST_S, MISSED_INTERVALS * interval_s), FRESH_MOST_S)
