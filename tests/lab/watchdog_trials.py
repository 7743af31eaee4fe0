# SPDX-License-Identifier: Apache-2.0
"""Long trials of the sidecar at level 2: `python -m tests.lab.watchdog_trials resets|soak|cost|peers|devices …`.

* resets: each loss and each way to stop the feeder, at random moments: how long until the reset. --grace 70 is the
  default of the settings, and takes a minute longer for each.
* soak: feeding under stress-ng's processor, memory and disk load.
* cost: processor time and memory with 1, 8 and 64 LUNs of two paths each, beside sbd and a Python loop that only waits.
* peers: the same losses under sbd and under watchdog(8) with fence_scsi_check, and what they use.
* devices: softdog and ipmi_watchdog, each once.

A loss is timed from its command's start, a reset by QEMU's event. What is printed as a table goes to
docs/results.md and docs/comparison-watchdog.md.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from . import level2, watchdog_losses, watchdog_rig
from .agent import KEYS, STATE
from .guest import Guest, GuestError
from .level2 import Level2Guest, Shape
from .watchdog_losses import Loss
from .watchdog_rig import NODE, Kept, Rig

TIMEOUT_S, CHECK_INTERVAL_S = 5, 2.0  # the defaults
GRACE_S = 10.0
"""Shorter than the default, which is made for arrays that take over."""
LONGEST_S = 150.0
COST_PROGRAM = "/run/lab/process_cost.py"


# --- resets -----------------------------------------------------------------------------------------------------------

LOSSES = (*watchdog_losses.PATH_LOSSES, "preempted", "stopped", "killed", "silent_for_ever")


def bar_s(loss: str, grace_s: float) -> float:
    """The longest that a reset may take after this loss."""
    match loss:
        case "preempted":
            return CHECK_INTERVAL_S + 1
        case "stopped" | "killed":
            return TIMEOUT_S + 1.0
        case _:
            return grace_s + TIMEOUT_S + 1


def reset_s(kept: Kept, loss: Loss) -> tuple[float, bool]:
    """How long a reset took, at a random moment of probes and decisions, and whether the hardware did it."""
    with kept.restored() as rig:
        time.sleep(random.uniform(0, 3))
        reset, took_s = rig.reset_after(loss(rig), LONGEST_S)
        return took_s, reset.by_hardware


def resets(count: int, workers: int, losses: Sequence[str], grace_s: float, **settings: Any) -> None:
    """Prints a table."""
    print("| what | resets | by the watchdog | shortest | median | longest | bar | above |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with watchdog_rig.armed(grace_s=grace_s, **settings) as kept, ThreadPoolExecutor(workers) as pool:
        for name in losses:
            loss: Loss = getattr(watchdog_losses, name)
            seen = list(pool.map(lambda _, loss=loss: reset_s(kept, loss), range(count)))
            times = sorted(took_s for took_s, _ in seen)
            allowed_s = bar_s(name, grace_s)
            above = sum(took_s > allowed_s for took_s in times)
            by_hardware = sum(hardware for _, hardware in seen)
            numbers = " | ".join(f"{each:.2f} s" for each in (times[0], statistics.median(times), times[-1]))
            print(f"| {name} | {count} | {by_hardware} | {numbers} | {allowed_s:g} s | {above} |", flush=True)


# --- soak -------------------------------------------------------------------------------------------------------------

STRESS = (
    "nice stress-ng --quiet --temp-path /var/tmp --cpu 2 --vm 2 --vm-bytes 60% --vm-keep --iomix 1 --iomix-bytes 32M "
    "--hdd 1 --hdd-bytes 64M --timeout {seconds:.0f}"
)


class Soaked(NamedTuple):
    """keepalives, worst_gap_s, late: as the sidecar publishes them. states: all that it was in, seen each second.
    said: by what stressed it."""

    keepalives: int
    worst_gap_s: float
    late: int
    states: tuple[str, ...]
    said: str


def soak(kept: Kept, seconds: float, stress: str = STRESS, prepare: Callable[[Rig], object] = lambda _: None) -> Soaked:
    """Raises GuestError when the node was reset. stress: a command for that many {seconds}; its output is kept in
    /run/lab/stress.out."""
    with kept.restored() as rig:
        prepare(rig)
        before = rig.snapshot()["watchdog"]["keepalives"]
        rig.guest.run(f"{stress.format(seconds=seconds)} >/run/lab/stress.out 2>&1 </dev/null &")
        rig.guest.run(
            f'(while sleep 1; do grep -o \'"state": *"[a-z-]*"\' {STATE}/watchdogd.json; done)'
            " >/run/lab/states 2>/dev/null </dev/null &"
        )
        if rig.resets.wait(seconds + 2) is not None:
            raise GuestError(f"reset: {rig.guest.console()}")
        after = rig.snapshot()["watchdog"]
        states = rig.guest.run("sort -u /run/lab/states | cut -d'\"' -f4").out.split()
        said = rig.guest.run("cat /run/lab/stress.out").out
        gap_s, late = after["worst_gap_s"], after["late_keepalives"]
        return Soaked(after["keepalives"] - before, gap_s, late, tuple(states), said)


# --- cost -------------------------------------------------------------------------------------------------------------

IDLE = "exec -a idle-loop python3 -c 'import time\nwhile True: time.sleep(0.25)'"
"""What the feeder's waiting alone costs in Python."""

SPEED = "import time; a = time.process_time(); sum(range(3_000_000)); print(time.process_time() - a)"


def cost(guest: Guest, seconds: float, pids: str) -> dict[str, Any]:
    """What the processes that a shell expression names use."""
    guest.put(COST_PROGRAM, (Path(__file__).parent / "process_cost.py").read_bytes())
    done = guest.run(f"python3 {COST_PROGRAM} {seconds} {pids}", check=True, timeout_s=seconds + 120)
    used: dict[str, Any] = json.loads(done.out)
    return used


def percent(used: dict[str, Any]) -> float:
    return float(100 * used["cpu_s"] / used["seconds"])


def costs(seconds: float, counts: Sequence[int], peers: Sequence["Peer"]) -> None:
    """Prints a table: from one guest, whose sidecar is started anew for each number of LUNs of two paths each; and from
    a new guest for each peer."""
    heads = (
        "who",
        "CPU in the guest",
        "above idling",
        "the same outside",
        "PSS",
        "feeds after",
        "state",
        "each: user + system, %",
    )
    with level2.restored(Shape(luns=64)) as guest:
        slower = float(guest.run(f"python3 -c '{SPEED}'", check=True).out) / _speed_here_s()
        print(f"a loop in Python takes {slower:.1f} times as long in the guest as outside")
        guest.run(f"({IDLE}) >/dev/null 2>&1 </dev/null & echo $! >/run/lab/idle.pid", check=True)
        idle = cost(guest, seconds, "$(cat /run/lab/idle.pid)")
        print(f"a Python loop that wakes four times a second: {percent(idle):.2f} % of the guest's core", flush=True)
        watchdog_rig.prepare(guest)
        guest.login(NODE, 1)
        print(f"| {' | '.join(heads)} |")
        print(f"|{' --- |' * len(heads)}", flush=True)
        for count in counts:
            disks = [guest.sd(NODE, lun) for lun in range(count)]
            began_s = time.monotonic()
            watchdog_rig.run_sidecar(guest, disks, watchdog_timeout_s=60)
            rig = Rig(guest)
            try:
                rig.wait_state("keepalive", 600)
                feeds_s = time.monotonic() - began_s
                time.sleep(10)
                used = cost(guest, seconds, f"$(cat {watchdog_rig.PID})")
                state = rig.snapshot()
            finally:
                rig.resets.close()
            told = f"{state['state']}, worst gap {state['watchdog']['worst_gap_s']:.2f} s"
            _tell_cost(f"{count} LUNs x 2 paths", used, idle, slower, f"{feeds_s:.1f} s", told)
            stop = f"kill $(cat {watchdog_rig.PID}); while kill -0 $(cat {watchdog_rig.PID}); do sleep 0.2; done"
            guest.run(f"{stop} 2>/dev/null; rm -f {STATE}/watchdogd.json")
    for peer in peers:
        with level2.restored(Shape()) as guest:
            peer.prepare(guest)
            _tell_cost(peer.name, cost(guest, seconds, peer.processes), idle, slower, "", "")


def _tell_cost(who: str, used: dict[str, Any], idle: dict[str, Any], slower: float, feeds: str, state: str) -> None:
    above = percent(used) - percent(idle)
    seconds = used["seconds"]
    parts = ", ".join(f"{100 * user / seconds:.1f} + {100 * own / seconds:.1f}" for user, own in used["each"])
    print(
        f"| {who} | {percent(used):.2f} % | {above:.2f} % | {above / slower:.2f} % | {used['pss_mb']:.1f} MB "
        f"| {feeds} | {state} | {parts} |",
        flush=True,
    )


def _speed_here_s() -> float:
    started = time.process_time()
    sum(range(3_000_000))
    return time.process_time() - started


# --- peers ------------------------------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """prepare: leaves it feeding. processes: a shell expression for its process ids. sees_keys: it looks at
    registrations at all."""

    name: str
    prepare: Callable[[Level2Guest], None]
    processes: str
    sees_keys: bool = True


def _sbd(create: str) -> Callable[[Level2Guest], None]:
    def prepare(guest: Level2Guest) -> None:
        watchdog_rig.prepare(guest)
        disk = guest.sd(NODE, 0)
        guest.run(f"sbd -d {disk} {create} create && sbd -d {disk} allocate {NODE}", check=True)
        alone = "SBD_PACEMAKER=no SBD_SYNC_RESOURCE_STARTUP=no"
        watch = f"{alone} sbd -d {disk} -n {NODE} -w /dev/watchdog0 -p /run/lab/sbd.pid watch"
        guest.run(f"{watch} >/run/lab/sbd.out 2>&1 </dev/null", check=True)  # goes into the background by itself
        time.sleep(10)
        if not guest.run("pgrep -x sbd").out:
            raise GuestError(f"sbd has ended: {guest.run('cat /run/lab/sbd.out').out}")

    return prepare


UNKNOWN_KEY = "dead"  # the check must be able to fail: without its files it is content with everything
_WATCHDOG_CONF = """watchdog-device = /dev/watchdog0
interval = 1
realtime = yes
priority = 1
test-directory = /etc/watchdog.d
{more}
"""


def _watchdog8(script: str, more: str) -> Callable[[Level2Guest], None]:
    def prepare(guest: Level2Guest) -> None:
        watchdog_rig.prepare(guest)
        disk = guest.sd(NODE, 0)
        register = f"sg_persist -n -o -I -S 0x{KEYS[NODE]} {disk} && sg_persist -n -o -R -T 5 -K 0x{KEYS[NODE]} {disk}"
        files = "mkdir -p /etc/watchdog.d /var/log/watchdog"
        files += (
            f" && echo {disk} >/run/cluster.dev && cp /usr/share/cluster/{script} /etc/watchdog.d/"  # Debian's place
        )
        guest.run(f"{register} && {files}", check=True)
        for key, content in ((UNKNOWN_KEY, False), (KEYS[NODE], True)):
            if (guest.run(f"echo {key} >/run/cluster.key && /usr/share/cluster/fence_scsi_check").rc == 0) != content:
                raise GuestError(f"fence_scsi_check with key {key}: it should {'' if content else 'not '}be content")
        guest.put("/etc/watchdog.conf", _WATCHDOG_CONF.format(more=more))
        guest.run("watchdog >/run/lab/watchdog.out 2>&1 </dev/null", check=True)
        _wait(guest, "pgrep -x watchdog")
        time.sleep(10)

    return prepare


def _ours(**settings: Any) -> Callable[[Level2Guest], None]:
    def prepare(guest: Level2Guest) -> None:
        watchdog_rig.start(guest, [guest.sd(NODE, 0)], **settings)
        rig = Rig(guest)
        try:
            rig.wait_state("keepalive", 300)
        finally:
            rig.resets.close()

    return prepare


def _wait(guest: Guest, command: str) -> None:
    guest.run(f"for i in {{1..300}}; do {command} && exit; sleep 0.2; done >/dev/null; exit 1", check=True)


_TIGHT = {"grace_s": 1.0, "settle_s": 1.0, "probe_interval_s": 0.5, "probe_deadline_s": 0.5}
_OURS = f"$(cat {watchdog_rig.PID})"
PEERS = (
    Peer("halvm-watchdogd, defaults", _ours(), _OURS),
    Peer("halvm-watchdogd, grace_s = 1, probes 0.5 s", _ours(**_TIGHT), _OURS),
    Peer("sbd, defaults", _sbd(""), "$(pgrep -x sbd)", sees_keys=False),
    Peer("sbd, watchdog 3 s, loop 1 s, msgwait 6 s", _sbd("-1 3 -3 1 -4 6"), "$(pgrep -x sbd)", sees_keys=False),
    Peer("watchdog(8), fence_scsi_check, defaults", _watchdog8("fence_scsi_check", ""), "$(pgrep -x watchdog)"),
    Peer(
        "watchdog(8), fence_scsi_check_hardreboot, tightened",
        _watchdog8(
            "fence_scsi_check_hardreboot",
            "watchdog-timeout = 10\nretry-timeout = 1\ntest-timeout = 8\nrepair-timeout = 1\nsigterm-delay = 2",
        ),
        "$(pgrep -x watchdog)",
    ),
)
_PEER_LOSSES = ("offline", "refused", "silent", "preempted")


def peers(count: int, workers: int, seconds: float, chosen: Sequence[Peer]) -> None:
    """Prints a table: time to reset after each loss (shortest-longest), and what each uses while all is well."""
    print(f"| | {' | '.join(_PEER_LOSSES)} | CPU in the guest | PSS | processes |")
    print(f"| --- |{' --- |' * (len(_PEER_LOSSES) + 3)}", flush=True)
    for peer in chosen:
        with watchdog_rig.kept(Shape(), peer.prepare) as kept, ThreadPoolExecutor(workers) as pool:
            with kept.restored() as rig:
                used = cost(rig.guest, seconds, peer.processes)
            cells = []
            for name in _PEER_LOSSES:
                if name == "preempted" and not peer.sees_keys:
                    cells.append("does not look")
                    continue
                loss: Loss = getattr(watchdog_losses, name)
                cells.append(_range(list(pool.map(lambda _, loss=loss: _time_or_none(kept, loss), range(count)))))
            print(
                f"| {peer.name} | {' | '.join(cells)} | {percent(used):.2f} % | {used['pss_mb']:.1f} MB "
                f"| {used['processes']} |",
                flush=True,
            )


def _time_or_none(kept: Kept, loss: Loss) -> tuple[float, bool] | None:
    try:
        return reset_s(kept, loss)
    except GuestError:
        return None


def _range(seen: Sequence[tuple[float, bool] | None]) -> str:
    times = [each[0] for each in seen if each is not None]
    if not times:
        return f"none in {LONGEST_S:g} s"
    text = f"{min(times):.1f} s" if len(times) == 1 else f"{min(times):.1f}-{max(times):.1f} s"
    text += ", watchdog" if all(each is not None and each[1] for each in seen) else ""
    return text + (f" ({len(seen) - len(times)} of {len(seen)}: none)" if len(times) < len(seen) else "")


# --- devices ----------------------------------------------------------------------------------------------------------

DRIVERS = ("i6300esb", "softdog", "ipmi_watchdog")


def devices() -> None:
    """Each driver: what it calls itself, and when it resets a node whose feeder was stopped."""
    for driver in DRIVERS:
        load = f"ipmi_si && modprobe {driver}" if driver == "ipmi_watchdog" else driver
        with watchdog_rig.armed(driver=load) as kept, kept.restored() as rig:
            watchdog = rig.snapshot()["watchdog"]
            _, took_s = rig.reset_after(watchdog_losses.stopped(rig), 60)
            print(
                f"{driver}: {watchdog['device']} ({watchdog['identity']}), {watchdog['timeout_s']:g} s: reset "
                f"{took_s:.2f} s after SIGSTOP",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.watchdog_trials")
    parser.add_argument("what", choices=["resets", "soak", "cost", "peers", "devices"])
    parser.add_argument("--only", default="", help="those with this in their name (resets, peers)")
    parser.add_argument("--grace", type=float, default=GRACE_S, help="the sidecar's grace_s (resets)")
    parser.add_argument("--luns", type=int, nargs="+", default=[1, 8, 64], help="how many (cost)")
    parser.add_argument("--count", type=int, default=10, help="repetitions of each (resets, peers)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (soak, cost, peers)")
    parser.add_argument("--workers", type=int, default=1, help="guests at a time")
    parser.add_argument("--self-fence", default="reset", choices=["reset", "watchdog"], help="how (resets)")
    given = parser.parse_args()
    match given.what:
        case "resets":
            losses = [loss for loss in LOSSES if given.only in loss]
            resets(given.count, given.workers, losses, given.grace, self_fence=given.self_fence)
        case "soak":
            with watchdog_rig.armed() as kept:
                print(soak(kept, given.seconds))
        case "cost":
            costs(given.seconds, given.luns, [peer for peer in PEERS if peer.name == "sbd, defaults"])
        case "peers":
            chosen = [peer for peer in PEERS if given.only in peer.name]
            peers(given.count, given.workers, given.seconds, chosen)
        case "devices":
            devices()


if __name__ == "__main__":
    main()
