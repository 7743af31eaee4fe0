# SPDX-License-Identifier: Apache-2.0
"""IpmiChassisPower on bad lines and with bad BMCs. The parent's deadline ends what does not end by itself."""

import pytest

from fencer.model import BmcSettings, PowerState, Secret
from fencer.observations import ChassisObserved, PowerDone, SessionOpened
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming
from tests.power.forked import forked
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import OPEN_SESSION_RESPONSE, RAKP_2, UdpProxy, Way, payload_type

pytestmark = pytest.mark.peer

GOAL_OFF = PowerGoal(PowerAim.OFF)
OFF = ChassisObserved(PowerState.OFF)


def settings(at: Bmc | UdpProxy, cipher: int | None = None) -> BmcSettings:
    return BmcSettings(at.address, at.port, b"ADMIN", Secret(b"ADMIN"), cipher=cipher)


def test_silence_is_met_with_few_packets(proxy: UdpProxy) -> None:
    proxy.blackhole = True
    ended = forked(settings(proxy), GOAL_OFF, deadline_s=8.0)
    assert ended.killed
    assert len(ended.seen) == 0
    assert 3 <= proxy.passed.to_bmc <= 30


@pytest.mark.parametrize("status", [0x02, 0x08])
def test_rakp_2_wrong_for_ever_ends_with_the_deadline(proxy: UdpProxy, status: int) -> None:
    def spoil(way: Way, packet: bytes) -> bytes:
        return packet[:17] + bytes((status,)) + packet[18:] if payload_type(packet) == RAKP_2 else packet

    proxy.tamper = spoil
    ended = forked(settings(proxy), GOAL_OFF, deadline_s=3.0)
    assert ended.killed
    assert len(ended.seen) == 0
    assert proxy.passed.to_bmc <= 40


@pytest.mark.parametrize("kept", [17, 20, 30])
def test_truncated_answers_are_an_error(proxy: UdpProxy, kept: int) -> None:
    proxy.tamper = lambda _, packet: packet[:kept] if payload_type(packet) == RAKP_2 else packet
    ended = forked(settings(proxy), GOAL_OFF)
    assert not ended.failure.final
    assert ended.failure.reason == "127.0.0.1: the BMC's answers do not decode"


def test_random_answers_are_never_success(proxy: UdpProxy) -> None:
    proxy.tamper = lambda way, packet: bytes(4) + packet[:3] if way is Way.TO_CLIENT else packet
    ended = forked(settings(proxy), GOAL_OFF, deadline_s=2.0)
    assert ended.killed or not ended.failure.final
    assert OFF not in ended.seen


def test_a_bmc_that_drops_suite_17_is_asked_for_suite_3(bmc: Bmc, proxy: UdpProxy) -> None:
    def drop_refusal(way: Way, packet: bytes) -> bytes | None:
        return None if payload_type(packet) == OPEN_SESSION_RESPONSE and packet[17] else packet

    proxy.tamper = drop_refusal
    ended = forked(settings(proxy), GOAL_OFF)
    assert ended.done
    assert bmc.power == "off"


def test_a_bmc_that_dies_in_the_session(proxy: UdpProxy) -> None:
    proxy.die_after = 7  # capabilities, two Open Session, RAKP 1, RAKP 3, privilege, chassis status
    ended = forked(settings(proxy), GOAL_OFF, deadline_s=4.0)
    assert ended.killed
    assert OFF not in ended.seen
    assert proxy.passed.to_bmc <= 40


def test_a_bmc_that_forgets_the_session_is_unreachable(bmc: Bmc) -> None:
    bmc.ignore(off=True)
    restarted: list[bool] = []

    def restart(seen: object) -> None:
        if isinstance(seen, ChassisObserved) and not restarted:
            restarted.append(True)
            bmc.restart()

    ended = forked(settings(bmc), GOAL_OFF, on_seen=restart)
    assert isinstance(ended.seen[0], SessionOpened)
    assert not ended.failure.final
    assert ended.failure.reason == "127.0.0.1: the BMC has dropped the session"


@pytest.mark.parametrize("cipher", [3, None])
def test_doubled_packets(bmc: Bmc, proxy: UdpProxy, cipher: int | None) -> None:
    proxy.duplicate = True
    assert all(forked(settings(proxy, cipher), PowerGoal(PowerAim.REBOOT)).done for _ in range(5))
    assert bmc.power == "on"


@pytest.mark.slow
def test_a_slow_line(bmc: Bmc, proxy: UdpProxy) -> None:
    """Each answer comes later than the first patience lasts."""
    proxy.delay_s = 0.25
    assert forked(settings(proxy), GOAL_OFF).done
    assert bmc.power == "off"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_third_of_all_packets_lost(bmc: Bmc, seed: int) -> None:
    with UdpProxy((bmc.address, bmc.port), drop=0.3, seed=seed) as proxy:
        ended = forked(settings(proxy), GOAL_OFF, deadline_s=60.0)
    assert ended.done
    assert bmc.power == "off"


@pytest.mark.slow
def test_a_slow_bmc_is_commanded_once(bmc: Bmc) -> None:
    bmc.slow(set_s=4.0)
    ended = forked(settings(bmc), PowerGoal(PowerAim.REBOOT))
    assert ended.done
    assert bmc.commands() == ["power 0", "power 1"]


def test_a_bmc_that_answers_status_slowly(bmc: Bmc) -> None:
    bmc.slow(get_s=1.0)
    assert forked(settings(bmc), GOAL_OFF).done
    assert len([event for event in bmc.log() if event.words[0] == "get"]) == 2


def test_a_bmc_that_says_off_but_is_not(bmc: Bmc) -> None:
    bmc.ignore(off=True)
    ended = forked(settings(bmc), GOAL_OFF, PowerTiming(power_timeout_s=1.0))
    assert ended.failure.reason == f"{bmc.address}: chassis power is still on 1 s after hard off"
    assert PowerDone() not in ended.seen


def test_off_that_takes_its_time(bmc: Bmc) -> None:
    bmc.lag(off_s=0.7)
    ended = forked(settings(bmc), GOAL_OFF)
    assert ended.done
    assert bmc.power == "off"
    assert bmc.commands() == ["power 0"]
