# SPDX-License-Identifier: Apache-2.0
"""Killed at any point: nothing is left behind, and running it again completes."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.agent.conftest import reset
from tests.agent.halvm import Call, at, halvm, together
from tests.rig.bmc import Bmc

KILLS_A_RESTART = 40  # kills between two restarts of ipmi_sim, whose 63 session slots a killed agent cannot free


def _survives_kills(bmc: Bmc, kills: int, seed: int) -> dict[str, int]:
    """What the kills met: before any command, the node told to go off, told to come on again, or too late."""
    dice = random.Random(seed)
    life_s = min(halvm(*at(bmc), "-o", "reboot").took_s for _ in range(3))
    met = {"before": 0, "off": 0, "on": 0, "over": 0}
    for number in range(kills):
        if number % KILLS_A_RESTART == KILLS_A_RESTART - 1:
            bmc.restart()
        reset(bmc)
        aimed = number % 4 >= 2
        if aimed:  # most of its life is Python's start: every other kill is for what happens once the BMC is asked
            bmc.slow(get_s=0.02, set_s=0.05)
        call = Call(*at(bmc), "-o", "reboot")
        while aimed and not bmc.log() and call.running:
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.2 if aimed else 1.1 * life_s))
        call.kill(signal.SIGKILL, group=bool(number % 2))
        killed = call.end()
        call.assert_all_gone()
        if killed.status == 0:
            assert killed.stdout == "Success: Rebooted\n"
        told = bmc.commands()
        met["over" if killed.status == 0 else "on" if "power 1" in told else "off" if told else "before"] += 1
        bmc.slow()
        (bmc.chassis / "log").write_text("")
        again = halvm(*at(bmc), "-o", "reboot")
        assert (again.status, again.stdout) == (0, "Success: Rebooted\n")
        assert [event.words[1] for event in bmc.log() if event.words[0] == "now"][-2:] == ["off", "on"]
        assert bmc.power == "on"
    return met


@pytest.mark.slow
def test_killed_at_random_moments(bmc: Bmc) -> None:
    _survives_kills(bmc, 12, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_killed_a_hundred_times(bmc: Bmc, capsys: pytest.CaptureFixture[str], part: int) -> None:
    met = _survives_kills(bmc, 25, seed=2 + part)
    with capsys.disabled():
        print(f"\n25 kills: {met}")


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_says_so_logs_out_and_leaves_nothing(bmc: Bmc, number: signal.Signals, group: bool) -> None:
    """group: a Ctrl-C reaches the children, too."""
    bmc.ignore(off=True)
    call = Call(*at(bmc), "-o", "off", "-v")
    while "power 0" not in bmc.commands():
        time.sleep(0.01)
    told_at = time.monotonic()
    call.kill(number, group=group)
    outcome = call.end()
    assert time.monotonic() - told_at < 15.0  # of the deadline's 30
    call.assert_all_gone()
    assert (outcome.status, outcome.stdout) == (1, "")
    assert f"interrupted by {number.name}: the outcome is unknown" in outcome.lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_frees_the_session_slot(number: signal.Signals, tmp_path: Path) -> None:
    """ipmi_sim has 63 slots."""

    def stop_one(name: int) -> None:
        told = tmp_path / str(name)
        call = Call(*at(own), "-o", "off", "-D", str(told))
        while call.running and not (told.exists() and "command off accepted" in told.read_text()):
            time.sleep(0.01)
        call.kill(number, group=True)
        assert "interrupted by" in call.end().stderr

    with Bmc("127.0.7.242") as own:
        own.ignore(off=True)
        together([partial(stop_one, name) for name in range(66)])
        assert halvm(*at(own), "-o", "status", "--deadline=10").status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_in_its_delay_it_sends_nothing(bmc: Bmc, number: signal.Signals, tmp_path: Path) -> None:
    debug = tmp_path / "debug"
    call = Call(*at(bmc), "-o", "off", "--delay=60", "-D", str(debug))
    while call.running and not (debug.exists() and "waiting 60 s" in debug.read_text()):
        time.sleep(0.01)
    call.kill(number)
    outcome = call.end()
    call.assert_all_gone()
    assert outcome.took_s < 30
    assert outcome.status == 1
    assert "interrupted" in outcome.stderr
    assert bmc.log() == []
