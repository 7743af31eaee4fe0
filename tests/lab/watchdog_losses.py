# SPDX-License-Identifier: Apache-2.0
"""Ways to lose the storage or the key, and ways to stop the sidecar: each a command in the guest of level 2."""

from collections.abc import Callable
from pathlib import Path

from .agent import KEYS
from .level2 import TARGET
from .watchdog_rig import NODE, PEER, PID, Rig

Loss = Callable[[Rig], str]


def _device(disk: str) -> str:
    return f"/sys/block/{Path(disk).name}/device"


def offline_disk(disk: str) -> str:
    return f"echo offline >{_device(disk)}/state"


def running_disk(disk: str) -> str:
    """The end of offline_disk."""
    return f"echo running >{_device(disk)}/state"


def offline(rig: Rig) -> str:
    """Its state is set: EIO at once, and no uevent."""
    return offline_disk(rig.disk)


def deleted(rig: Rig) -> str:
    """The kernel's disk goes, as when the fabric says so. An open descriptor reads 0 bytes."""
    return f"echo 1 >{_device(rig.disk)}/delete"


def refused(rig: Rig) -> str:
    """The target ends all sessions and accepts none: the initiator holds commands back for 5 s, then fails them."""
    assert rig.disk
    return f"echo 0 >/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1/enable"


def silent(rig: Rig) -> str:
    """Every packet vanishes. Commands hang until the initiator's own pings fail and its patience ends."""
    assert rig.disk
    return "ip route add blackhole 127.0.1.1/32 table local"


def silent_for_ever(rig: Rig) -> str:
    """The same where the initiator never gives up: a probe stays in state D, its process cannot be killed."""
    return f"for each in /sys/class/iscsi_session/session*/recovery_tmo; do echo 86400 >$each; done; {silent(rig)}"


PATH_LOSSES = {each.__name__: each for each in (offline, deleted, refused, silent)}


def preempted(rig: Rig) -> str:
    """The peer's PREEMPT AND ABORT, by one command."""
    return f"sg_persist -n -o -A -K 0x{KEYS[PEER]} -S 0x{KEYS[NODE]} -T 5 {rig.peer_disk}"


def stopped(_rig: Rig) -> str:
    return f"kill -STOP $(cat {PID})"


def killed(_rig: Rig) -> str:
    return f"kill -KILL $(cat {PID})"


# Takes all memory and cannot be chosen by the kernel's OOM killer: the kernel then panics, and a panic stays (panic=0).
_GLUTTON = """
open("/proc/self/oom_score_adj", "w").write("{score}")
kept = []
while True:
    kept.append(bytearray(b"x") * (1 << 20))
"""


def out_of_memory(_rig: Rig) -> str:
    """By a process that the OOM killer must not choose: the kernel finds nobody left, panics and stands."""
    return f"python3 -c '{_GLUTTON.format(score=-1000)}'"


def short_of_memory(_rig: Rig) -> str:
    """By a process that the OOM killer chooses."""
    return f"python3 -c '{_GLUTTON.format(score=0)}'"
