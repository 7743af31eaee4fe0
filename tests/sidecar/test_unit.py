# SPDX-License-Identifier: Apache-2.0
"""The service units, as systemd reads them: order, restarts, and what a node waits for at boot and at shutdown."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "halvm-watchdogd.service"
DROP_IN = PACKAGING / "halvm-watchdogd-required.conf"
STORAGE_UNIT = PACKAGING / "halvm-watchdogd-storage.service"
STORAGE = (
    "iscsi-shutdown.service", "open-iscsi.service", "iscsi.service", "fcoe.service", "blk-availability.service",
    "remote-fs-pre.target",
)  # fmt: skip
CLUSTER = ("pacemaker.service", "dlm.service", "cman.service")


def settings(unit: Path, name: str) -> list[str]:
    """All values of one setting."""
    lines = [line.partition("=") for line in unit.read_text().splitlines() if line.startswith(f"{name}=")]
    return [value for _, _, values in lines for value in values.split()]


def test_it_stops_before_the_storage_is_taken_away():
    """Units stop in the reverse of their order, and all of these are active then."""
    assert set(STORAGE) <= set(settings(STORAGE_UNIT, "After"))
    assert STORAGE_UNIT.name in settings(UNIT, "After")
    assert settings(UNIT, "ExecStartPost")[-3:] == ["--no-block", "start", STORAGE_UNIT.name]
    assert settings(STORAGE_UNIT, "RemainAfterExit") == ["yes"]
    assert not settings(STORAGE_UNIT, "DefaultDependencies")  # it stops at shutdown at all


def test_no_boot_waits_for_the_storage():
    """Without storage open-iscsi tries to log in for two minutes, and Pacemaker waits for the sidecar."""
    assert not set(STORAGE) & set(settings(UNIT, "After"))
    for setting in ("Wants", "Requires", "BindsTo"):  # else the order would count at boot, too
        assert STORAGE_UNIT.name not in settings(UNIT, setting)
    assert "[Install]" not in STORAGE_UNIT.read_text()


def test_it_starts_before_the_cluster_and_stops_after_it():
    assert set(CLUSTER) <= set(settings(UNIT, "Before"))
    assert not settings(UNIT, "DefaultDependencies")  # it stops at shutdown at all


def test_it_restarts_but_not_what_restarting_does_not_mend():
    assert settings(UNIT, "RestartPreventExitStatus") == ["1", "3"]
    assert settings(UNIT, "RuntimeDirectoryPreserve") == ["yes"]  # the marker must outlive a restart
    assert settings(UNIT, "StartLimitIntervalSec") == ["0"]
    assert not settings(UNIT, "WatchdogSec")


def test_its_observers_come_before_other_work():
    assert int(settings(UNIT, "CPUWeight")[0]) > 100 and int(settings(UNIT, "IOWeight")[0]) > 100
    assert int(settings(UNIT, "Nice")[0]) < 0
    assert not settings(UNIT, "CPUQuota") and not settings(UNIT, "MemoryMax")


def test_the_device_mapper_answers_it():
    """dm-ioctl.c, ctl_ioctl: EACCES without CAP_SYS_ADMIN. Then pvs shows no volume group on a multipath map."""
    assert "CAP_SYS_ADMIN" in settings(UNIT, "CapabilityBoundingSet")
    assert {"block-device-mapper", "/dev/mapper/control"} <= set(settings(UNIT, "DeviceAllow"))


def without_program(unit: Path, directory: Path) -> Path:
    """The program and its man page are not installed here; everything else is looked at."""
    text = re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    made = directory / unit.name
    made.write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE))
    return made


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize(
    "name", ["halvm-watchdogd.service", "halvm-watchdogd-storage.service", "halvm-exporter.service"]
)
@pytest.mark.parametrize("required", [False, True])
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path, name: str, required: bool):
    unit = without_program(PACKAGING / name, tmp_path)
    if required and name == UNIT.name:
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(DROP_IN, tmp_path / f"{name}.d/required.conf")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl on this machine")
@pytest.mark.parametrize("required", [False, True])
def test_with_the_drop_in_pacemaker_requires_it(tmp_path: Path, required: bool):
    units, etc = tmp_path / "usr/lib/systemd/system", tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(UNIT, units)
    drop_in = etc / f"{UNIT.name}.d/required.conf"
    drop_in.parent.mkdir(parents=True)
    if required:
        shutil.copy(DROP_IN, drop_in)
    subprocess.run(
        ["systemctl", f"--root={tmp_path}", "enable", UNIT.name], capture_output=True, timeout=60, check=True
    )
    assert (etc / "multi-user.target.wants" / UNIT.name).is_symlink()
    assert (etc / "pacemaker.service.requires" / UNIT.name).is_symlink() is required


def test_the_drop_in_makes_ready_mean_armed():
    assert settings(DROP_IN, "Environment") == ["HALVM_WATCHDOGD_READY=armed"]
    assert settings(DROP_IN, "TimeoutStartSec") == ["infinity"]
