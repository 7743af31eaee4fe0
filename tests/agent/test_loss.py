# SPDX-License-Identifier: Apache-2.0
"""30 % packet loss each way: an off succeeds within 30 s, and never falsely."""

from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest

from tests.agent.halvm import at, halvm, together
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

LOSS = 0.3
DEADLINE_S = 30
_ADDRESSES: Iterator[int] = count(1)


def off_through_loss(seed: int) -> None:
    with (
        Bmc(f"127.0.8.{next(_ADDRESSES)}") as bmc,
        UdpProxy((bmc.address, bmc.port), address=bmc.address, drop=LOSS, seed=seed) as proxy,
    ):
        outcome = halvm(*at(bmc, proxy.port), "-o", "off", f"--deadline={DEADLINE_S}")
        assert outcome.status == 0, (seed, outcome)
        assert outcome.stdout in ("Success: Powered OFF\n", "Success: Already OFF\n")  # a second session finds it off
        assert bmc.power == "off"


@pytest.mark.slow
def test_off_through_loss_three_times() -> None:
    together([partial(off_through_loss, seed) for seed in (11, 12, 13)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_off_through_loss_twenty_times(seed: int) -> None:
    off_through_loss(seed)


@pytest.mark.slow
def test_never_a_false_success_through_loss() -> None:
    """The chassis ignores every off: no loss, doubling or delay makes a success of that."""

    def one(seed: int) -> None:
        with Bmc(f"127.0.8.{next(_ADDRESSES)}") as bmc:
            bmc.ignore(off=True)
            with UdpProxy(
                (bmc.address, bmc.port), address=bmc.address, drop=LOSS, seed=seed, duplicate=True, delay_s=0.1
            ) as proxy:
                outcome = halvm(*at(bmc, proxy.port), "-o", "reboot", "--deadline=8", "--power-timeout=2")
                assert (outcome.status, outcome.stdout) == (1, "")

    together([partial(one, seed) for seed in range(8)])


def test_doubled_and_delayed_packets_do_not_matter(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.duplicate, proxy.delay_s = True, 0.1
    outcome = halvm(*at(bmc, proxy.port), "-o", "reboot")
    assert (outcome.status, outcome.stdout, bmc.power) == (0, "Success: Rebooted\n", "on")
