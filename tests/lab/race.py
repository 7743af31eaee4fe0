# SPDX-License-Identifier: Apache-2.0
"""Fence races on level 2: both nodes fence each other, whole agents on real /dev/sdX, as often as asked for.

`play` runs inside the guest, with the product's modules. `python -m tests.lab.race [--count 100] [--peer]`
runs it in a throwaway guest and prints the figures; --peer races fence_scsi instead.

Before each race both nodes are registered on every LUN and a reservation is held, over the product's own nexus. Then
both agents start, one later than the other by a random skew. How often a node *wrote* is read off the PR generation,
which counts each registration and each preemption: a winner moves it by one on every LUN, a loser that writes nothing
by none.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fencer.storage.nexus import Nexus

KEYS = {"serv-0001": 0xA51146D300000001, "serv-0002": 0xA51146D300000002}
"""What the product derives for these nodes in the lab's cluster."""

AGENT_LIMIT_S = 100
_PART = 10
"""So many races are played by one command in the guest."""
_ACTIVE = "race-active"


class Side(NamedTuple):
    """One node's part in one race.

    started_s, identified_s: when it was called, and when it had found its LUNs, from the start of the race.
    """

    node: str
    rc: int
    seconds: float
    started_s: float
    identified_s: float | None
    output: str

    @property
    def says_lost(self) -> bool:
        return "the fence race is lost" in self.output


class Race(NamedTuple):
    """One race. steps: by how much the PR generation moved, LUN by LUN. left: keys registered afterwards."""

    active: str | None
    skew_s: float
    sides: tuple[Side, ...]
    steps: tuple[int, ...]
    left: tuple[tuple[int, ...], ...]

    @property
    def winners(self) -> list[str]:
        return [side.node for side in self.sides if side.rc == 0]

    @property
    def active_must_win(self) -> bool:
        """By its head start: it had found its LUNs before four tenths of the other's rank had passed.

        Where it was later than that, the other may have preempted it already; that is no fault.
        """
        from fencer.storage.arbitration import slot_s

        times = {side.node: side.identified_s for side in self.sides}
        if self.active is None or None in times.values():
            return False
        other = next(side for side in self.sides if side.node != self.active)
        ours, theirs = times[self.active], times[other.node]
        assert ours is not None
        assert theirs is not None
        return ours < theirs + 0.4 * slot_s(theirs - other.started_s)


def faults(race: Race) -> list[str]:
    """What is wrong with a race of the product; nothing, if all is well."""
    found = []
    if len(race.winners) != 1:
        return [f"winners: {race.winners}"]
    winner = race.winners[0]
    loser = next(side for side in race.sides if side.node != winner)
    if not loser.says_lost:
        found.append(f"the loser does not say so: {loser.output}")
    if set(race.steps) != {1}:
        found.append(f"somebody else than the winner wrote, or it wrote more than needed: {race.steps}")
    if set(race.left) != {(KEYS[winner],)}:
        found.append(f"keys left: {race.left}")
    if race.active_must_win and winner != race.active:
        found.append(f"{race.active} had the volume group active, was there in time and lost")
    return found


# --- inside the guest ---------------------------------------------------------------------------------------------


def agent_command(node: str, victim: str, disks: Sequence[str], *more: str) -> list[str]:
    links = ",".join(f"/dev/lab/{Path(disk).name}" for disk in disks)  # as level2.linked
    where = [f"--local-node={node}", f"--state-dir=/run/fence-race/{node}", f"--devices={links}"]
    return ["fence_halvm", *where, "--action=off", f"--plug={victim}", *more]


def _told_command(node: str, victim: str, disks: Sequence[str]) -> list[str]:
    return agent_command(node, victim, disks, "-v")  # Side reads its steps


def peer_command(victim: str, disks: Sequence[str]) -> list[str]:
    return ["fence_scsi", "-o", "off", "-k", f"{KEYS[victim]:x}", "-d", ",".join(disks)]


def write_peer_files(node: str, disks: Sequence[str], place: str) -> None:
    """What fence_scsi keeps of the node it runs on: its key and its disks. place: Debian's is /run/cluster."""
    Path(f"{place}.key").write_text(f"{KEYS[node]:x}\n")
    Path(f"{place}.dev").write_text("".join(f"{disk}\n" for disk in disks))


def _told_peer_command(node: str, victim: str, disks: Sequence[str]) -> list[str]:
    """Both nodes are one machine here: each agent gets files of its own in Debian's place for them."""
    state = Path("/run/fence-race", node)
    state.mkdir(parents=True, exist_ok=True)
    write_peer_files(node, disks, f"{state}/cluster")
    mounts = ""
    for name in ("key", "dev"):
        Path(f"/run/cluster.{name}").touch()
        mounts += f"mount --bind {state}/cluster.{name} /run/cluster.{name} && "
    return ["unshare", "--mount", "sh", "-c", f"{mounts}exec {shlex.join(peer_command(victim, disks))}"]


def _start(node: str, command: list[str], after_s: float, began: float, into: dict[str, Side]) -> threading.Thread:
    def run() -> None:
        time.sleep(max(0.0, began + after_s - time.monotonic()))
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        killer = threading.Timer(AGENT_LIMIT_S, process.kill)
        killer.start()
        lines, identified = [], None
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "identified" in line:
                identified = time.monotonic() - began
        rc = process.wait()
        killer.cancel()
        ended = time.monotonic()
        into[node] = Side(node, rc, ended - started, started - began, identified, "".join(lines)[-4000:])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextmanager
def active_on(disk: str | None) -> Iterator[None]:
    """A mapped device with a UUID of LVM on the disk, which is what an active logical volume is to the kernel."""
    if disk is None:
        yield
        return
    table = f"0 2048 linear {disk} 0"
    subprocess.run(["dmsetup", "create", _ACTIVE, "--uuid", "LVM-" + "r" * 64, "--table", table], check=True)
    try:
        yield
    finally:
        subprocess.run(["dmsetup", "remove", "--retry", _ACTIVE], check=True)


def open_nexuses(disks: Mapping[str, Sequence[str]]) -> "dict[str, list[Nexus]]":
    from fencer.storage.nexus import Nexus
    from fencer.storage.sgutils import SgTransport

    return {node: [Nexus(SgTransport(disk)) for disk in disks[node]] for node in disks}


def prepare(nexuses: "Mapping[str, Sequence[Nexus]]") -> list[int]:
    """Every node registered on every LUN, a reservation held, the first node's where there was none. Returns the PR
    generations, LUN by LUN."""
    from fencer.model import Deadline, ReservationKey, ReservationType
    from fencer.storage.nexus import Outcome

    deadline = Deadline.after(100)
    for node in nexuses:
        key = ReservationKey(KEYS[node])
        for nexus in nexuses[node]:
            while (done := nexus.register_and_ignore(key, True, deadline)) is Outcome.CHANGED:
                pass
            assert done is Outcome.DONE, done
            nexus.read_keys(deadline)  # takes the unit attentions of what was before
    first = next(iter(nexuses))
    generations = []
    for nexus in nexuses[first]:
        if nexus.read_reservation(deadline).type is None:
            nexus.reserve(ReservationKey(KEYS[first]), ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, deadline)
        generations.append(nexus.read_keys(deadline).generation)
    return generations


def play(
    disks: dict[str, list[str]], count: int, most_skew_s: float, *, peer: bool = False, seed: int = 0
) -> Iterator[Race]:
    """Races, one after the other. disks: by node, in LUN order."""
    from fencer.model import Deadline

    chance = random.Random(seed or None)
    nodes = list(disks)
    nexuses = open_nexuses(disks)

    for _ in range(count):
        active = chance.choice([*nodes, None])
        skew_s = chance.uniform(0, most_skew_s)
        order = chance.sample(nodes, 2)
        before = prepare(nexuses)
        sides: dict[str, Side] = {}
        with active_on(disks[active][0] if active else None):
            began = time.monotonic()
            build = _told_peer_command if peer else _told_command
            commands = [build(node, next(n for n in nodes if n != node), disks[node]) for node in order]
            threads = [
                _start(node, command, after_s, began, sides)
                for node, command, after_s in zip(order, commands, (0.0, skew_s), strict=True)
            ]
            for thread in threads:
                thread.join()
        look = Deadline.after(60)
        seen = [nexus.read_keys(look) for nexus in nexuses[nodes[0]]]
        yield Race(
            active,
            round(skew_s, 3),
            tuple(sides[node] for node in order),
            tuple(after.generation - generation for after, generation in zip(seen, before, strict=True)),
            tuple(tuple(key.value for key in after.keys) for after in seen),
        )


def decode(row: Mapping[str, Any]) -> Race:
    """What the guest printed as one line."""
    sides = tuple(Side(**side) for side in row["sides"])
    return Race(row["active"], row["skew_s"], sides, tuple(row["steps"]), tuple(map(tuple, row["left"])))


def _row(race: Race) -> dict[str, Any]:
    return race._asdict() | {"sides": [side._asdict() for side in race.sides]}


def guest_main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("disks", nargs=2, help="NODE=DISK,DISK…")
    given = parser.parse_args()
    disks = {node: names.split(",") for node, _, names in (word.partition("=") for word in given.disks)}
    for race in play(disks, given.count, given.skew, peer=given.peer, seed=given.seed):
        print(json.dumps(_row(race)), flush=True)
    return 0


# --- on the host --------------------------------------------------------------------------------------------------


def _report(races: list[Race], peer: bool) -> None:
    one = sum(len(race.winners) == 1 for race in races)
    both, none = (sum(len(race.winners) == n for race in races) for n in (2, 0))
    print(f"{len(races)} races: one winner {one}, both succeeded {both}, nobody did {none}")
    clean = sum(set(race.steps) == {1} for race in races)
    print(f"only the winner wrote, once a LUN: {clean}")
    sole = sum(len(set(race.left)) == 1 and len(race.left[0]) == 1 for race in races)
    print(f"one and the same key left on every LUN: {sole}")
    split = sum(len(set(race.left)) > 1 and all(len(left) == 1 for left in race.left) for race in races)
    print(f"LUNs divided between the nodes: {split}")
    if not peer:
        due = [race for race in races if race.active_must_win]
        kept = sum(race.winners == [race.active] for race in due)
        print(f"volume group active and in time: {len(due)}, of these won: {kept}")
        print(f"the loser says so: {sum(any(side.says_lost for side in race.sides) for race in races)}")
        bad = [fault for race in races for fault in faults(race)]
        print("faults: " + ("none" if not bad else "\n  ".join(["", *bad])))
    for name, wins in (("winners", True), ("losers", False)):
        times = sorted(side.seconds for race in races for side in race.sides if (side.rc == 0) is wins)
        if times:
            print(f"{name}: median {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s")


def host_main() -> int:
    from tests.trial_record import TrialRecord

    from . import level2

    parser = argparse.ArgumentParser(prog="python -m tests.lab.race", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--skew", type=float, default=1.0, help="most seconds between the two starts")
    parser.add_argument("--luns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help="race fence_scsi: it may take the target down")
    parser.add_argument("--record", type=Path, default=Path(".trials/race-lab.jsonl"), help="what was played already")
    given = parser.parse_args()
    terms = {"skew_s": given.skew, "luns": given.luns, "seed": given.seed, "peer": given.peer}
    record = TrialRecord(given.record, terms, given.count)
    if record.left:
        with level2.restored(level2.Shape()) as guest:
            disks = {node: [guest.sd(node, lun) for lun in range(given.luns)] for node in KEYS}
            while record.left:
                seed = given.seed + len(record.rows) if given.seed else 0
                part = min(_PART, record.left)
                try:
                    played = run_in(guest, disks, part, skew_s=given.skew, peer=given.peer, seed=seed)
                except Exception as error:
                    said = guest.console()[-1500:]
                    print(f"after {len(record.rows)} races: {type(error).__name__}: {error}\nconsole: {said}")
                    return 1
                for race in played:
                    record.add(_row(race), " races")
    print(record.played)
    races = [decode(row) for row in record.rows]
    _report(races, given.peer)
    return int(not given.peer and any(faults(race) for race in races))


def run_in(
    guest: "object", disks: dict[str, list[str]], count: int, *, skew_s: float = 1.0, peer: bool = False, seed: int = 0
) -> list[Race]:
    """Plays in a running guest. Raises GuestError when the guest, or its target, does not come to an end."""
    from .guest import Guest
    from .product import PYTHON

    assert isinstance(guest, Guest)
    guest.put("/run/lab/race.py", Path(__file__).read_bytes())
    words = [f"{node}={','.join(names)}" for node, names in disks.items()] + (["--peer"] if peer else [])
    command = f"{PYTHON} /run/lab/race.py --count {count} --skew {skew_s} --seed {seed}"
    done = guest.run(f"{command} {' '.join(words)}", timeout_s=60 + 60 * count, check=True)
    return [decode(json.loads(line)) for line in done.out.splitlines()]


if __name__ == "__main__":
    sys.exit(guest_main() if os.path.exists("/run/lab/race.py") else host_main())  # noqa: PTH110
