# SPDX-License-Identifier: Apache-2.0
"""Watchdog devices behind a fake of open and ioctl: what is tried, refused, disarmed, and how a busy one is told."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fencer.errors import WatchdogError, WatchdogNotYet
from fencer.sidecar import linux_watchdog, watchdog_holders
from fencer.sidecar.keepalive import Feeding
from fencer.sidecar.watchdog_device import Candidate

_REAL_OPEN, _REAL_STAT = os.open, os.stat


class FakeDevices:
    """Devices by path: each answers as a driver does, and keeps what was done to it."""

    def __init__(self) -> None:
        self.devices: dict[str, FakeDevice] = {}
        self.by_descriptor: dict[int, FakeDevice] = {}

    def open(self, path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        if not str(path).startswith("/dev/watchdog"):
            return _REAL_OPEN(path, flags, mode, **more)
        found = self.devices.get(str(path))
        number = errno.ENOENT if found is None else found.open_errno
        if found is None or number:
            raise OSError(number, os.strerror(number), path)
        descriptor = _REAL_OPEN("/dev/null", os.O_WRONLY)
        self.by_descriptor[descriptor] = found
        found.ticking = True
        return descriptor

    def ioctl(self, descriptor: int, request: int, value: bytes | int = 0) -> bytes:
        return self.by_descriptor[descriptor].ioctl(request, value)

    def write(self, descriptor: int, data: bytes) -> int:
        found = self.by_descriptor[descriptor]
        found.ticking = data != b"V" or found.nowayout
        return len(data)


class FakeDevice:
    def __init__(
        self,
        identity: str = "iTCO_wdt",
        *,
        low: int = 1,
        high: int = 600,
        timeout: int = 30,
        open_errno: int = 0,
        nowayout: bool = False,
        keeps: bool = False,
        options: int = 0x8180,
    ) -> None:
        self.identity, self.low, self.high, self.timeout = identity, low, high, timeout
        self.open_errno, self.nowayout, self.keeps, self.options = open_errno, nowayout, keeps, options
        self.ticking = False
        self.fed = 0

    def ioctl(self, request: int, value: bytes | int) -> bytes:
        if request == linux_watchdog._GETSUPPORT:
            return struct.pack("II32s", self.options, 0, self.identity.encode())
        if request == linux_watchdog._KEEPALIVE:
            self.fed += 1
        if request == linux_watchdog._SETTIMEOUT and not self.keeps:
            assert isinstance(value, bytes)
            (asked,) = struct.unpack("i", value)
            if not self.low <= asked <= self.high:
                raise OSError(errno.EINVAL, "Invalid argument")
            self.timeout = asked
        return struct.pack("i", 0 if request == linux_watchdog._GETBOOTSTATUS else self.timeout)


class Machine:
    """Its sysfs is a directory; its devices are fakes."""

    def __init__(self, sysfs: Path) -> None:
        self.sysfs = sysfs
        self.fakes = FakeDevices()

    def add(self, name: str, device: FakeDevice | None = None, **attributes: object) -> FakeDevice:
        """attributes: of sysfs; without any the kernel has no CONFIG_WATCHDOG_SYSFS."""
        (self.sysfs / name).mkdir()
        for key, value in attributes.items():
            (self.sysfs / name / key).write_text(f"{value}\n")
        device = device or FakeDevice(str(attributes.get("identity", "")))
        self.fakes.devices[f"/dev/{name}"] = device
        return device


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    real: Callable[[], tuple[Candidate, ...]] = lambda: linux_candidates(str(tmp_path))  # noqa: E731
    monkeypatch.setattr(linux_watchdog, "candidates", real)
    monkeypatch.setattr(linux_watchdog, "legacy", lambda: False)
    monkeypatch.setattr(os, "open", made.fakes.open)
    monkeypatch.setattr(os, "write", made.fakes.write)
    monkeypatch.setattr(fcntl, "ioctl", made.fakes.ioctl)
    yield made
    monkeypatch.undo()


linux_candidates = linux_watchdog.candidates


def known(identity: str = "iTCO_wdt", nowayout: int = 0, **more: object) -> dict[str, object]:
    return {"identity": identity, "nowayout": nowayout, "bootstatus": 0, "timeout": 30, **more}


def test_a_device_that_can_is_armed_with_what_was_asked(machine: Machine) -> None:
    device = machine.add("watchdog0", **known(min_timeout=1, max_timeout=600))
    watchdog = linux_watchdog.open_best("auto", 5)
    assert watchdog.support.timeout_s == watchdog.support.asked_s == 5
    assert watchdog.support.software is False and watchdog.support.complaints == ()
    assert Feeding(watchdog, 0.0).snapshot().asked_timeout_s == 5
    assert watchdog.disarm() is True and not device.ticking


# --- a timeout that cannot be had -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "device", "asked", "good"),
    [
        ({"min_timeout": 120, "max_timeout": 65535}, FakeDevice("INTCAMT", low=120, timeout=120), 5, 120),
        ({"min_timeout": 1, "max_timeout": 63}, FakeDevice("short", high=63), 600, 63),
        ({"options": "0x8100"}, FakeDevice("fixed", keeps=True, timeout=30), 5, 30),
        ({}, FakeDevice("keeps its own", keeps=True, timeout=30), 5, 30),  # found out only when it is open
    ],
)
def test_a_device_that_cannot_do_what_is_asked_is_refused_and_the_remedy_mends(
    machine: Machine, attributes: dict[str, object], device: FakeDevice, asked: int, good: int
) -> None:
    machine.add("watchdog0", device, **known(device.identity, **attributes))
    with pytest.raises(WatchdogError, match=f"^watchdog_timeout_s: .* give watchdog_timeout_s = {good} ") as caught:
        linux_watchdog.open_best("auto", asked)
    assert not isinstance(caught.value, WatchdogNotYet)  # waiting does not help
    assert not device.ticking
    assert linux_watchdog.open_best("auto", good).support.timeout_s == good


def test_a_device_that_may_not_be_disarmed_any_more_is_fed_rather_than_refused(machine: Machine) -> None:
    device = machine.add("watchdog0", FakeDevice(keeps=True, timeout=30, nowayout=True), **known(nowayout=1))
    watchdog = linux_watchdog.open_best("auto", 5)
    assert watchdog.support.timeout_s == 30 and device.ticking
    assert "asked for 5 s and has 30 s" in watchdog.support.complaints[0]
    assert Feeding(watchdog, 0.0).snapshot().timeout_s == 30


def test_auto_takes_another_device_that_can(machine: Machine) -> None:
    machine.add("watchdog0", **known("INTCAMT", min_timeout=120, max_timeout=65535))
    machine.add("watchdog1", **known("iTCO_wdt", min_timeout=1, max_timeout=600))
    assert linux_watchdog.open_best("auto", 5).support.device == "/dev/watchdog1"


# --- not there, or in use ---------------------------------------------------------------------------------------------


def test_no_device_is_waited_for(machine: Machine) -> None:
    with pytest.raises(WatchdogNotYet, match="no watchdog device: load the driver") as caught:
        linux_watchdog.open_best("auto", 5)
    assert not caught.value.restart
    with pytest.raises(WatchdogNotYet, match="/dev/watchdog3: there is no such watchdog"):
        linux_watchdog.open_best("/dev/watchdog3", 5)


def test_a_device_that_systemd_has_closed_asks_for_a_restart(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.add("watchdog0", FakeDevice(open_errno=errno.EPERM), **known())
    with pytest.raises(WatchdogNotYet) as caught:
        linux_watchdog.open_best("auto", 5)
    assert caught.value.restart


def test_auto_goes_on_when_a_device_is_busy_and_says_so(machine: Machine) -> None:
    machine.add("watchdog0", FakeDevice(open_errno=errno.EBUSY), **known())
    machine.add("watchdog1", **known("i6300ESB timer"))
    support = linux_watchdog.open_best("auto", 5).support
    assert support.device == "/dev/watchdog1"
    assert "/dev/watchdog0: another process has it" in support.complaints[0]


def test_softdog_does_not_stand_in_for_hardware_that_is_busy(machine: Machine) -> None:
    machine.add("watchdog0", FakeDevice(open_errno=errno.EBUSY), **known())
    softdog = machine.add("watchdog1", **known("Software Watchdog"))
    with pytest.raises(WatchdogNotYet, match="/dev/watchdog0: another process has it"):
        linux_watchdog.open_best("auto", 5)
    assert not softdog.ticking
    assert linux_watchdog.open_best("/dev/watchdog1", 5).support.software is True


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("systemd", "RuntimeWatchdogSec=off"),
        ("sbd", "systemctl disable sbd"),
        ("corosync", "watchdog_device: off"),
        ("watchdog", "systemctl disable --now watchdog"),
        ("hpasmlited", "management agent"),
        ("another", "stop it, or name another device"),
    ],
)
@pytest.mark.parametrize("opened", ["/dev/watchdog0", "/dev/watchdog"])
def test_who_has_it_is_named_with_the_fitting_remedy(tmp_path: Path, name: str, remedy: str, opened: str) -> None:
    (tmp_path / "123/fd").mkdir(parents=True)
    (tmp_path / "123/comm").write_text(f"{name}\n")
    (tmp_path / "123/fd/4").symlink_to(opened)
    (tmp_path / "124/fd").mkdir(parents=True)
    (tmp_path / "124/fd/4").symlink_to("/dev/null")
    said = watchdog_holders.who_has("/dev/watchdog0", str(tmp_path))
    assert said.startswith(f"{name} (pid 123) has it: ") and remedy in said


def test_who_has_it_is_guessed_where_processes_are_hidden(tmp_path: Path) -> None:
    said = watchdog_holders.who_has("/dev/watchdog0", str(tmp_path))
    for each in ("sbd", "systemd", "corosync", "watchdog(8)", "vendor", "fuser -v /dev/watchdog0"):
        assert each in said


# --- which device it is, and what of it is known ----------------------------------------------------------------------


def test_a_device_file_is_found_in_sysfs_by_its_number(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add("watchdog0", **known("iTCO_wdt", dev="250:0"))
    machine.add("watchdog1", **known("i6300ESB timer", nowayout=1, dev="250:1"))
    machine.fakes.devices["/dev/watchdog_hw"] = FakeDevice("")
    monkeypatch.setattr(linux_watchdog, "_device_number", lambda _path: "250:1")
    support = linux_watchdog.open_best("/dev/watchdog_hw", 5).support
    assert (support.identity, support.nowayout) == ("i6300ESB timer", True)


def test_the_old_name_is_the_first_device(machine: Machine) -> None:
    machine.add("watchdog0", **known("iTCO_wdt", nowayout=1, bootstatus=32))
    machine.fakes.devices["/dev/watchdog"] = FakeDevice("iTCO_wdt", nowayout=True)
    watchdog = linux_watchdog.open_best("/dev/watchdog", 5)
    assert watchdog.support.nowayout is True and watchdog.support.reset_last_boot
    assert watchdog.disarm() is False


def test_a_driver_outside_the_core_wins_over_softdog(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add("watchdog1", **known("Software Watchdog"))
    machine.fakes.devices["/dev/watchdog"] = FakeDevice("IPMI")
    ipmi = Candidate("/dev/watchdog", "IPMI", None, reset_last_boot=False, physical=True)
    monkeypatch.setattr(linux_watchdog, "legacy", lambda: ipmi)
    assert linux_watchdog.open_best("auto", 5).support.identity == "IPMI"


def test_what_sysfs_does_not_say_is_unknown(machine: Machine) -> None:
    device = machine.add("watchdog0", FakeDevice("Software Watchdog"))
    (candidate,) = linux_candidates(str(machine.sysfs))
    assert candidate.nowayout is None and candidate.software is None
    watchdog = linux_watchdog.open_best("auto", 5)
    assert watchdog.support.software is True  # the device itself says so, once it is open
    assert watchdog.disarm() is None
    assert not device.ticking


def test_a_device_of_which_nothing_is_known_comes_before_softdog(machine: Machine) -> None:
    machine.add("watchdog0", **known("Software Watchdog"))
    machine.add("watchdog1", FakeDevice("hpwdt"))
    assert linux_watchdog.open_best("auto", 5).support.device == "/dev/watchdog1"


# --- an orderly stop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nowayout", "given", "left"),
    [(1, 600, 600), (1, 0, 5), (0, 600, 5)],
)
def test_a_stop_gives_time_to_what_cannot_be_disarmed(machine: Machine, nowayout: int, given: int, left: int) -> None:
    device = machine.add("watchdog0", FakeDevice(nowayout=bool(nowayout)), **known(nowayout=nowayout))
    watchdog = linux_watchdog.open_best("auto", 5, given)
    assert watchdog.disarm() is (not nowayout)
    assert watchdog.support.timeout_s == device.timeout == left
    assert device.fed == (1 if nowayout and given else 0)


def test_a_stop_gives_no_more_than_the_device_takes(machine: Machine) -> None:
    device = machine.add("watchdog0", FakeDevice(nowayout=True, high=63), **known(nowayout=1, max_timeout=63))
    linux_watchdog.open_best("auto", 5, 600).disarm()
    assert device.timeout == 63


def test_a_device_that_is_refused_at_once_is_not_given_time(machine: Machine) -> None:
    device = machine.add("watchdog0", FakeDevice(options=0x0400), **known())
    with pytest.raises(WatchdogError, match="only alarms"):
        linux_watchdog.open_best("auto", 5, 600)
    assert device.timeout == 30 and not device.ticking
