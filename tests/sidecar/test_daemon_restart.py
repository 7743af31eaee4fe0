# SPDX-License-Identifier: Apache-2.0
"""The whole sidecar, killed or stopped, and started again while the watchdog ticks."""

from fencer.state.snapshot import PolicyState
from tests.sidecar.running import Sidecar, wait_for


def killed(sidecar: Sidecar) -> None:
    """It has fed, was killed, and the watchdog ticks."""
    process = sidecar.start()
    sidecar.until_fed()
    sidecar.until(PolicyState.KEEPALIVE)
    process.kill()
    process.wait()


def test_killed_and_started_again_it_looks_before_it_feeds(sidecar: Sidecar) -> None:
    killed(sidecar)
    fed = len(sidecar.acts("keepalive"))
    sidecar.scene("preempted")  # meanwhile
    sidecar.start()
    wait_for(lambda: "reset" in sidecar.acts(), "the ticking watchdog's node was fenced: reset it")
    assert len(sidecar.acts("keepalive")) == fed


def test_a_stop_before_the_first_look_leaves_a_ticking_watchdog_and_says_so(sidecar: Sidecar) -> None:
    killed(sidecar)
    sidecar.scene("lost")
    sidecar.start()
    assert sidecar.until(PolicyState.STARTING).watchdog.armed
    assert sidecar.stop() == 0
    assert "/dev/watchdog9, left running by a predecessor, is running still" in sidecar.acts()[-1]
    assert "disarm" not in sidecar.acts()
    assert sidecar.until(PolicyState.STOPPED).watchdog.armed
    fed = len(sidecar.acts("keepalive"))
    sidecar.scene("preempted")
    sidecar.start()
    wait_for(lambda: "reset" in sidecar.acts(), "the next one, too, finds it ticking")
    assert len(sidecar.acts("keepalive")) == fed


def test_killed_before_its_first_look_it_leaves_a_ticking_watchdog_to_the_next(sidecar: Sidecar) -> None:
    killed(sidecar)
    sidecar.scene("lost")
    process = sidecar.start()
    sidecar.until(PolicyState.STARTING)
    process.kill()
    process.wait()
    sidecar.scene("preempted")
    sidecar.start()
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")


def test_killed_and_started_again_it_goes_on(sidecar: Sidecar) -> None:
    killed(sidecar)
    sidecar.start()
    wait_for(lambda: len(sidecar.acts("arm")) == 2, "not armed again")
    assert sidecar.acts("reset") == []
