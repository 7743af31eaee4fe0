# SPDX-License-Identifier: Apache-2.0
"""What else on a machine uses the watchdog or the reservations is found in its files, with the change that mends it."""

import os
from pathlib import Path

import pytest

from fencer.coexistence import Neighbour, Weight, find

ROOT = Path(__file__).parents[1]


@pytest.fixture
def machine(tmp_path: Path):
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def look() -> list[Neighbour]:
        return find(str(tmp_path))

    write.look = look  # type: ignore[attr-defined]
    write.root = tmp_path  # type: ignore[attr-defined]
    return write


def only(machine) -> Neighbour:
    (found,) = machine.look()
    return found


def test_an_empty_machine_has_no_neighbours(machine):
    assert machine.look() == []


@pytest.mark.parametrize("value", ["30", "1min", "30s"])
def test_systemd_that_feeds_a_watchdog(machine, value):
    machine("etc/systemd/system.conf", f"[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec={value}\n")
    found = only(machine)
    assert (found.name, found.source, found.device) == ("systemd", "/etc/systemd/system.conf", "/dev/watchdog0")
    assert "RuntimeWatchdogSec=off" in found.text
    machine("etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=off\n")  # as it says
    assert machine.look() == []


def test_a_file_that_is_a_fifo_is_not_waited_for(machine):
    (machine.root / "etc/systemd").mkdir(parents=True)
    os.mkfifo(machine.root / "etc/systemd/system.conf")
    assert machine.look() == []


@pytest.mark.parametrize("value", ["", "0", "off"])
def test_systemd_that_feeds_none(machine, value):
    machine("etc/systemd/system.conf", f"[Manager]\nRuntimeWatchdogSec={value}\nRebootWatchdogSec=10min\n")
    assert machine.look() == []


def test_a_drop_in_of_systemd_counts_and_a_later_one_wins(machine):
    machine("usr/lib/systemd/system.conf.d/50-vendor.conf", "[Manager]\nRuntimeWatchdogSec=20\n")
    machine("etc/systemd/system.conf", "[Manager]\n")
    assert only(machine).source == "/usr/lib/systemd/system.conf.d/50-vendor.conf"
    machine("etc/systemd/system.conf.d/60-ours.conf", "[Manager]\nRuntimeWatchdogSec=off\n")
    assert machine.look() == []


@pytest.mark.parametrize(("file", "device"), [("etc/default/sbd", "/dev/watchdog1"), ("etc/sysconfig/sbd", "/dev/wd")])
def test_sbd_that_starts_with_the_cluster(machine, file, device):
    machine(file, f'SBD_WATCHDOG_DEV="{device}"\n')
    assert machine.look() == []  # installed is not started
    requires = machine.root / "etc/systemd/system/corosync.service.requires"
    requires.mkdir(parents=True)
    (requires / "sbd.service").symlink_to("/lib/systemd/system/sbd.service")
    found = only(machine)
    assert (found.name, found.device, found.weight) == ("sbd", device, Weight.CONFLICT)
    assert "systemctl disable sbd" in found.text


def test_the_watchdog_daemon(machine):
    machine("etc/watchdog.conf", "watchdog-device = /dev/watchdog\n")
    wants = machine.root / "etc/systemd/system/default.target.wants"
    wants.mkdir(parents=True)
    (wants / "watchdog.service").symlink_to("/lib/systemd/system/watchdog.service")
    assert "systemctl disable --now watchdog" in only(machine).text
    machine("etc/default/watchdog", "run_watchdog=0\n")
    assert machine.look() == []


@pytest.mark.parametrize(("value", "count"), [("/dev/watchdog", 1), ("off", 0)])
def test_corosync_that_feeds_a_watchdog(machine, value, count):
    machine("etc/corosync/corosync.conf", f"resources {{\n  watchdog_device: {value}\n}}\n")
    assert len(machine.look()) == count


@pytest.mark.parametrize("file", ["etc/multipath.conf", "etc/multipath/conf.d/x.conf"])
@pytest.mark.parametrize("value", ["0x1", '"0x1"', "file"])
def test_a_reservation_key_of_multipathd(machine, file, value):
    machine(file, f"defaults {{\n\treservation_key {value}\n}}\n")
    found = only(machine)
    assert (found.name, found.source) == ("multipathd", f"/{file}") and "remove" in found.text


def test_a_crash_kernel_is_a_note(machine):
    machine("sys/kernel/kexec_crash_loaded", "1\n")
    assert only(machine).weight is Weight.NOTE
    machine("sys/kernel/kexec_crash_loaded", "0\n")
    assert machine.look() == []


def test_the_page_names_each_that_is_found():
    page = (ROOT / "docs/coexistence.md").read_text()
    for name in ("sbd", "systemd", "watchdog(8)", "corosync", "multipathd", "kdump", "nowayout", "softdog"):
        assert name in page
