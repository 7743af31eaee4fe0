# SPDX-License-Identifier: Apache-2.0
"""The root disk of a node as its administrator has it, made on the host: package installed, services enabled, cluster
configured. In a guest the same takes minutes."""

import inspect
import subprocess
from pathlib import Path

from .debian_packages import PACKAGE, SUCCESSOR, packages_directory
from .images import images_directory
from .level2 import TARGET
from .level3 import STORAGE_ADDRESS
from .places import LAB, digest, locked, prune, published
from .watchdog_rig import CONFIG

NODE = "serv-0001"
UNIT = "halvm-watchdogd.service"
STORAGE_UNITS = ("iscsid.service", "open-iscsi.service", "multipathd.service", "blk-availability.service")
CLUSTER_UNITS = ("corosync.service", "pacemaker.service")
TIMEOUT_S = 30
"""The processor is emulated and shared: who feeds late is not what these tests are about."""
SHUTDOWN_TIMEOUT_S = 500

MULTIPATH_CONF = """\
defaults {
  user_friendly_names yes
  find_multipaths no
}
overrides {
  no_path_retry fail
}
blacklist {
  devnode "^vd"
  device {
    vendor "QEMU"
    product ".*"
  }
}
"""

_FILES = {
    CONFIG: f'vg = "shared_vg"\nwatchdog_timeout_s = {TIMEOUT_S}\nshutdown_timeout_s = {SHUTDOWN_TIMEOUT_S}\n',
    "/etc/multipath.conf": MULTIPATH_CONF,
    "/etc/iscsi/ifaces/lab": "iface.iscsi_ifacename = lab\n"
    f"iface.initiatorname = iqn.2026-11.lab:{NODE}\niface.transport_name = tcp\n",
    # The order in which units stopped is read after a reboot; what fails is seen on the console.
    "/etc/systemd/journald.conf.d/zz-installed.conf": "[Journal]\nStorage=persistent\nForwardToConsole=yes\n"
    "MaxLevelConsole=notice\n",
    # `systemctl isolate` would stop it.
    "/etc/systemd/system/qemu-guest-agent.service.d/stay.conf": "[Unit]\nIgnoreOnIsolate=yes\n",
}

# lab-product would unpack the wheel over the package; open-iscsi logs in instead of lab-storage.
_COMMANDS = f"""
set -e
rm -f /usr/sbin/fence_halvm /usr/sbin/halvm-*
dpkg --install /root/{PACKAGE}
systemctl --quiet disable lab-product lab-storage
systemctl --quiet unmask systemd-journal-flush
mkdir -p /var/log/journal /run/lock/iscsi
sed -i 's/^activation {{/&\\n\\tauto_activation_volume_list = []/' /etc/lvm/lvm.conf
iscsiadm -m node -o new -T {TARGET} -p {STORAGE_ADDRESS} -I lab
iscsiadm -m node -o update -n node.startup -v automatic
systemctl --quiet enable {" ".join((*STORAGE_UNITS, *CLUSTER_UNITS, UNIT))}
"""

# In a mount namespace of its own: nothing stays mounted.
_INSTALL = """
set -e
mount -o loop "$1" "$2"
mount -t proc proc "$2/proc"
cp -r "$3/." "$2"
chroot "$2" /bin/sh -c "$4"
umount "$2/proc" "$2"
"""


def installed_disk() -> Path:
    """A raw disk, made once for each state of the image and of the sources."""
    packages = packages_directory()
    made_by = inspect.getsource(_make)
    parts = [images_directory().name, packages.name, _COMMANDS, _INSTALL, made_by, *_FILES, *_FILES.values()]
    made = LAB / "installed" / digest(parts)
    with locked("installed."):
        if not made.exists():
            with published(made) as scratch:
                _make(packages, scratch)
            prune(made.parent, "*")
    return made / "root.ext4"


def _make(packages: Path, scratch: Path) -> None:
    disk, files, mounted = scratch / "root.ext4", scratch / "files", scratch / "mounted"
    mounted.mkdir()
    for name, content in _FILES.items():
        file = files / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (files / "root").mkdir(mode=0o700)
    for name in (PACKAGE, SUCCESSOR):
        (files / "root" / name).write_bytes((packages / name).read_bytes())
    _run("cp", "--sparse=always", str(images_directory() / "root.ext4"), str(disk))
    private = ("unshare", "--mount", "--propagation", "private")
    _run(*private, "sh", "-c", _INSTALL, "install", str(disk), str(mounted), str(files), _COMMANDS)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
