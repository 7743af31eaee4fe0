# SPDX-License-Identifier: Apache-2.0
"""The options that are accepted and ignored, because callers of fence_ipmilan and fence_scsi send them."""

from fencer._typing import Final
from fencer.agent.option import Effect, Group, Option, Origin, ValueKind

_STRING, _BOOLEAN, _INTEGER, _SECOND, _SELECT = ValueKind
_GENERAL, _POWER, _STORAGE, _PROOF = Group
_IPMILAN, _SCSI, _OURS = Origin

IGNORED_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "plug_separator", "", "plug-separator", "char", _STRING, 100, _GENERAL, _IPMILAN,
        "Separator between several plugs: one node is fenced per call",
        default=",", effect=Effect.NONE,
    ),
    Option(
        "separator", "", "separator", "char", _STRING, 100, _GENERAL, _IPMILAN,
        "Separator of the output of list: it prints a name a line",
        default=",", effect=Effect.NONE, in_metadata=False,
    ),
    Option(
        "lanplus", "P", "lanplus", "", _BOOLEAN, 1, _POWER, _IPMILAN,
        "IPMI 2.0 (RMCP+), which is always used",
        default="0", effect=Effect.NONE,
    ),
    Option(
        "auth", "A", "auth", "auth", _SELECT, 1, _POWER, _IPMILAN,
        "Authentication type of IPMI 1.5, which is never used",
        choices=("md5", "password", "none"), effect=Effect.NONE,
    ),
    Option(
        "mpath_register_method", "", "mpath-register-method", "multi|single", _STRING, 3, _STORAGE, _SCSI,
        "Register each path of a multipath device, which is always done",
        default="multi", effect=Effect.NONE,
    ),
    Option(
        "readonly", "", "readonly", "", _BOOLEAN, 4, _STORAGE, _SCSI,
        "Open devices read-only, which is always done",
        effect=Effect.NONE,
    ),
    Option(
        "suppress_errors", "", "suppress-errors", "", _BOOLEAN, 5, _STORAGE, _SCSI,
        "Suppress fence_scsi's errors before the cluster is up",
        effect=Effect.NONE,
    ),
    Option(
        "logfile", "f", "logfile", "path", _STRING, 6, _GENERAL, _SCSI,
        "fence_scsi's log file: use debug_file and the journal",
        effect=Effect.NONE,
    ),
    Option(
        "shell_timeout", "", "shell-timeout", "seconds", _SECOND, 200, _POWER, _IPMILAN,
        "Time for an answer to one command: the deadline bounds it",
        default="3", effect=Effect.NONE,
    ),
    Option(
        "ipmitool_path", "", "ipmitool-path", "path", _STRING, 200, _POWER, _IPMILAN,
        "Path of ipmitool, which is not run",
        default="/usr/bin/ipmitool", effect=Effect.NONE,
    ),
    Option(
        "ipmitool_timeout", "", "ipmitool-timeout", "timeout", _STRING, 201, _POWER, _IPMILAN,
        "Retransmission time of ipmitool, which is not run",
        default="2", effect=Effect.NONE,
    ),
    Option(
        "use_sudo", "", "use-sudo", "", _BOOLEAN, 205, _POWER, _IPMILAN,
        "Run ipmitool, which is not run, by sudo",
        old_names=("sudo",), effect=Effect.NONE,
    ),
    Option(
        "sudo_path", "", "sudo-path", "path", _STRING, 300, _POWER, _IPMILAN,
        "Path of sudo, which is not run",
        default="/usr/bin/sudo", effect=Effect.NONE,
    ),
    Option(
        "ssh", "x", "ssh", "", _BOOLEAN, 1, _POWER, _IPMILAN,
        "SSH to the fence device, which is never used",
        silent_names=("secure",), effect=Effect.NONE, in_metadata=False,
    ),
    Option(
        "corosync_cmap_path", "", "corosync-cmap-path", "path", _STRING, 300, _STORAGE, _SCSI,
        "Path of corosync-cmapctl, which is not run",
        default="/usr/sbin/corosync-cmapctl", effect=Effect.NONE,
    ),
    Option(
        "sg_persist_path", "", "sg_persist-path", "path", _STRING, 300, _STORAGE, _SCSI,
        "Path of sg_persist, which is not run",
        default="/usr/bin/sg_persist", effect=Effect.NONE,
    ),
    Option(
        "sg_turs_path", "", "sg_turs-path", "path", _STRING, 300, _STORAGE, _SCSI,
        "Path of sg_turs, which is not run",
        default="/usr/bin/sg_turs", effect=Effect.NONE,
    ),
    Option(
        "vgs_path", "", "vgs-path", "path", _STRING, 300, _STORAGE, _SCSI,
        "Path of vgs: LVM's tools are found in PATH",
        default="/sbin/vgs", effect=Effect.NONE,
    ),
)  # fmt: skip
