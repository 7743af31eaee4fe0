# SPDX-License-Identifier: Apache-2.0
"""Which watchdog is taken, and what is said when it cannot be."""

import errno
import os
import pty
from pathlib import Path

import pytest

from fencer.errors import WatchdogError, WatchdogNotYet
from fencer.sidecar import linux_watchdog
from fencer.sidecar.keepalive import RETRY_S, Feeding
from fencer.sidecar.policy import Decision
from fencer.sidecar.watchdog_device import Candidate, NoWatchdog, Support, choose, timeout_after_stop
from fencer.state.snapshot import PolicyState

HARDWARE = Candidate("/dev/watchdog1", "i6300ESB timer", nowayout=False, reset_last_boot=False)
SOFTWARE = Candidate("/dev/watchdog0", "Software Watchdog", nowayout=False, reset_last_boot=False)


def test_hardware_is_chosen_before_software():
    assert choose("auto", (SOFTWARE, HARDWARE), True) is HARDWARE


def test_software_is_chosen_where_there_is_nothing_else():
    assert choose("auto", (SOFTWARE,), True) is SOFTWARE


def test_the_lowest_number_is_chosen_of_several():
    others = [HARDWARE._replace(device=f"/dev/watchdog{number}") for number in (10, 2)]
    assert choose("auto", others, True).device == "/dev/watchdog2"


def test_a_driver_outside_sysfs_is_found_by_its_old_name():
    assert choose("auto", (), True).device == "/dev/watchdog"


def test_no_device_at_all_names_the_remedy():
    with pytest.raises(WatchdogError, match="load the driver"):
        choose("auto", (), False)


def test_the_configured_device_is_taken_with_what_sysfs_knows_of_it():
    assert choose("/dev/watchdog0", (SOFTWARE, HARDWARE), True) is SOFTWARE
    assert choose("/dev/watchdog", (SOFTWARE, HARDWARE), True).device == "/dev/watchdog"


def test_candidates_come_from_sysfs(tmp_path: Path):
    for number, status in ((0, "0"), (1, "32")):
        entry = tmp_path / f"watchdog{number}"
        entry.mkdir()
        (entry / "identity").write_text("iTCO_wdt\n")
        (entry / "nowayout").write_text("1\n")
        (entry / "bootstatus").write_text(f"{status}\n")
    assert linux_watchdog.candidates(str(tmp_path)) == (
        Candidate("/dev/watchdog0", "iTCO_wdt", nowayout=True, reset_last_boot=False),
        Candidate("/dev/watchdog1", "iTCO_wdt", nowayout=True, reset_last_boot=True),
    )


def test_a_kernel_without_watchdogs_has_none(tmp_path: Path):
    assert linux_watchdog.candidates(str(tmp_path / "none")) == ()


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(WatchdogError, match="there is no such watchdog: load its driver"):
        linux_watchdog.LinuxWatchdog(SOFTWARE._replace(device=str(tmp_path / "none")), 5)


def test_what_is_no_watchdog_is_refused():
    master, slave = pty.openpty()
    try:
        with pytest.raises(WatchdogError, match="name a watchdog device"):
            linux_watchdog.LinuxWatchdog(SOFTWARE._replace(device=os.ttyname(slave)), 5)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("step", ["open", "ioctl"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
def test_a_device_that_fails_for_now_is_tried_again(
    step: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ipmi_watchdog does while its BMC restarts. The sidecar goes on without it, and arms it when it answers."""

    def fails(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "watchdog").touch()
    monkeypatch.setattr(*((os, "open") if step == "open" else (linux_watchdog.fcntl, "ioctl")), fails)
    with pytest.raises(WatchdogNotYet, match="it is tried again; if it stays so, name another device") as raised:
        linux_watchdog.LinuxWatchdog(SOFTWARE._replace(device=str(tmp_path / "watchdog")), 5)
    assert not raised.value.restart


class FakeWatchdog:
    """Takes keepalives until told to fail."""

    armed = True
    support = Support("/dev/watchdog9", "fake", 6.0, nowayout=False, reset_last_boot=False)

    def __init__(self, *, fails: bool = False, nowayout: bool = False) -> None:
        self.fails = fails
        self.ticks = True
        self.nowayout = nowayout

    def keepalive(self) -> None:
        if self.fails:
            raise WatchdogError("/dev/watchdog9: keepalive: gone")

    def disarm(self) -> bool:
        self.ticks = self.nowayout
        return not self.nowayout


def test_it_is_fed_three_times_a_timeout():
    feeding = Feeding(FakeWatchdog(), 100.0)
    assert feeding.interval_s == 2.0
    assert feeding.due_s == 102.0
    feeding.feed(102.0)
    assert feeding.due_s == 104.0


@pytest.mark.parametrize(("timeout_s", "interval_s"), [(30.0, 10.0), (60.0, 10.0), (600.0, 10.0)])
def test_a_long_timeout_is_no_reason_to_feed_seldom(timeout_s: float, interval_s: float):
    watchdog = FakeWatchdog()
    watchdog.support = watchdog.support._replace(timeout_s=timeout_s)
    assert Feeding(watchdog, 100.0).interval_s == interval_s


def test_gaps_are_measured_and_late_ones_counted():
    feeding = Feeding(FakeWatchdog(), 100.0)
    for now in (102.0, 104.9, 108.0, 110.0):
        feeding.feed(now)
    snapshot = feeding.snapshot()
    assert snapshot.keepalives == 5
    assert snapshot.worst_gap_s == pytest.approx(3.1)
    assert snapshot.late_keepalives == 1
    assert snapshot.last_keepalive_monotonic_s == 110.0


def test_a_keepalive_that_failed_is_no_keepalive():
    watchdog = FakeWatchdog()
    feeding = Feeding(watchdog, 100.0)
    watchdog.fails = True
    with pytest.raises(WatchdogError):
        feeding.feed(102.0)
    assert feeding.due_s == 102.0 + RETRY_S
    watchdog.fails = False
    feeding.feed(105.0)
    assert feeding.snapshot().worst_gap_s == 5.0
    assert feeding.due_s == 107.0


def test_what_does_not_take_its_first_keepalive_is_disarmed():
    watchdog = FakeWatchdog(fails=True)
    with pytest.raises(WatchdogError, match=r"keepalive: gone$"):
        Feeding(watchdog, 100.0)
    assert not watchdog.ticks


def test_what_takes_no_keepalive_and_cannot_be_disarmed_is_told():
    with pytest.raises(WatchdogError, match="keepalive: gone; nor can it be disarmed: it resets this node in 6 s"):
        Feeding(FakeWatchdog(fails=True, nowayout=True), 100.0)


def test_a_keepalive_that_failed_is_a_reason_until_one_is_taken():
    watchdog = FakeWatchdog()
    feeding = Feeding(watchdog, 100.0)
    well, fenced = Decision(PolicyState.KEEPALIVE), Decision(PolicyState.SELF_FENCE, ("x",))
    watchdog.fails = True
    with pytest.raises(WatchdogError):
        feeding.feed(102.0)
    assert feeding.judged(well) == Decision(PolicyState.DEGRADED, ("/dev/watchdog9: keepalive: gone",))
    assert feeding.judged(fenced) == fenced
    watchdog.fails = False
    feeding.feed(103.0)
    assert feeding.judged(well) == well


def test_none_is_not_armed():
    assert not NoWatchdog().armed
    assert not Feeding(NoWatchdog(), 0.0).snapshot().armed


@pytest.mark.parametrize(
    ("asked", "longest", "now", "left"),
    [(600, 0, 5, 600), (600, 63, 5, 63), (0, 0, 5, 5), (0, 63, 5, 5), (600, 0, 900, 900)],
)
def test_what_a_stop_leaves(asked: int, longest: int, now: int, left: int):
    assert timeout_after_stop(asked, longest, now) == left
