"""The sidecar beside stress-ng: processor, memory and disk under pressure reset nobody.

`make watchdog-soak` does the same for twenty minutes with the default timeouts.
"""

import pytest

from .conftest import require
from .level2 import Shape
from .watchdog_rig import armed
from .watchdog_trials import soak

SECONDS = 40.0
TIMEOUT_S = 15
"""The processor is emulated and shared: whoever takes it away for long is not what this is about."""

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


def test_no_reset_under_pressure() -> None:
    require(Shape().snapshot)
    with armed(watchdog_timeout_s=TIMEOUT_S) as kept:
        soaked = soak(kept, SECONDS)
    print(soaked)
    assert soaked.keepalives >= SECONDS / TIMEOUT_S * 2
    assert soaked.worst_gap_s < TIMEOUT_S
    assert "self-fence" not in soaked.states
