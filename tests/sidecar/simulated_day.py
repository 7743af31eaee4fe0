# SPDX-License-Identifier: Apache-2.0
"""A day or a year of a node's life against the real policy and the real rule of the LUN list, by a clock that is ours.

A day is a list of events. The world knows the truth: which LUNs are reachable, since when too few are, what the
operator said. A self-fence is *false* when too few were reachable for less than the grace, and *missed* when the bound
has passed. `python -m tests.sidecar.simulated_day DAYS [FIRST SEED]` plays many days on all processors, each on a new
node; `python -m tests.sidecar.simulated_day year [FIRST SEED]` 365 days on one node, which boots after a self-fence.
"""

import random
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from fencer.sidecar.batching import ReportBatcher
from fencer.sidecar.lun_list import FoundLun, LunList, agree
from fencer.sidecar.policy import Policy
from fencer.sidecar.reports import Alive, ListedLun, ListedPath, LunsListed, PathRegistered, PathSeen, Report
from fencer.sidecar.settings import PolicySettings, SidecarTiming, loss_bound_s, preempt_bound_s, unseen_bound_s
from fencer.state.snapshot import PolicyState, RegistrationState
from tests.sidecar.seen import lun_seen

DAY_S = 86_400.0
DAYS_OF_A_YEAR = 365
BOOT_S = 120.0
REPAIR_S = 4 * 3600.0
TICK_S = 0.25
TIMING = SidecarTiming()
LONGER = TIMING._replace(grace_s=TIMING.grace_s + 20)
QUIET_S = TIMING.registration_stale_s + TIMING.settle_s + 2.0
"""After so long without an event nothing changes any more."""

KINDS = {
    "flap": 6, "take-over": 4, "observer": 4, "reload": 3, "pause": 2, "upgrade": 2, "extend": 1, "reduce": 1,
    "pvs": 3, "dropped": 2, "lost": 0.3, "preempted": 0.1,
}  # fmt: skip


class Happening(NamedTuple):
    """at_s, for_s: seconds. where: a LUN or a path. hangs: commands get no answer; else an error."""

    kind: str
    at_s: float
    for_s: float
    where: int
    hangs: bool


def random_day(seed: int) -> list[Happening]:
    dice = random.Random(seed)
    day = []
    for kind in dice.choices(list(KINDS), list(KINDS.values()), k=dice.randint(1, 14)):
        near = day[-1].at_s + dice.uniform(0, 40) if day and dice.random() < 0.5 else dice.uniform(0, DAY_S)
        for_s = {
            "flap": dice.uniform(0.1, 20), "take-over": dice.uniform(5, 60), "observer": dice.uniform(0.05, 8),
            "pause": dice.uniform(1, 900), "dropped": dice.uniform(0.5, 5), "extend": dice.uniform(0.5, 40),
        }.get(kind, 1e9 if kind == "lost" else 0.0)  # fmt: skip
        day.append(Happening(kind, near, for_s, dice.randrange(4), dice.random() < 0.4))
    return sorted(day, key=lambda one: one.at_s)


class Node:
    """The world and the sidecar in it."""

    def __init__(self, boots_s: float = 0.0) -> None:
        self.now = boots_s
        self.timing = TIMING
        self.metadata = self.watched = _names(1, ("a", "b"))
        self.down: dict[str, tuple[float, bool]] = {}  # path: until when, hangs
        self.probed: dict[str, float] = {}
        self.asked: dict[str, float] = {}  # path: since when a command hangs
        self.registered: dict[str, float] = {}  # path: from when on
        self.joined = {"a", "b"}
        self.joins_s: dict[str, float] = {}
        self.dropped: dict[str, float] = {}
        self.silent_until_s = 0.0
        self.preempted_s: float | None = None
        self.paused_until_s = 0.0
        self.first = True
        self.listed_s = self.read_s = boots_s - 100.0
        self.unmet_since_s: float | None = None
        self.met_since_s: float | None = boots_s
        self.away_since_s = boots_s  # of the loss that lasts without a break
        self.graces = [TIMING.grace_s]
        self.policy = Policy(PolicySettings(TIMING), boots_s)
        self.armed = False
        self.batcher = ReportBatcher(self._hear)

    def _hear(self, reports: list[Report]) -> None:
        for report in reports:
            self.policy.take(report)

    # --- what happens ---------------------------------------------------------------------------------------------

    def take(self, one: Happening) -> None:
        lun = ("a", "b")[one.where % 2]
        match one.kind:
            case "flap":
                self._lose(f"{lun}{one.where // 2}", one)
            case "take-over" | "lost":
                for number in (0, 1):
                    self._lose(f"{lun}{number}", one)
            case "observer":
                self.silent_until_s, self.first = max(self.silent_until_s, self.now + one.for_s), True
            case "reload":
                self.timing = LONGER if self.timing is TIMING else TIMING
                self.graces.append(self.timing.grace_s)
                self.policy.reconfigure(PolicySettings(self.timing), self.now)
                self.first = True  # a new observer, beside the old one
            case "pause" if self.armed:
                self.paused_until_s = self.now + one.for_s
                self.policy.pause(self.paused_until_s)
            case "upgrade":
                self._restart()
            case "extend":
                self.metadata = _names(self.metadata.seqno + 1, (*self._all(), "c"))
                self.joins_s.setdefault("c", self.now + one.for_s)
                self._agree()
            case "reduce":
                self.metadata = _names(self.metadata.seqno + 1, tuple(name for name in self._all() if name != "c"))
                self._agree()
            case "pvs":  # the newest metadata cannot be read: what another array has is older, or not whole
                self.watched = agree(self.watched, self.metadata._replace(seqno=0, luns=())).watched
            case "dropped":
                self.dropped[lun] = self.now + one.for_s
            case "preempted" if self.armed and self.preempted_s is None:
                self.preempted_s = self.now

    def _all(self) -> tuple[str, ...]:
        return tuple(lun.wwid for lun in self.metadata.luns)

    def _lose(self, path: str, one: Happening) -> None:
        until_s, hangs = self.down.get(path, (0.0, False))
        self.down[path] = max(until_s, self.now + one.for_s), one.hangs or hangs

    def _agree(self) -> None:
        before, self.watched = self.watched, agree(self.watched, self.metadata).watched
        self.first = self.first or before.luns != self.watched.luns
        self.joined &= {lun.wwid for lun in self.watched.luns}

    def _restart(self) -> None:
        """In order: disarmed, and a pause goes on. A grace begins when it is armed again."""
        self.policy, self.first, self.armed = Policy(PolicySettings(self.timing), self.now), True, False
        if self.paused_until_s > self.now:
            self.policy.pause(self.paused_until_s)
        self.joined = {lun.wwid for lun in self.watched.luns}
        self.registered.clear()
        self.unmet_since_s, self.met_since_s = None, self.now

    # --- the truth ------------------------------------------------------------------------------------------------

    def _up(self, path: str) -> bool:
        return self.down.get(path, (0.0, False))[0] <= self.now

    def _reachable(self, lun: str) -> bool:
        return self.dropped.get(lun, 0.0) <= self.now and any(
            self._up(path) and self.registered.get(path, 1e12) <= self.now for path in (f"{lun}0", f"{lun}1")
        )

    def _account(self) -> None:
        self.joined |= {lun.wwid for lun in self.watched.luns if self.armed and self._reachable(lun.wwid)}
        observed = self.silent_until_s <= self.now
        met = observed and all(self._reachable(lun.wwid) for lun in self.watched.luns if lun.wwid in self.joined)
        if self.paused_until_s > self.now or not self.armed:
            self.unmet_since_s, self.met_since_s = None, self.now
        elif not met:
            if self.met_since_s is not None:
                self.away_since_s = self.now
            self.unmet_since_s = self.now if self.unmet_since_s is None else self.unmet_since_s
            self.met_since_s = None
        else:
            self.met_since_s = self.now if self.met_since_s is None else self.met_since_s
            # It may be seen later than it is so, by a look of each kind.
            if self.now - self.met_since_s > QUIET_S:
                self.unmet_since_s = None
                self.graces = self.graces[-1:]

    # --- the sidecar ----------------------------------------------------------------------------------------------

    def tick(self) -> str:
        """What went wrong; "fenced" when it rightly fenced; "" else."""
        if self.silent_until_s <= self.now:
            for report in self._seen():
                self.batcher.put(report)
            self.batcher.flush()
        decision = self.policy.decide(self.now)
        self._account()
        if decision.state is PolicyState.SELF_FENCE:
            if self.preempted_s is not None:
                return "fenced"
            lost_s = 0.0 if self.unmet_since_s is None else self.now - self.unmet_since_s
            return "fenced" if lost_s >= min(self.graces) - TICK_S else f"false: {decision.reasons}"
        self.armed = decision.state is not PolicyState.STARTING
        return self._missed()

    def _missed(self) -> str:
        """The sums of fencer.sidecar.settings, with the largest grace that was in force."""
        timing = self.timing._replace(grace_s=max(self.graces))
        taken_s = self.now if self.preempted_s is None else max(self.preempted_s, self.silent_until_s)
        if self.armed and self.now - taken_s > preempt_bound_s(timing, TICK_S) + QUIET_S:
            return "missed a preemption"
        if self.unmet_since_s is None or self.met_since_s is not None:
            return ""
        late = self.now - self.away_since_s > max(loss_bound_s(timing, TICK_S), unseen_bound_s(timing, TICK_S))
        return f"missed: {self.now - self.away_since_s:.1f} s" if late else ""

    def _seen(self) -> Iterable[Report]:
        yield Alive(self.now)
        luns = [lun.wwid for lun in self.watched.luns]
        if self.first or self.now - self.listed_s >= TIMING.list_interval_s:
            listed = (ListedLun(lun, lun, tuple(ListedPath(f"{lun}{n}", "0:0:0:0") for n in (0, 1))) for lun in luns)
            if self.first:  # another observer
                self.batcher.flush()
                self.batcher = ReportBatcher(self._hear)
            yield LunsListed(self.now, tuple(listed), self.first)
            if self.first:
                self.registered = {path: self.now + 0.5 for path in self.registered if self._up(path)}
            self.first, self.listed_s = False, self.now
        for lun in luns:
            for path in (f"{lun}0", f"{lun}1"):
                yield from self._probe(lun, path)
        if self.now - self.read_s >= TIMING.check_interval_s:
            self.read_s = self.now
            for lun in luns:
                if any(self._up(path) for path in (f"{lun}0", f"{lun}1")):
                    yield lun_seen(lun, self.now, self._registration_of(lun))

    def _registration_of(self, lun: str) -> RegistrationState:
        if self.preempted_s is not None:
            return RegistrationState.PREEMPTED
        if self.dropped.get(lun, 0.0) > self.now:
            return RegistrationState.DROPPED
        return RegistrationState.NEVER if self.joins_s.get(lun, 0.0) > self.now else RegistrationState.REGISTERED

    def _probe(self, lun: str, path: str) -> Iterable[Report]:
        if not self._up(path):
            self.registered.pop(path, None)
            since_s = self.asked.setdefault(path, self.now)
            if not self.down[path][1] or self.now - since_s >= TIMING.probe_deadline_s:
                yield PathSeen(lun, path, since_s, False, "lost")
            return
        self.asked.pop(path, None)
        if self.now - self.probed.get(path, -100.0) >= TIMING.probe_interval_s:
            self.probed[path] = self.now
            yield PathSeen(lun, path, self.now, True, "", 0.001)
        may = self.preempted_s is None and self.joins_s.get(lun, 0.0) <= self.now
        if may and self.registered.setdefault(path, self.now + 0.5) <= self.now:
            yield PathRegistered(lun, path, self.now)


def _names(seqno: int, names: tuple[str, ...]) -> LunList:
    luns = tuple(FoundLun(name, name, (f"{name}0", f"{name}1"), "", (name.upper(),)) for name in sorted(set(names)))
    return LunList(luns, "V", seqno, frozenset(lun.wwid.upper() for lun in luns))


def live(node: Node, left: list[Happening]) -> str:
    """What Node.tick says at the end of the node's life, else "". Takes what happens meanwhile out of left.

    Between events, when all has settled, the clock jumps.
    """
    busy_until_s = node.now + 20.0
    while True:
        while left and left[0].at_s <= node.now:
            one = left.pop(0)
            node.take(one)
            ends_s = min(one.for_s, 2 * LONGER.grace_s + 100)
            ends_s = max(ends_s, LONGER.grace_s + 10 if one.kind in ("reduce", "observer") else 0.0)
            busy_until_s = max(busy_until_s, node.now + ends_s + QUIET_S + 2.0)
        end = node.tick()
        if end:
            return end
        if not left and node.now > busy_until_s:
            return ""
        node.now += TICK_S
        if node.now > busy_until_s and left and left[0].at_s > node.now + QUIET_S:
            node.now = left[0].at_s - QUIET_S
            busy_until_s = node.now + QUIET_S + TICK_S


def play(day: list[Happening]) -> str:
    """ "" for a day without a fault."""
    node = Node()
    end = live(node, list(day))
    return "" if end in ("", "fenced") else f"{end} at {node.now:.2f} s"


def random_days(first_seed: int, days: int = DAYS_OF_A_YEAR) -> list[Happening]:
    """Random days, one after the other. What is lost for good is repaired here: no other day would count."""
    return [
        one._replace(at_s=one.at_s + day * DAY_S, for_s=min(one.for_s, REPAIR_S))
        for day in range(days)
        for one in random_day(first_seed + day)
        if one.at_s < DAY_S
    ]


def play_lives(happenings: list[Happening]) -> tuple[str, int]:
    """What went wrong, or ""; and how often the node rightly fenced itself, and booted."""
    left, fences, boots_s = list(happenings), 0, 0.0
    while True:
        node = Node(boots_s)
        end = live(node, left)
        if end != "fenced":
            return (f"{end} at {node.now:.2f} s" if end else ""), fences
        fences += 1
        boots_s = node.now + BOOT_S
        while left and left[0].at_s < boots_s:
            left.pop(0)


def shrink(day: list[Happening]) -> list[Happening]:
    """The fewest events that still go wrong."""
    for one in list(day):
        fewer = [each for each in day if each is not one]
        if play(fewer):
            day = fewer
    return day


def judge(seed: int) -> str:
    day = random_day(seed)
    fault = play(day)
    return f"seed {seed}: {fault}: {shrink(day)}" if fault else ""


def main(days: str, first: int) -> int:
    if days == "year":
        happenings = random_days(first)
        fault, fences = play_lives(happenings)
        print(
            f"a year, {len(happenings)} events, {fences} self-fences with reason: {fault or 'none false, none missed'}"
        )
        return int(bool(fault))
    return play_days(int(days), first)


def play_days(days: int, first: int) -> int:
    with ProcessPoolExecutor() as pool:
        faults = [fault for fault in pool.map(judge, range(first, first + days), chunksize=50) if fault]
    print(
        f"{days} days: {sum('false' in one for one in faults)} false, {sum('missed' in one for one in faults)} missed"
    )
    print("\n".join(faults[:5]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
