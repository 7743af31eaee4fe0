# SPDX-License-Identifier: Apache-2.0
"""The agent's options: one table that defines argv, stdin, metadata, --help, the man page and docs/options.md.

Names, letters, old names, defaults and choices of fence_ipmilan and fence_scsi are those of fence-agents 4.12.1,
so that a cluster.conf or a CIB written for them keeps working. Two defaults differ on purpose: ``power_wait`` (the
chassis state is polled instead of waiting) and ``key_value``.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fencer._typing import Final
from fencer.agent.ignored_options import IGNORED_OPTIONS
from fencer.agent.option import Group, Option, Origin, ValueKind
from fencer.cluster import CLUSTER_CONF

# Every action that the agent performs. list and list-status work but stay out of the metadata: Pacemaker takes
# their presence as pcmk_host_check=dynamic-list, and would then ask one node's BMC for the names of all nodes. history
# is for people.
ACTIONS: Final = (
    "on", "off", "reboot", "status", "list", "list-status", "monitor", "metadata", "manpage", "validate-all", "diag",
    "history",
)  # fmt: skip
UNADVERTISED_ACTIONS: Final = ("list", "list-status", "history")

_STRING, _BOOLEAN, _INTEGER, _SECOND, _SELECT = ValueKind
_GENERAL, _POWER, _STORAGE, _PROOF = Group
_IPMILAN, _SCSI, _OURS = Origin

OPTIONS: Final[tuple[Option, ...]] = (
    # --- what to do, to whom ---
    Option(
        "action", "o", "action", "action", _STRING, 1, _GENERAL, _IPMILAN,
        "Fencing action: " + ", ".join(ACTIONS[:-1]) + " or " + ACTIONS[-1],
        default="reboot", silent_names=("option",), required=True,
    ),
    Option(
        "plug", "n", "plug", "nodename", _STRING, 1, _GENERAL, _IPMILAN,
        "Name of the node to fence",
        more="As cluster.conf or the membership layer knows it; its reservation key is derived from it.",
        old_names=("port",),
    ),
    Option(
        "nodename", "", "nodename", "nodename", _STRING, 1, _GENERAL, _SCSI,
        "Name of the node to fence, as cluster managers add it to every call; wins over plug",
        more="Where Pacemaker's pcmk_host_map makes them differ, this is the node, plug what its device calls it.",
        in_metadata=False,
    ),
    Option(
        "node", "", "node", "nodeid", _STRING, 1, _GENERAL, _OURS,
        "Node id of the node to fence, as dlm_controld gives it; nodename wins over it, it wins over plug",
        more="Its name is looked up in cluster.conf or corosync.conf.",
        in_metadata=False,
    ),
    Option(
        "fail_time", "", "fail-time", "seconds", _STRING, 200, _GENERAL, _OURS,
        "When the node failed, as dlm_controld says with each fence: no other action is taken with it",
        in_metadata=False,
    ),
    Option(
        "port_as_ip", "", "port-as-ip", "", _BOOLEAN, 200, _POWER, _IPMILAN,
        "Take the BMC's address from plug",
        more="Then nodename, if given, remains the name of the node.",
    ),
    # --- the BMC ---
    Option(
        "ip", "a", "ip", "ip", _STRING, 1, _POWER, _IPMILAN,
        "Address or host name of the node's BMC",
        more="Without it no power command is sent and the storage proof alone decides.",
        old_names=("ipaddr",),
    ),
    Option(
        "ipport", "u", "ipport", "port", _INTEGER, 1, _POWER, _IPMILAN,
        "UDP port of the BMC",
        default="623",
    ),
    Option(
        "username", "l", "username", "name", _STRING, 1, _POWER, _IPMILAN,
        "User name at the BMC",
        old_names=("login",),
    ),
    Option(
        "password", "p", "password", "password", _STRING, 1, _POWER, _IPMILAN,
        "Password at the BMC",
        more="On a command line every local user can read it: prefer stdin or password_script.",
        old_names=("passwd",),
    ),
    Option(
        "password_script", "S", "password-script", "script", _STRING, 1, _POWER, _IPMILAN,
        "Command whose standard output is the password; wins over password",
        more="Run by sh -c, for 5 s at most; what it prints counts, not its exit status.",
        old_names=("passwd_script",),
    ),
    Option(
        "cipher", "C", "cipher", "cipher", _STRING, 1, _POWER, _IPMILAN,
        "IPMI cipher suite: 3 or 17",
        more="Another one is warned about, and 17 and 3 are tried.",
        default_text="17, and 3 if the BMC refuses it",
    ),
    Option(
        "privlvl", "L", "privlvl", "level", _SELECT, 1, _POWER, _IPMILAN,
        "Privilege level of the BMC session",
        more="Chassis control needs operator or administrator (IPMI 2.0 appendix G).",
        default="administrator", choices=("callback", "user", "operator", "administrator"),
    ),
    Option(
        "hexadecimal_kg", "", "hexadecimal-kg", "key", _STRING, 1, _POWER, _IPMILAN,
        "BMC key Kg, in hexadecimal digits",
    ),
    Option(
        "bmc_guid", "", "bmc-guid", "guid", _STRING, 2, _POWER, _OURS,
        "GUID that the node's BMC has to show; none: accept any BMC",
        more=(
            "32 hexadecimal digits. Another BMC with the same password, by a swapped address, is refused. monitor "
            "shows the GUID at -v; what it or on learns is kept in /var/lib/fence-halvm, or in state_dir where that is "
            "given. none is for boards that all have the same GUID from the factory: they cannot be told apart."
        ),
        default_text="what monitor or on learnt",
    ),
    Option(
        "target", "", "target", "targetaddress", _STRING, 1, _POWER, _IPMILAN,
        "Bridge the requests to this IPMB slave address behind the BMC",
    ),
    Option(
        "method", "m", "method", "method", _SELECT, 1, _POWER, _IPMILAN,
        "How to reboot: power off, see it off, power on; or one power cycle",
        more="With cycle, too, only a proof makes success.",
        default="onoff", choices=("onoff", "cycle"),
    ),
    # --- the shared storage ---
    Option(
        "devices", "d", "devices", "devices", _STRING, 1, _STORAGE, _SCSI,
        "Shared LUNs, separated by commas or blanks: WWIDs, /dev/disk/by-id/... or iscsi://portal/iqn/lun",
        more="A name that another node may give to another LUN (/dev/sdb, /dev/mapper/mpatha, dm-name-...) is refused. "
        "An iscsi:// address has to be the same LUN for each node: a target may number LUNs for each initiator. "
        "With neither devices nor vg no reservation is touched and the power proof alone decides.",
    ),
    Option(
        "vg", "", "vg", "name", _STRING, 1, _STORAGE, _OURS,
        "LVM volume group whose physical volumes are the shared LUNs",
        more="Used where devices is not given.",
    ),
    Option(
        "key", "k", "key", "key", _STRING, 1, _STORAGE, _SCSI,
        "Reservation key of the node to fence (of this node for on), in hexadecimal digits",
        default_text="derived as key_value says",
    ),
    Option(
        "local_key", "", "local-key", "key", _STRING, 1, _STORAGE, _OURS,
        "Reservation key of this node, in hexadecimal digits",
        default_text="derived as key_value says",
    ),
    Option(
        "local_node", "", "local-node", "nodename", _STRING, 1, _STORAGE, _OURS,
        "Name of this node in the cluster",
        default_text="the host name, whole or up to its first dot, as cluster.conf has it",
    ),
    Option(
        "key_value", "", "key-value", "scheme", _SELECT, 300, _STORAGE, _SCSI,
        "How a reservation key is derived from a node",
        more=(
            "nodeid: 32 bits of the cluster name's hash, then the node id. id and hash: as fence_scsi does, "
            "to share LUNs with nodes that still use it."
        ),
        default="nodeid", choices=("nodeid", "id", "hash"),
    ),
    Option(
        "aptpl", "", "aptpl", "", _BOOLEAN, 1, _STORAGE, _SCSI,
        "Registrations survive a power loss of the target (APTPL)",
        more=(
            "Asked for only where the target reports the capability. "
            "To switch it off write aptpl=0 on stdin or in the cluster's configuration."
        ),
        default="1",
    ),
    Option(
        "reservation_type", "", "reservation-type", "type", _SELECT, 2, _STORAGE, _OURS,
        "Persistent reservation type",
        more=(
            "WERO, EARO: write exclusive or exclusive access, registrants only. WEAR, EAAR: all registrants. "
            "WE, EA: the holder alone may write; halvm-watchdogd takes neither."
        ),
        default="WERO", choices=("WERO", "WE", "EARO", "EA", "WEAR", "EAAR"),
    ),
    Option(
        "initiator", "", "initiator", "iqn", _STRING, 2, _STORAGE, _OURS,
        "iSCSI initiator name used for iscsi:// devices",
        more="Each node needs one of its own: two nodes with one name may be one I_T nexus to the target.",
    ),
    Option(
        "cluster_conf", "", "cluster-conf", "path", _STRING, 2, _STORAGE, _OURS,
        "cluster.conf with the nodes, their ids and their fence devices",
        default=CLUSTER_CONF,
    ),
    Option(
        "re_register", "", "re-register", "", _BOOLEAN, 3, _STORAGE, _OURS,
        "Register this node again although it was preempted in this boot",
        more=(
            "Only for an operator who knows that no other node has taken the storage over. "
            "Only on the command line."
        ),
        default="0", in_metadata=False, on_stdin=False,
    ),
    # --- what suffices ---
    Option(
        "proof", "", "proof", "proof", _SELECT, 2, _PROOF, _OURS,
        "Which proof makes a fence a success",
        more=(
            "power: the BMC showed the chassis off. storage: on every LUN the node's key was read back absent under a "
            "reservation that excludes its writes. any: either. all: both. self: storage, and power or that "
            "self_fence_bound has passed since, in which the node's own sidecar resets it."
        ),
        default_text="power where a BMC address is configured, else storage",
        choices=("power", "storage", "any", "all", "self"),
    ),
    Option(
        "self_fence_bound", "", "self-fence-bound", "seconds", _SECOND, 2, _PROOF, _OURS,
        "With proof=self: the longest time in which the target's halvm-watchdogd resets it",
        more=(
            "The largest that halvm-watchdogd --check-config names on the cluster's nodes. Giving it says that each "
            "node runs halvm-watchdogd with a real watchdog whenever it uses the LUNs."
        ),
    ),
    Option(
        "arbitration", "", "arbitration", "mode", _SELECT, 2, _PROOF, _OURS,
        "Whether the reservation decides a fence race before power is touched",
        more=(
            "required: no LUN reachable, no fence. preferred: no LUN reachable in half of the time, "
            "power is used all the same. off: power is used at once. Without LUNs there is nothing to arbitrate on."
        ),
        default="required", choices=("required", "preferred", "off"),
    ),
    Option(
        "rank_slot", "", "rank-slot", "seconds", _SECOND, 200, _PROOF, _OURS,
        "Head start that each rank gives in a fence race; 0 switches ranks off",
        more="The node on which the volume group is active has rank 0; the others wait, in the order of their keys.",
        default_text="half of the time that the call took to find the LUNs, 0.02 at least and 0.25 at most",
    ),
    # --- time ---
    Option(
        "delay", "", "delay", "seconds", _SECOND, 200, _GENERAL, _IPMILAN,
        "Wait so long before off or reboot begins",
        more="validate-all says so where it does not fit into Pacemaker's own time.",
        default="0",
    ),
    Option(
        "deadline", "", "deadline", "seconds", _SECOND, 200, _GENERAL, _OURS,
        "Overall time for everything after delay",
        more=(
            "The times that are given stretch the default: to login_timeout + power_timeout + 2 power_wait + 5 s and, "
            "with proof=self, to self_fence_bound + 10 s. validate-all says so where that, with delay, exceeds "
            "Pacemaker's own time. monitor, status and list end within 15 s, except for a person who gives a deadline."
        ),
        default_text="30; when Pacemaker calls 50 less delay, but 10 at least",
    ),
    Option(
        "pcmk_reboot_timeout", "", "pcmk-reboot-timeout", "time", _STRING, 200, _GENERAL, _OURS,
        "Pacemaker's own time for a fence, where a caller tells it: Pacemaker does not",
        default_text="60s",
        silent_names=("pcmk_off_timeout",), in_metadata=False,
    ),
    Option(
        "disable_timeout", "", "disable-timeout", "true/false", _STRING, 200, _GENERAL, _IPMILAN,
        "Leave the limits on single steps to the caller",
        default_text="true when Pacemaker calls",
    ),
    Option(
        "login_timeout", "", "login-timeout", "seconds", _SECOND, 200, _POWER, _IPMILAN,
        "Time for one attempt to open a BMC session",
        more="Where it is not given, an attempt that gets answers goes on, as long as the deadline allows.",
        default="5",
    ),
    Option(
        "power_timeout", "", "power-timeout", "seconds", _SECOND, 200, _POWER, _IPMILAN,
        "Time for the chassis to show the new power state",
        more="When Pacemaker calls, only where it is given.",
        default="20",
    ),
    Option(
        "power_wait", "", "power-wait", "seconds", _SECOND, 200, _POWER, _IPMILAN,
        "Extra wait after a power command; 0, because the state is verified instead",
        default="0",
    ),
    Option(
        "stonith_status_sleep", "", "stonith-status-sleep", "seconds", _SECOND, 200, _POWER, _IPMILAN,
        "Longest pause between two reads of the chassis state",
        default="1",
    ),
    Option(
        "retry_on", "", "retry-on", "attempts", _INTEGER, 201, _POWER, _IPMILAN,
        "Attempts to switch the node on",
        default="1",
    ),
    # --- output ---
    Option(
        "quiet", "q", "quiet", "", _BOOLEAN, 50, _GENERAL, _IPMILAN,
        "No progress on stderr; verdict, debug_file and syslog stay",
    ),
    Option(
        "verbose", "v", "verbose", "", _BOOLEAN, 51, _GENERAL, _IPMILAN,
        "Print each step as it happens",
    ),
    Option(
        "verbose_level", "", "verbose-level", "level", _INTEGER, 52, _GENERAL, _IPMILAN,
        "How much to say",
        default_text="the number of -v, or 1 for verbose=1 on stdin",
    ),
    Option(
        "debug_file", "D", "debug-file", "debugfile", _STRING, 53, _GENERAL, _IPMILAN,
        "Also write what -v says to this file",
        old_names=("debug",),
    ),
    Option(
        "version", "V", "version", "", _BOOLEAN, 54, _GENERAL, _IPMILAN,
        "Print the version and exit",
        on_stdin=False,
    ),
    Option(
        "help", "h", "help", "", _BOOLEAN, 55, _GENERAL, _IPMILAN,
        "Print this list and exit",
        on_stdin=False,
    ),
    Option(
        "dry_run", "", "dry-run", "", _BOOLEAN, 56, _GENERAL, _OURS,
        "Print the plan, send nothing",
        more="Only on the command line.",
        default="0", in_metadata=False, on_stdin=False,
    ),
    Option(
        "state_dir", "", "state-dir", "path", _STRING, 300, _GENERAL, _OURS,
        "Directory of the marks that must not survive a reboot",
        default="/run/fence-halvm",
    ),
    Option(
        "journal", "", "journal", "path", _STRING, 300, _GENERAL, _OURS,
        "Journal of what was fenced, switched on, unfenced and monitored; none: keep no journal",
        more="SQLite; read it with fence_halvm -o history. A journal that cannot be written changes no verdict.",
        default="/var/lib/fence-halvm/journal.db",
    ),
    Option(
        "json", "", "json", "", _BOOLEAN, 301, _GENERAL, _OURS,
        "Print results as JSON: one object a line",
        more="Only on the command line, or with history; refused beside an action that prints no result.",
        default="0", in_metadata=False,
    ),
    Option(
        "limit", "", "limit", "events", _INTEGER, 301, _GENERAL, _OURS,
        "With history: show so many events, the latest first; 0: all",
        default="50", in_metadata=False,
    ),
    *IGNORED_OPTIONS,
)  # fmt: skip

# Options whose value a message may show: names, addresses and paths. The value of any other option may be a secret that
# was put there by mistake, so a message shows only the option's name.
HARMLESS: Final = frozenset(
    {
        "action", "plug", "nodename", "node", "local_node", "ip", "devices", "vg", "initiator", "cluster_conf",
        "journal", "state_dir",
    }
)  # fmt: skip

# The row of every name that stdin accepts, written with "_".
BY_NAME: Final[Mapping[str, Option]] = MappingProxyType({name: row for row in OPTIONS for name in row.names})
