# SPDX-License-Identifier: Apache-2.0
"""The sidecar under pressure on processor, memory and disk, and beside a crowd at the exporter: nobody is reset.

`make watchdog-soak` does the first for twenty minutes with the default timeouts.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .agent import STATE
from .conftest import require
from .level2 import Shape
from .watchdog_rig import Kept, Rig, armed
from .watchdog_trials import Soaked, soak

SECONDS = 40.0
TIMEOUT_S = 15
"""The processor is emulated and shared: whoever takes it away for long is not what this is about."""

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]


CROWD = (
    f"(halvm-exporter --web.listen-address=127.0.0.1:10623 --snapshot.file={STATE}/watchdogd.json >/dev/null 2>&1 & "
    "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 10623))' 2>/dev/null; do sleep 1; done; "
    "exec python3 /run/lab/scrape_crowd.py {seconds:.0f})"
)


@pytest.fixture(scope="module")
def node() -> Iterator[Kept]:
    require(Shape().snapshot)
    with armed(watchdog_timeout_s=TIMEOUT_S) as kept:
        yield kept


def well(soaked: Soaked) -> None:
    print(soaked)
    assert soaked.keepalives >= SECONDS / TIMEOUT_S * 2
    assert soaked.worst_gap_s < TIMEOUT_S
    assert "self-fence" not in soaked.states


def test_no_reset_under_pressure(node: Kept) -> None:
    well(soak(node, SECONDS))


@pytest.mark.long
def test_a_crowd_at_the_exporter_is_not_felt(node: Kept) -> None:
    """Fifty scrapers, twenty clients that never read and five that send nonsense, on the sidecar's one processor."""

    def prepare(rig: Rig) -> None:
        rig.guest.put("/run/lab/scrape_crowd.py", (Path(__file__).parent / "scrape_crowd.py").read_bytes())

    soaked = soak(node, SECONDS + 30, CROWD, prepare)
    well(soaked)
    assert int(soaked.said.split()[-1]) > 0, soaked.said
