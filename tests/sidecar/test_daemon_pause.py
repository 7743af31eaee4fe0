# SPDX-License-Identifier: Apache-2.0
"""The whole sidecar while its self-fence is paused."""

import time

import pytest

from fencer.errors import UsageError
from fencer.sidecar import control
from fencer.state.snapshot import PolicyState
from tests.sidecar.running import Sidecar, wait_for


def test_a_pause_outlasts_a_loss_and_ends_by_itself(sidecar: Sidecar) -> None:
    sidecar.grace(2)
    sidecar.start()
    sidecar.until_fed()
    assert "a preemption does" in control.ask(str(sidecar.state), control.Pause(10.0))
    assert sidecar.until(PolicyState.PAUSED).paused_until_unix_s is not None
    sidecar.scene("lost")
    time.sleep(3.5)  # longer than the grace
    assert sidecar.acts("reset") == []
    wait_for(lambda: "reset" in sidecar.acts(), "the pause never ended")
    wait_for(lambda: "pause pause success" in sidecar.journal(), "no event")


def test_a_pause_ends_when_it_is_told_to(sidecar: Sidecar) -> None:
    sidecar.grace(2)
    sidecar.start()
    sidecar.until_fed()
    control.ask(str(sidecar.state), control.Pause(600.0))
    sidecar.scene("lost")
    assert control.ask(str(sidecar.state), control.Resume()) == "resumed"
    wait_for(lambda: "reset" in sidecar.acts(), "it is paused for ever")


def test_a_preemption_counts_in_a_pause(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.until_fed()
    control.ask(str(sidecar.state), control.Pause(600.0))
    sidecar.scene("preempted")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")


def test_a_pause_survives_a_kill(sidecar: Sidecar) -> None:
    process = sidecar.start()
    sidecar.until_fed()
    control.ask(str(sidecar.state), control.Pause(600.0))
    sidecar.until(PolicyState.PAUSED)
    process.kill()
    process.wait()
    sidecar.scene("lost")
    sidecar.start()
    wait_for(lambda: len(sidecar.acts("arm")) == 2, "not armed again")
    assert sidecar.until(PolicyState.PAUSED).paused_until_unix_s is not None


def test_a_pause_survives_a_restart_and_ends_at_its_time(sidecar: Sidecar) -> None:
    sidecar.grace(2)
    sidecar.start()
    sidecar.until_fed()
    control.ask(str(sidecar.state), control.Pause(20.0))
    until_s = sidecar.until(PolicyState.PAUSED).paused_until_monotonic_s
    assert sidecar.stop() == 0
    sidecar.start()
    wait_for(lambda: len(sidecar.acts("arm")) == 2, "not armed again")
    assert sidecar.until(PolicyState.PAUSED).paused_until_monotonic_s == until_s
    sidecar.scene("lost")
    wait_for(lambda: "reset" in sidecar.acts(), "it never ended")
    assert until_s is not None and time.monotonic() >= until_s


def test_nobody_pauses_what_is_not_armed(sidecar: Sidecar) -> None:
    sidecar.scene("lost")
    sidecar.start()
    sidecar.until(PolicyState.STARTING)
    with pytest.raises(UsageError, match="not now: the state is starting"):
        control.ask(str(sidecar.state), control.Pause(60.0))
