# SPDX-License-Identifier: Apache-2.0
"""The whole sidecar when its configuration is read again."""

import signal
import time

import pytest

from fencer.state.snapshot import PolicyState
from tests.sidecar.running import Sidecar, wait_for


def test_a_reload_takes_what_it_may(sidecar: Sidecar) -> None:
    process = sidecar.start()
    sidecar.until_fed()
    text = (sidecar.directory / "watchdogd.toml").read_text().replace("grace_s = 10", "grace_s = 33")
    (sidecar.directory / "watchdogd.toml").write_text(text)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded: grace_s" in sidecar.log(), "not reloaded")
    wait_for(lambda: sidecar.until(PolicyState.KEEPALIVE).grace_s == 33, "not published")
    assert sidecar.acts("arm") == ["arm"]


@pytest.mark.parametrize("scene", ["preempted", "lost"])
def test_a_reload_does_not_undo_a_self_fence(sidecar: Sidecar, scene: str) -> None:
    sidecar.configure('self_fence = "watchdog"\n')
    sidecar.grace(2)
    process = sidecar.start()
    sidecar.until_fed()
    sidecar.scene(scene)
    sidecar.until(PolicyState.SELF_FENCE)
    if scene == "lost":
        sidecar.scene("registered")
    fed = len(sidecar.acts("keepalive"))
    path = sidecar.directory / "watchdogd.toml"
    path.write_text(path.read_text().replace("grace_s = 2", "grace_s = 33"))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded: this node is fencing itself" in sidecar.log(), "no sentence")
    time.sleep(1.0)  # longer than a keepalive's interval
    assert len(sidecar.acts("keepalive")) == fed
    assert sidecar.until(PolicyState.SELF_FENCE).grace_s == 2


def test_nothing_is_fed_after_a_self_fence_whatever_the_policy_says(sidecar: Sidecar) -> None:
    sidecar.start("fickle")
    sidecar.until_fed()
    sidecar.scene("preempted")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    fed = len(sidecar.acts("keepalive"))
    time.sleep(1.0)  # longer than a keepalive's interval
    assert len(sidecar.acts("keepalive")) == fed


def test_a_reload_does_not_begin_the_grace_anew(sidecar: Sidecar) -> None:
    path = sidecar.directory / "watchdogd.toml"
    process = sidecar.start()
    sidecar.until_fed()
    sidecar.scene("lost")
    sidecar.until(PolicyState.DEGRADED)
    lost = time.monotonic()
    time.sleep(2.0)
    path.write_text(path.read_text().replace("grace_s = 10", "grace_s = 100"))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded: grace_s" in sidecar.log(), "not reloaded")
    wait_for(lambda: "reset" in sidecar.acts(), "no reset")
    assert time.monotonic() - lost < 60  # of the 100 that the new grace has


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("watchdog_timeout_s = 9\n", "not reloaded: watchdog_timeout_s changes by a restart only"),
        ("watchdog_timeout_s = true\n", "not reloaded:"),
        ('watchdog_timeout_s = 2\nself_fence = "watchdog"\n', "not reloaded: self_fence changes by a restart only"),
    ],
)
def test_a_reload_refuses_the_rest_and_keeps_running(sidecar: Sidecar, line: str, sentence: str) -> None:
    process = sidecar.start()
    sidecar.until_fed()
    path = sidecar.directory / "watchdogd.toml"
    path.write_text(path.read_text().replace("watchdog_timeout_s = 2\n", line))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: sentence in sidecar.log(), "no sentence")
    fed = len(sidecar.acts("keepalive"))
    sidecar.until_fed(fed + 2)
    assert sidecar.until(PolicyState.KEEPALIVE).watchdog.timeout_s == 2
