# SPDX-License-Identifier: Apache-2.0
"""The race between two agents that hold their sessions: the product's own arbitrate() and isolate(), nothing between.

Each agent is a forked process with its own paths. A race: both register (as after a reboot), one of them, drawn by lot,
reserves; at one instant, give or take a random skew, both fence each other; then each tries to write. Where an agent
has iscsi:// sessions, its node has one more, which carries the data, as a kernel's would: it is registered before each
race and never ends. The referee is a session that only reads.
"""

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from multiprocessing.connection import Connection

from fencer.model import Deadline, OtherKeys, ReservationKey, ReservationType
from fencer.observations import ArbitrationResult, LunIsolated
from fencer.storage import registration
from fencer.storage.arbitration import Contest, arbitrate
from fencer.storage.isolation import isolate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.nexus import Outcome as PrOutcome
from fencer.storage.transport import ScsiStatus, ScsiTransport

KEYS = (ReservationKey(0x5E2F0000_00000001), ReservationKey(0x5E2F0000_00000002))
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
RACE_S = 30.0
LEAD_S = 0.004
_OTHER_CLUSTER = 0xABCD << 32
WRITE_10, BLOCK_BYTES = 0x2A, 512

Opener = Callable[[str, int], ScsiTransport]
"""A device and the node's number (0, 1; 2 for the referee; 3, 4 for the data of 0, 1) to a nexus."""


def open_transport(device: str, node: int) -> ScsiTransport:
    """iscsi:// by libiscsi, as initiators of their own; a /dev path by SG_IO: then each node needs its own paths."""
    if device.startswith("iscsi://"):
        from fencer.storage.libiscsi import IscsiTransport, IscsiUrl

        initiator = f"iqn.2026-11.test.fence-halvm:racer{node}"
        return IscsiTransport(
            IscsiUrl.parse(device), initiator=initiator, isid=0x100 + node, deadline=Deadline.after(RACE_S)
        )
    from fencer.storage.sgutils import SgTransport

    return SgTransport(device)


@dataclass(frozen=True)
class Finish:
    """How one agent ended. write: what its next write got."""

    result: ArbitrationResult
    isolated: bool
    reason: str
    took_s: float
    write: ScsiStatus | None = None


class Outcome(Enum):
    """One race."""

    ONE_SURVIVOR = auto()
    BOTH_WON = auto()
    NOBODY_WON = auto()
    WON_NOT_ISOLATED = auto()
    LOSER_REGISTERED = auto()
    LOSER_WRITES = auto()
    WINNER_CANNOT_WRITE = auto()
    SILENT_LOSER = auto()
    HUNG = auto()


@dataclass
class Series:
    """Many races."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    wins: Counter[int] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return set(self.outcomes) == {Outcome.ONE_SURVIVOR}

    def add(self, outcome: Outcome, winner: int | None, took_s: float, what: object) -> None:
        self.outcomes[outcome] += 1
        self.times_s.append(took_s)
        if winner is not None:
            self.wins[winner] += 1
        if outcome is not Outcome.ONE_SURVIVOR:
            self.oddities.append(f"{outcome.name}: {what}")

    def table(self, title: str) -> str:
        lines = [f"{title}: {sum(self.outcomes.values())} races"]
        lines += [f"  {outcome.name.lower().replace('_', ' '):24}{self.outcomes[outcome]:6}" for outcome in Outcome]
        times = sorted(self.times_s) or [0.0]
        lines.append(f"  won by node 1 / node 2  {self.wins[0]:6} / {self.wins[1]}")
        lines.append(f"  a race, median / longest  {times[len(times) // 2] * 1e3:.1f} / {times[-1] * 1e3:.1f} ms")
        return "\n".join(lines + self.oddities[:10])


def _agent(node: int, devices: Sequence[str], slot_s: float, strangers: bool, pipe: Connection, opener: Opener) -> None:
    """Obeys: ("register",), ("reserve",), ("fence", at, active) → result, Finish, ("write",) → status, None → end.

    The result alone comes first, as the agent's storage worker sends it: a race that was won lets power go.
    """
    own, other = KEYS[node], ReservationKey(int(KEYS[1 - node]) ^ (_OTHER_CLUSTER if strangers else 0))

    def connect() -> LogicalUnit:
        nexuses = [Nexus(opener(device, node)) for device in devices]
        return LogicalUnit("naa.race", devices[0], nexuses, private=devices[0].startswith("iscsi://"))

    lun = connect()
    while (order := pipe.recv()) is not None:
        deadline = Deadline.after(RACE_S)
        match order:
            case ("register",):
                for nexus in lun.nexuses:
                    _insist(partial(nexus.register_and_ignore, own, False, deadline))
                pipe.send(None)
            case ("reserve",):
                _insist(partial(lun.nexuses[0].reserve, own, WERO, deadline))
                pipe.send(None)
            case ("relogin",):
                lun.close()
                lun = connect()
                pipe.send(None)
            case ("fence", at, active):
                lun.active_here = active
                contest = Contest(own, other, WERO, False, slot_s, True, OtherKeys((other,)))
                while time.monotonic() < at:
                    pass
                began = time.monotonic()
                end = arbitrate(lun, contest, deadline)
                pipe.send(end.result)
                isolated = False
                if end.result is ArbitrationResult.WON:
                    isolated = isinstance(isolate(lun, contest, deadline, end.removal), LunIsolated)
                pipe.send(Finish(end.result, isolated, end.reason, time.monotonic() - began))
            case ("unfence",):
                pipe.send(_unfence(lun.nexuses[0], own, deadline))
            case ("write",):
                pipe.send(_write(lun.nexuses[0], deadline))
            case ("clear",):
                _insist(partial(lun.nexuses[0].register_and_ignore, own, False, deadline))
                _insist(partial(lun.nexuses[0].clear, own, deadline))
                pipe.send(None)
    lun.close()


def _insist(command: Callable[[], PrOutcome]) -> None:
    """Past the unit attentions that the race before has left."""
    for _ in range(8):
        if (outcome := command()) is PrOutcome.DONE:
            return
    raise RuntimeError(f"the race could not be set up: {outcome}")


def _unfence(nexus: Nexus, own: ReservationKey, deadline: Deadline) -> str | None:
    """What `on` does for a node whose key is listed, over a session that may not be registered. None: it is now."""
    return registration.register_path(nexus, registration.Terms(own, WERO, False), own, deadline)


def _write(nexus: Nexus, deadline: Deadline) -> ScsiStatus:
    """One block, repeated through unit attentions as a kernel would."""
    cdb = bytes((WRITE_10, 0, 0, 0, 0, 8, 0, 0, 1, 0))
    while True:
        reply = nexus._transport.execute(cdb, data_out=bytes(BLOCK_BYTES), timeout_s=deadline.remaining_s)
        if reply.sense is None or reply.sense.key != 6:
            return reply.status


class Agents:
    """Two of them, and a referee. devices: what each of the two, and the referee, reach the LUN by."""

    def __init__(
        self,
        devices: Sequence[Sequence[str]],
        *,
        slot_s: float = 0.0,
        relogin: bool = False,
        strangers: bool = False,
        opener: Opener = open_transport,
    ) -> None:
        self._strangers = strangers
        self._devices = devices
        self._slot_s = slot_s
        self._relogin = relogin
        self._opener = opener
        self._data: list[Nexus | None] = []
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> "Agents":
        for node in range(2):
            pipe, process = self._start(node)
            self._pipes.append(pipe)
            self._processes.append(process)
        self._referee = Nexus(self._opener(self._devices[2][0], 2))
        for node in range(2):
            device = self._devices[node][0]
            self._data.append(Nexus(self._opener(device, 3 + node)) if device.startswith("iscsi://") else None)
        return self

    def _start(self, node: int) -> tuple[Connection, multiprocessing.process.BaseProcess]:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        arguments = (node, self._devices[node], self._slot_s, self._strangers, theirs, self._opener)
        process = context.Process(target=_agent, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return ours, process

    def kill(self, node: int) -> bool:
        """SIGKILL, and another agent in its place, with a session of its own. Returns whether it had won a race, and
        nothing had read that yet."""
        self._processes[node].kill()
        self._processes[node].join()
        won = False
        with suppress(EOFError, OSError):
            while self._pipes[node].poll():
                won |= self._pipes[node].recv() is ArbitrationResult.WON
        self._pipes[node].close()
        self._pipes[node], self._processes[node] = self._start(node)
        return won

    def __exit__(self, *_: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            with suppress(OSError):
                pipe.send(None)
            process.join(2)
            if process.is_alive():
                process.kill()
        for nexus in (self._referee, *self._data):
            if nexus is not None:
                nexus.close()

    def race(
        self,
        skew_s: float,
        dice: random.Random,
        active: int | None = None,
        relogin: bool | None = None,
        kill_within_s: float | None = None,
    ) -> tuple[Outcome, int | None, float, object]:
        """active: the node that has the volume group active; None: neither. relogin: None: as the agents were made.

        kill_within_s: one of the two, drawn by lot, is killed at a random moment that long after the beginning at most,
        and called again at once; None: none is killed.
        """
        self._ask(0, ("clear",))
        for node, data in enumerate(self._data):
            self._ask(node, ("register",))
            if data is not None:
                _insist(partial(data.register_and_ignore, KEYS[node], False, Deadline.after(RACE_S)))
        self._ask(dice.randrange(2), ("reserve",))
        if self._relogin if relogin is None else relogin:
            for node in (0, 1):
                self._ask(node, ("relogin",))
        at = time.monotonic() + LEAD_S
        late = dice.randrange(2)
        for node in (0, 1):
            self._pipes[node].send(("fence", at + (dice.uniform(0, skew_s) if node == late else 0.0), node == active))
        killed, won_before = None, False
        if kill_within_s is not None:
            killed = dice.randrange(2)
            time.sleep(max(0.0, at + dice.uniform(0, kill_within_s) - time.monotonic()))
            won_before = self.kill(killed)
            self._pipes[killed].send(("fence", time.monotonic(), killed == active))
        finishes: list[Finish] = []
        for pipe in self._pipes:
            for _ in range(2):  # the result alone comes first
                if not pipe.poll(RACE_S + skew_s + 2):
                    return Outcome.HUNG, None, RACE_S, finishes
                message = pipe.recv()
            finishes.append(message)
        took_s = max(finish.took_s for finish in finishes)
        return *self._judge(finishes, killed, won_before), took_s, (killed, won_before, finishes)

    def _judge(self, finishes: list[Finish], killed: int | None, won_before: bool) -> tuple[Outcome, int | None]:
        """killed, won_before: see race, and kill."""
        won = [  # which lets power go
            node for node in (0, 1) if finishes[node].result is ArbitrationResult.WON or (node == killed and won_before)
        ]
        if len(won) == 2:
            return Outcome.BOTH_WON, None
        if not won:
            return Outcome.NOBODY_WON, None
        winner, loser = won[0], 1 - won[0]
        if winner == killed and not self._unfenced(winner):
            return Outcome.WINNER_CANNOT_WRITE, winner
        if not finishes[winner].isolated:
            return Outcome.WON_NOT_ISOLATED, winner
        if finishes[loser].result is not ArbitrationResult.LOST or not finishes[loser].reason:
            return Outcome.SILENT_LOSER, winner
        if self._writes(loser) != {ScsiStatus.RESERVATION_CONFLICT}:
            return Outcome.LOSER_WRITES, winner
        if self._writes(winner) != {ScsiStatus.GOOD}:
            return Outcome.WINNER_CANNOT_WRITE, winner
        left = set(self._referee.read_keys(Deadline.after(RACE_S)).keys) - {KEYS[winner]}
        # A killed agent may leave its guard key on the session that died with it; that wins nothing (decision 0002).
        if left - ({guard_key(KEYS[killed])} if killed is not None else set()):
            return Outcome.LOSER_REGISTERED, winner
        return Outcome.ONE_SURVIVOR, winner

    def _unfenced(self, node: int) -> bool:
        """Whether `on` registers all sessions of a node whose agent was killed. The new agent's session never was
        registered. In the window that decision 0002 names the one for data may have lost its registration."""
        data = self._data[node]
        own = data is None or _unfence(data, KEYS[node], Deadline.after(RACE_S)) is None
        return own and self._ask(node, ("unfence",)) is None

    def _writes(self, node: int) -> set[object]:
        """What the writes of each of a node's sessions get."""
        data = self._data[node]
        statuses = {self._ask(node, ("write",))}
        return statuses if data is None else statuses | {_write(data, Deadline.after(RACE_S))}

    def _ask(self, node: int, order: tuple[object, ...]) -> object:
        self._pipes[node].send(order)
        if not self._pipes[node].poll(RACE_S + 2):
            raise TimeoutError(f"agent {node} hangs in {order[0]}")
        return self._pipes[node].recv()


def run(
    devices: Sequence[Sequence[str]],
    races: int,
    *,
    skew_s: float = 0.005,
    slot_s: float = 0.0,
    relogin: bool = False,
    strangers: bool = False,
    seed: int | None = None,
    opener: Opener = open_transport,
) -> Series:
    """relogin: both agents lose their registered nexus before each race, so that both must repair it under the guard.

    strangers: each expects the other one under a key that it does not have, as with a cluster file left over.
    """
    dice = random.Random(seed if seed is not None else os.urandom(8))
    series = Series()
    with Agents(devices, slot_s=slot_s, relogin=relogin, strangers=strangers, opener=opener) as agents:
        for _ in range(races):
            series.add(*agents.race(skew_s, dice))
    return series
