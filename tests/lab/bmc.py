# SPDX-License-Identifier: Apache-2.0
"""A node's BMC: ipmi_sim, which starts and kills the node's QEMU as chassis power goes on and off.

The guest reaches it as /dev/ipmi0 (QEMU's ipmi-bmc-extern, over the VM protocol on the namespace's loopback), all
others by RMCP+ on the BMC's own address.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

USER, PASSWORD = "ADMIN", "ADMIN"
CIPHER_SUITE = "3"  # the only one that ipmi_sim has


def devices(port: int) -> tuple[str, ...]:
    """The QEMU arguments of a machine with this BMC."""
    connection = f"socket,id=ipmi,host=127.0.0.1,port={port},reconnect=1"
    return ("-chardev", connection, "-device", "ipmi-bmc-extern,id=bmc,chardev=ipmi", "-device", "isa-ipmi-kcs,bmc=bmc")


def write_configuration(
    run: Path, address: str, port: int, boot: Sequence[str], resume: Sequence[str] | None
) -> list[str]:
    """Writes what ipmi_sim reads and returns its command. `resume` is how the machine starts the first time only.

    The BMC's GUID ends in the port: the agent refuses two nodes whose BMCs show one GUID.
    """
    script = ["#!/bin/sh", f"exec >>{run}/qemu.log 2>&1 </dev/null"]
    if resume:
        script.append(f"if [ -e {run}/resume ]; then rm {run}/resume; exec {shlex.join(resume)}; fi")
        (run / "resume").touch()
    start = run / "start.sh"
    start.write_text("\n".join([*script, f"exec {shlex.join(boot)}", ""]))
    start.chmod(0o755)
    allowed = "".join(f"    allowed_auths_{level} none md2 md5 straight\n" for level in _LEVELS)
    (run / "lan.conf").write_text(
        _LAN_CONF.format(address=address, allowed=allowed, port=port, start=start, user=USER, password=PASSWORD)
    )
    (run / "bmc.emu").write_text(_BMC_EMU)
    (run / "bmc-state").mkdir(exist_ok=True)
    return ["ipmi_sim", "-n", "-p", "-c", f"{run}/lan.conf", "-f", f"{run}/bmc.emu", "-s", f"{run}/bmc-state"]


_LEVELS = ("callback", "user", "operator", "admin")

# poweroff_wait: QEMU ends at the first word; a hung one gets SIGTERM and, kill_wait later, SIGKILL.
_LAN_CONF = """\
name "lab"
set_working_mc 0x20
  startlan 1
    addr {address} 623
    priv_limit admin
{allowed}    guid a123456789abcdefa123456789ab{port:04x}
  endlan
  serial 15 127.0.0.1 {port} codec VM
  startcmd "{start}"
  startnow true
  poweroff_wait 2
  kill_wait 1
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""

_BMC_EMU = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
