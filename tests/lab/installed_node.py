# SPDX-License-Identifier: Apache-2.0
"""A node of level 3 as its administrator has it: the Debian package, and all services of storage and cluster enabled.

It boots and stops by systemd: iscsid and open-iscsi log in and out, multipathd makes the map, blk-availability takes it
down, and Pacemaker runs, without resources. Its peer is off. The node and its QEMU outlive a reset; QEMU tells who did
it.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from .guest import GuestError, make_disk
from .installed_disk import NODE, UNIT, installed_disk
from .level3 import NODES, Cluster
from .watchdog_rig import ResetWatch

_, PEER = NODES
WATCHDOG = "/sys/class/watchdog/watchdog0"
MAP = "/dev/mapper/mpatha"
LONG_S = 300
"""How long anything here may take on a processor that others use as well."""

# systemd's sd-messages.h: SD_MESSAGE_UNIT_STOPPING, SD_MESSAGE_UNIT_STOPPED.
_STOPPING, _STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
_JOB_MESSAGES = f"journalctl -o json --output-fields=UNIT,MESSAGE_ID MESSAGE_ID={_STOPPING} MESSAGE_ID={_STOPPED} -b -1"


class InstalledNode:
    """The node, and the one who hears of its resets. It boots for the first time when this is made."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.guest = cluster, cluster.nodes[NODE]
        cluster.ipmitool(PEER, "chassis", "power", "off")
        self.resets = ResetWatch(self.guest)
        self._seen = 0
        self.power_cycle(between=self._change_disk)

    def _change_disk(self) -> None:
        (self.guest.directory / "root.qcow2").unlink()
        make_disk(self.guest.directory, installed_disk(), "raw")

    def close(self) -> None:
        self.resets.close()

    # --- what it does -------------------------------------------------------------------------------------------------

    def power_cycle(self, between: Callable[[], object] = lambda: None) -> None:
        """Power off and on by the BMC, with something done in between; the guest agent answers on return."""
        self.resets.close()
        self.cluster.ipmitool(NODE, "chassis", "power", "off")
        self.cluster.wait_powered(NODE, on=False)
        between()
        self.cluster.ipmitool(NODE, "chassis", "power", "on")
        self.guest.wait_ready(LONG_S)
        self.resets = ResetWatch(self.guest)
        self._seen = len(self.guest.console())

    def reboot(self) -> None:
        """By systemd, to the end; the guest agent answers on return. Raises GuestError when anything else reset it."""
        self.assert_not_reset()
        self.guest.spawn("systemctl reboot")  # its exit status goes with the guest agent
        reset = self.resets.wait(LONG_S)
        said = self._console()
        if reset is None or reset.by_hardware or "self-fence:" in said or "reboot: Restarting system" not in said:
            raise GuestError(f"it should have rebooted in order: {reset}\n{said[-3000:]}")
        self.guest.wait_ready(LONG_S)
        while self.resets.wait(0) is not None:  # QEMU tells of one reboot more than once
            self.resets.again()
        self._seen = len(self.guest.console())

    def isolate(self, target: str) -> None:
        """Returns when the target is reached and nothing is left to do."""
        self.guest.run(f"systemctl isolate --no-block {target}", check=True)
        self.wait(
            f'test -z "$(systemctl list-jobs --no-legend)" && systemctl --quiet is-active {target}',
            f"{target} is not reached",
        )

    # --- how it is ----------------------------------------------------------------------------------------------------

    def wait(self, command: str, otherwise: str) -> str:
        """Asks until the command succeeds; its output."""
        end = time.monotonic() + LONG_S
        while (done := self.guest.run(command)).rc:
            self.assert_not_reset()
            if time.monotonic() > end:
                raise GuestError(f"{otherwise}: {done}\n{self.guest.run('journalctl -b --no-pager | tail -50').out}")
            time.sleep(2)
        return done.out

    def snapshot(self) -> dict[str, Any]:
        said = self.guest.run("cat /run/fence-halvm/watchdogd.json 2>/dev/null; true").out
        snapshot: dict[str, Any] = json.loads(said) if said else {"state": "", "pid": 0}
        return snapshot

    def wait_state(self, state: str, after_pid: int = 0) -> dict[str, Any]:
        """Returns when the sidecar publishes that state; with after_pid, another one than that."""
        end = time.monotonic() + LONG_S
        while (snapshot := self.snapshot())["state"] != state or snapshot["pid"] == after_pid:
            self.assert_not_reset()
            if time.monotonic() > end:
                log = self.guest.run(f"journalctl -b -u {UNIT} --no-pager | tail -30").out
                raise GuestError(f"not {state}: {snapshot['state']} {snapshot.get('reasons')}\n{log}")
            time.sleep(2)
        return snapshot

    def wait_feeding(self, after_pid: int = 0) -> dict[str, Any]:
        """Armed, and registered on each path of the map, which udev makes late: the sidecar need not wait for it."""
        snapshot = self.wait_state("keepalive", after_pid)
        self.wait(f"test -b {MAP}", "multipathd makes no map")
        paths = [path for lun in snapshot["luns"] for path in lun["paths"]]
        assert snapshot["watchdog"]["armed"] and [lun["registration"] for lun in snapshot["luns"]] == ["registered"]
        assert paths and all(path["up"] and path["registered"] for path in paths)
        assert self.watchdog("state") == "active"
        return snapshot

    def watchdog(self, name: str) -> str:
        """An attribute of the device in sysfs."""
        return self.guest.run(f"cat {WATCHDOG}/{name}", check=True).out.strip()

    def property(self, unit: str, name: str) -> str:
        """As systemctl show says it."""
        return self.guest.run(f"systemctl show --property {name} --value {unit}", check=True).out.strip()

    def stop_events(self) -> list[tuple[str, str]]:
        """("stopping" or "stopped", unit) of the boot before this one, in their order."""
        lines = self.guest.run(_JOB_MESSAGES, check=True).out.splitlines()
        what = {_STOPPING: "stopping", _STOPPED: "stopped"}
        return [(what[line["MESSAGE_ID"]], line["UNIT"]) for line in map(json.loads, lines) if "UNIT" in line]

    def assert_not_reset(self) -> None:
        reset = self.resets.wait(0)
        if reset is not None or "self-fence:" in self._console():
            raise GuestError(f"it was reset: {reset}\n{self._console()[-3000:]}")

    def _console(self) -> str:
        return self.guest.console()[self._seen :]
