# SPDX-License-Identifier: Apache-2.0
"""Volume groups as the real LVM shows them: on a loop device, without device-mapper."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.ctl.asking import read_vgs
from fencer.ctl.check.lvm_rules import Use, group_findings
from fencer.ctl.check.machine import not_shared_findings
from fencer.ctl.side_by_side import parsed
from fencer.ctl.sources import lvm_report
from fencer.ctl.sources.commands import ask
from fencer.ctl.sources.lvm_conf import LvmConf
from tests.storage.test_volume_group import SITE_SETTINGS

pytestmark = pytest.mark.peer


@pytest.fixture
def group(tmp_path: Path, monkeypatch) -> Iterator[str]:
    """The name of a volume group that another host's system ID owns."""
    if os.geteuid() != 0 or not shutil.which("pvcreate") or not shutil.which("losetup"):
        pytest.skip("needs root, lvm2 and losetup")
    monkeypatch.setenv("LVM_SYSTEM_DIR", str(tmp_path))  # no archive and no backup of it lands in /etc/lvm
    monkeypatch.setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    done = subprocess.run(["losetup", "-f", "--show", disk], capture_output=True, text=True, timeout=60, check=False)
    loop = done.stdout.strip()
    if done.returncode != 0 or not Path(loop).is_block_device():
        pytest.skip(f"no loop device: {done.stderr}")
    name = f"halvmctl_test_{os.getpid()}"
    host = 'global/system_id_source="lvmlocal" local/system_id="elsewhere"'
    try:
        for words in (
            ["pvcreate", loop],
            ["vgcreate", name, loop],
            ["lvcreate", "-an", "-Zn", "-l1", "-n", "ha-lv", name],
        ):
            command = [words[0], "-qq", "-y", "--driverloaded", "n", "--config", host, *words[1:]]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        yield name
    finally:
        subprocess.run(["losetup", "-d", loop], check=False, timeout=60)


@pytest.mark.parametrize("setting", SITE_SETTINGS)
def test_it_is_understood_whatever_the_site_wants_of_reports(group: str, setting: str, tmp_path: Path):
    (tmp_path / "lvm.conf").write_text(setting)
    found = read_vgs(ask)
    (shown,) = [each for each in found.value or () if each.name == group]
    assert (shown.system_id, shown.lock_type, shown.autoactivation, shown.clustered) == ("elsewhere", "", True, False)
    (volume,) = [each for each in parsed(ask, lvm_report.LVS, lvm_report.parse_lvs).value or () if each.group == group]
    assert (volume.name, volume.dm_path) == ("ha-lv", f"/dev/mapper/{group}-ha--lv")


def test_a_group_of_another_host_on_a_disk_that_is_no_shared_lun(group: str):
    groups = read_vgs(ask).value or ()
    use = Use(group, "system_id", "cib.xml", 47)
    told = [each.text for each in group_findings(groups, [use], ("serv-0001",), LvmConf({}, ()))]
    assert told == [
        f"volume group {group} belongs to elsewhere, which is no node of the cluster",
        f"autoactivation of {group} is on: a node that owns it activates it at boot, before Pacemaker",
    ]
    (found,) = not_shared_findings(use)
    assert found.text.startswith(f"volume group {group} is not on shared LUNs alone: vg: /dev/loop")
    assert "is not a SCSI disk" in found.text
    assert (found.source, found.line) == ("cib.xml", 47)
