# SPDX-License-Identifier: Apache-2.0
"""A BMC that is silent, wrong, slow or dying: the deadline holds, and only a chassis that was off makes success."""

import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.agent.halvm import Outcome, at, chassis_was_off, halvm, in_time, not_hurried, together
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import RAKP_2, UdpProxy, Way, payload_type

HELD_WITHIN_S = 10.0  # a process that gets no processor for seconds holds no deadline; one that is not held is 30 s
ENOUGH_S = 8.0  # in half of it, which loading Python leaves at least, a worker starts and does what comes first
LAST_SEEN_ON = "chassis power was last seen on"
TICK_S = 0.01  # in which the kernel tells when a process started; the deadline counts from there


def by_deadline(deadline_s: float, *argv: str) -> Outcome:
    """Runs to the deadline, and holds it. The agent's own clock tells, as its debug file has it: Python's
    start may take any time on a machine that runs other tests."""
    with tempfile.NamedTemporaryFile("r") as debug:
        outcome = halvm(*argv, f"--deadline={deadline_s:g}", "-D", debug.name)
        ran_s = float(re.findall(r", in ([0-9.]+) s$", debug.read(), re.MULTILINE)[-1])
    assert ran_s <= deadline_s + HELD_WITHIN_S, outcome
    assert outcome.took_s <= deadline_s + 10, outcome
    return outcome


def fails_by_deadline(deadline_s: float, *argv: str) -> Outcome:
    """And uses it up: no attempt was given up while there was time."""
    outcome = by_deadline(deadline_s, *argv)
    assert outcome.took_s >= deadline_s - TICK_S
    assert (outcome.status, outcome.stdout) == (1, "")
    assert len(outcome.lines) == 1
    return outcome


def test_a_silent_bmc(bmc: Bmc) -> None:
    def one(action: str) -> None:
        with UdpProxy((bmc.address, bmc.port), address=bmc.address, blackhole=True) as proxy:
            argv = (*at(bmc, proxy.port), "-o", action)
            outcome = in_time(
                lambda limit_s: fails_by_deadline(limit_s, *argv), lambda _: proxy.passed.to_bmc >= 3, ENOUGH_S
            )
            said = rf"ERROR: {bmc.address}: Timed out: the BMC opened no session within \d+ s: check its address"
            assert [bool(re.match(said, not_hurried(line))) for line in outcome.lines] == [True]
            assert proxy.passed.to_bmc >= 3

    together([partial(one, action) for action in ("off", "status", "on")])
    assert bmc.power == "on"


@pytest.mark.slow
def test_a_look_at_a_silent_bmc_ends_within_15_s(bmc: Bmc) -> None:
    """Pacemaker gives an operation 20 s, and what a CIB says of a fence's times is not meant for it."""

    def one(action: str) -> Outcome:
        with UdpProxy((bmc.address, bmc.port), address=bmc.address, blackhole=True) as proxy:
            lines = [f"ip={bmc.address}", f"ipport={proxy.port}", "username=ADMIN", "password=ADMIN", "plug=serv-0001"]
            lines += ["deadline=90", "power_timeout=120", "delay=30", f"action={action}"]
            return halvm(stdin="\n".join(lines) + "\n", environ={"PCMK_service": "pacemaker-fenced"})

    monitor, status, listing = together([partial(one, action) for action in ("monitor", "status", "list-status")])
    assert (monitor.status, status.status, listing.status) == (1, 1, 0)
    assert listing.stdout == "serv-0001,,UNKNOWN\n"
    assert max(outcome.took_s for outcome in (monitor, status, listing)) < 15 + 10  # Python starts on a busy machine


def test_nobody_listens(bmc: Bmc) -> None:
    with UdpProxy((bmc.address, bmc.port), address=bmc.address) as gone:
        port = gone.port
    outcome = fails_by_deadline(1.5, *at(bmc, port), "-o", "off")
    assert bmc.address in outcome.stderr


def _flipped(packet: bytes) -> bytes:
    return packet[:-1] + bytes((packet[-1] ^ 0xFF,))


def _cut(packet: bytes) -> bytes:
    return packet[:-7]


def _empty(packet: bytes) -> bytes:
    return packet[:16]


def _noise(packet: bytes) -> bytes:
    return packet[:16] + os.urandom(len(packet) - 16)


def test_a_bmc_that_answers_rakp_2_wrongly_forever(bmc: Bmc) -> None:
    def one(spoil: Callable[[bytes], bytes]) -> None:
        def tamper(_way: Way, packet: bytes) -> bytes:
            return spoil(packet) if payload_type(packet) == RAKP_2 else packet

        with UdpProxy((bmc.address, bmc.port), address=bmc.address, tamper=tamper) as proxy:
            outcome = by_deadline(2, *at(bmc, proxy.port), "-o", "off")
            assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
            assert proxy.passed.to_bmc < 60  # no storm

    together([partial(one, spoil) for spoil in (_flipped, _cut, _empty, _noise)])
    assert bmc.commands() == []


def test_a_bmc_that_answers_nothing_but_noise(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.tamper = lambda way, packet: os.urandom(len(packet)) if way is Way.TO_CLIENT else packet
    outcome = by_deadline(2, *at(bmc, proxy.port), "-o", "off")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert bmc.power == "on"


def test_a_bmc_that_dies_in_the_login(bmc: Bmc) -> None:
    def one(packets: int) -> None:
        with UdpProxy((bmc.address, bmc.port), address=bmc.address, die_after=packets) as proxy:
            outcome = fails_by_deadline(1.5, *at(bmc, proxy.port), "-o", "off")
            assert "Timed out" in outcome.stderr

    together([partial(one, packets) for packets in range(1, 6)])
    assert bmc.power == "on"


def test_a_bmc_that_dies_when_it_has_taken_the_off_command(bmc: Bmc, proxy: UdpProxy) -> None:
    """The node is off, but its BMC cannot be asked."""

    def one(deadline_s: float) -> Outcome:
        def once_off() -> None:
            while len(bmc.commands()) == before and not over.is_set():
                time.sleep(0.002)
            proxy.blackhole = True

        bmc.power, proxy.blackhole, before = "on", False, len(bmc.commands())
        over = threading.Event()
        watcher = threading.Thread(target=once_off)
        watcher.start()
        outcome = fails_by_deadline(deadline_s, *at(bmc, proxy.port), "-o", "off")
        over.set()
        watcher.join()
        return outcome

    bmc.slow(set_s=0.3)  # so that the answer, too, is lost
    outcome = in_time(one, lambda outcome: LAST_SEEN_ON in outcome.stderr, ENOUGH_S)
    assert LAST_SEEN_ON in outcome.stderr
    assert bmc.power == "off"


def test_a_bmc_that_comes_back_within_the_deadline(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    timer = threading.Timer(0.8, lambda: setattr(proxy, "blackhole", False))
    timer.start()
    outcome = by_deadline(30, *at(bmc, proxy.port), "-o", "off")
    timer.join()
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert bmc.power == "off"


@pytest.mark.slow
def test_a_bmc_that_restarts_in_the_session(bmc: Bmc) -> None:
    """Its sessions are gone; the chassis switches off late. A new session finds it off."""
    with Bmc(bmc.address) as own:
        own.lag(off_s=1.0)

        def restart() -> None:
            while "power 0" not in own.commands():
                time.sleep(0.01)
            own.restart()

        watcher = threading.Thread(target=restart)
        watcher.start()
        outcome = by_deadline(30, *at(own), "-o", "off")
        watcher.join()
        assert outcome.status == 0
        assert own.power == "off"


def test_a_slow_bmc() -> None:
    def one(get_s: float) -> None:
        with Bmc("127.0.7.200") as own:
            own.slow(get_s=get_s, set_s=1.0)
            outcome = by_deadline(30, *at(own), "-o", "off")
            assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
            assert own.power == "off"
            assert own.commands() == ["power 0"]  # a slow BMC is not told again and again

    together([partial(one, 0.0), partial(one, 0.5)])


@pytest.mark.slow
@pytest.mark.parametrize(("action", "deadline_s"), [("off", 25.0), ("off", 60.0)])
def test_a_bmc_that_takes_15_s_for_the_command(action: str, deadline_s: float) -> None:
    with Bmc("127.0.7.201") as own:
        own.slow(set_s=15)
        outcome = by_deadline(deadline_s, *at(own), "-o", action)
        assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
        assert own.power == "off"


@pytest.mark.slow
def test_a_bmc_that_takes_15_s_for_every_answer(bmc: Bmc) -> None:
    with Bmc("127.0.7.202") as own:
        own.slow(get_s=15, set_s=15)
        outcome = by_deadline(8, *at(own), "-o", "off")
        assert (outcome.status, outcome.stdout) == (1, "")
        outcome = by_deadline(70, *at(own), "-o", "off", "--power-timeout=60")
        assert outcome.status == 0
        assert own.power == "off"


def test_an_off_that_takes_its_time() -> None:
    with Bmc("127.0.7.203") as own:
        own.lag(off_s=1.0)
        outcome = by_deadline(30, *at(own), "-o", "off")
        assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
        assert own.power == "off"
        assert outcome.took_s >= 1.0
        assert own.commands() == ["power 0"]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["off", "reboot"])
def test_an_off_that_takes_5_s(action: str) -> None:
    with Bmc("127.0.7.204") as own:
        own.lag(off_s=5.0)
        outcome = by_deadline(30, *at(own), "-o", action)
        assert outcome.status == 0
        assert chassis_was_off(own)
        assert own.power == ("off" if action == "off" else "on")
        assert 5.0 <= outcome.took_s < 20.0  # of the deadline's 30: it ends soon after the off


def test_an_off_that_never_happens(bmc: Bmc) -> None:
    bmc.ignore(off=True)

    def one(action: str, deadline_s: float, limits: tuple[str, ...], text: str) -> None:
        outcome = in_time(
            lambda limit_s: by_deadline(limit_s, *at(bmc), "-o", action, *limits),
            lambda outcome: text in outcome.stderr,
            deadline_s,
        )
        assert (outcome.status, outcome.stdout) == (1, "")
        assert len(outcome.lines) == 1
        assert outcome.lines[0].startswith(f"ERROR: {bmc.address}: {text}")

    by_the_deadline = f"Timed out: {LAST_SEEN_ON}, the BMC did not finish within "
    by_the_timeout = "chassis power is still on 0.5 s after hard off: look at this BMC"
    together(
        partial(one, action, deadline_s, limits, text)
        for action in ("off", "reboot")
        for deadline_s, limits, text in (
            (ENOUGH_S, ("--power-timeout=300",), by_the_deadline),
            (14, ("--power-timeout=0.5",), by_the_timeout),
        )
    )
    assert not chassis_was_off(bmc)


def test_an_on_that_never_happens(bmc: Bmc) -> None:
    bmc.power = "off"
    bmc.ignore(on=True)
    text = f"ERROR: {bmc.address}: chassis power is still off 0.5 s after power on: look at"
    outcome = in_time(
        lambda limit_s: by_deadline(limit_s, *at(bmc), "-o", "on", "--power-timeout=0.5"),
        lambda outcome: text in outcome.stderr,
        14,
    )
    assert (outcome.status, outcome.stdout) == (1, "")
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith(text)


def test_a_reboot_is_a_success_once_the_node_was_off(bmc: Bmc) -> None:
    """FenceAgentAPI: what does not come on again is for a person to look at, not for the cluster to wait for.

    The BMC's worker tells that it is still off. It has a second more than power_timeout for that; on a busy machine the
    agent ends before, and tells the same in words of its own.
    """
    bmc.ignore(on=True)
    outcome = by_deadline(30, *at(bmc), "-o", "reboot", "--power-timeout=0.5")
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")
    told = ("chassis power is still off", "the node is off and was not seen on again: switch it on")
    assert any(text in line for line in outcome.lines for text in told), outcome.stderr
    assert bmc.power == "off"


def test_a_bmc_that_says_off_only_once_the_chassis_is(bmc: Bmc) -> None:
    """The moment of success is after the moment of off."""
    with Bmc("127.0.7.205") as own:
        own.lag(off_s=1.0)
        outcome = by_deadline(30, *at(own), "-o", "off")
        now_off = next(event.at_s for event in own.log() if event.words == ("now", "off"))
        assert outcome.status == 0
        assert time.clock_gettime(time.CLOCK_BOOTTIME) >= now_off


TROUBLES: dict[str, Callable[[Bmc], None]] = {
    "off is ignored": lambda bmc: bmc.ignore(off=True),
    "off is refused": lambda bmc: bmc.refuse(),
    "slow command": lambda bmc: bmc.slow(set_s=9),
    "slow state": lambda bmc: bmc.slow(get_s=9),
    "late off": lambda bmc: bmc.lag(off_s=9),
}


@pytest.mark.parametrize("argv", [("-o", "off"), ("-o", "reboot"), ("-o", "reboot", "-m", "cycle")], ids=" ".join)
def test_never_a_success_without_off(argv: tuple[str, ...]) -> None:
    def one(trouble: str) -> Outcome:
        with Bmc("127.0.7.206") as own:
            TROUBLES[trouble](own)
            return by_deadline(1.5, *at(own), *argv)

    outcomes = together([partial(one, trouble) for trouble in TROUBLES])
    assert {(outcome.status, outcome.stdout) for outcome in outcomes} == {(1, "")}
