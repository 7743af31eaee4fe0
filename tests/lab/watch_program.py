# SPDX-License-Identifier: Apache-2.0
"""Runs in a guest: observers and policy without the daemon, which would reset the guest. Appends to its log.

watch_program.py LOG STATE_DIR KEY OPTIONS DISK…: one JSON object a line; OPTIONS are fields of Timing, on_target_reset,
and not_ours: kernel names of the disks by which the other node of level 2 sees the same LUNs, in this same kernel. CPU
time and memory of the observing process are told at every tenth second.
"""

import json
import os
import select
import sys
import time
from pathlib import Path

from fencer.model import ReservationKey
from fencer.sidecar.messages import Observe
from fencer.sidecar.observer import observing
from fencer.sidecar.observer.kernel_paths import KernelPath, PathLister
from fencer.sidecar.observer.observing import list_luns, observe
from fencer.sidecar.policy import Policy
from fencer.sidecar.reports import LunSeen, PathSeen, Registered, RegistrationFailed
from fencer.sidecar.settings import (
    ObserverSettings,
    PolicySettings,
    SidecarTiming,
    TargetReset,
    loss_bound_s,
    preempt_bound_s,
)
from fencer.storage.settings import StorageSettings
from fencer.worker import Crashed, Worker

log_path, state_dir, key, options, *disks = sys.argv[1:]
given = json.loads(options)
on_target_reset = TargetReset(given.pop("on_target_reset", "re-register"))
not_ours = set(given.pop("not_ours"))
timing = SidecarTiming(**given)
storage = StorageSettings(tuple(disks), None, ReservationKey.parse(key), state_dir=state_dir)
log = Path(log_path).open("a", buffering=1)  # noqa: SIM115 - for as long as the program runs


class OurPaths(PathLister):
    """The paths of one node of level 2."""

    def list(self) -> dict[str, dict[str, KernelPath]]:
        found = super().list()
        return {
            wwid: {name: path for name, path in there.items() if name not in not_ours} for wwid, there in found.items()
        }


def tell(what: str, **more: object) -> None:
    log.write(json.dumps({"what": what, "at_s": time.monotonic(), **more}) + "\n")


def cost() -> dict[str, float]:
    ticks = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    rss = next(line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return {"cpu_s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), "rss_kb": int(rss.split()[1])}


observing.PathLister = OurPaths  # type: ignore[attr-defined]  # what observe takes
settings = ObserverSettings(storage, timing, on_target_reset)
order = Observe(settings, list_luns(storage), ())
worker = Worker.spawn(lambda channel: observe(order, channel, lambda: None))
policy = Policy(PolicySettings(timing, on_target_reset=on_target_reset), time.monotonic())
tell("began", bound_s=loss_bound_s(timing, 0.0), preempt_bound_s=preempt_bound_s(timing, 0.0))
states: dict[str, object] = {}
last = None
next_cost_s = 0.0
while True:
    if select.select([worker], [], [], timing.decide_interval_s)[0]:
        message = worker.receive()
        if message is None or isinstance(message, Crashed):
            tell("ended", reason=str(message))
            break
        assert isinstance(message, list)  # of reports
        for seen in message:
            policy.take(seen)
            if isinstance(seen, PathSeen) and states.get(seen.path) != (seen.ok, seen.reason):
                states[seen.path] = (seen.ok, seen.reason)
                tell("path", path=seen.path, ok=seen.ok, reason=seen.reason, began_s=seen.at_s)
            if isinstance(seen, LunSeen) and states.get(seen.lun) != seen.registration:
                states[seen.lun] = seen.registration
                tell("lun", lun=seen.lun, registration=seen.registration, generation=seen.generation)
            if isinstance(seen, Registered | RegistrationFailed):
                tell(type(seen).__name__, **seen._asdict() | {"at_s": seen.at_s})
    decision = policy.decide(time.monotonic())
    if (decision.state, decision.cause) != last:
        last = (decision.state, decision.cause)
        tell("decision", state=decision.state, cause=decision.cause, reasons=decision.reasons)
    if time.monotonic() >= next_cost_s:
        next_cost_s = time.monotonic() + 10
        tell("cost", **cost())
