# SPDX-License-Identifier: Apache-2.0
"""The state of the cluster as a value: targets, nodes, what may still happen, and one event with what it leads to."""

from typing import Any, NamedTuple

from fencer.observations import ArbitrationResult
from fencer.storage.fenced_record import FencedRecord
from fencer.storage.marker import EarlierBootMarker, Marker
from tests.model.procedures import Setting
from tests.model.target import Target, TargetKind


class Budget(NamedTuple):
    """How often each thing may happen from here on, all nodes together.

    fences, ons: calls of the agent. crashes: an agent is killed at any step. losses: a command is lost, or its answer.
    relogins: a node's session ends, and it has a new one. reboots: of a node that runs, or was switched off. restores:
    the sidecar puts back a key that the target has dropped with its session.
    """

    fences: int = 2
    ons: int = 0
    crashes: int = 0
    losses: int = 0
    relogins: int = 0
    reboots: int = 0
    restores: int = 0

    def less(self, name: str) -> "Budget":
        return self._replace(**{name: getattr(self, name) - 1})


class Scenario(NamedTuple):
    """What is explored, and what must hold in it.

    begins_fenced: node A has fenced node B, which has booted; it all begins then.
    meetings: corosync on a node sees its peer only when a meeting happens; else they have always met.
    What is known and written down does not count, unless the scenario asks for it by False:
    window: a node whose nexus holds its guard key alone may write (decision 0002 says when).
    unfencing: so may one, on another LUN than that on which it was fenced, while its unfencing is under way (0002).
    stale_win: a node that has won goes on to isolate further LUNs although the other node has booted and registered, or
    won, on the arbiter since (0003). That counts as a fence of the other node only on the arbiter.
    holder_may_go: a target that forgets a registration with its session forgets the reservation with the holder's.
    met_before: a node that has met its peer in a boot and is fenced before it has registered in that boot forgets its
    record at once (decision 0016).
    slack: no node boots, registers, races and wins while the BMC's command of its peer is under way (decision 0003).
    won_by_look: on a target that forgets registrations two may have won, one of them by a look; the look before GO
    decides.
    single_reads: the two reads of a look are two steps. Else they are one: a look counts only where both answers carry
    the same generation, so it shows one state of the target.
    """

    name: str
    setting: Setting = Setting()
    target: TargetKind = TargetKind()
    budget: Budget = Budget()
    begins_fenced: bool = False
    meetings: bool = False
    window: bool = True
    unfencing: bool = True
    stale_win: bool = True
    holder_may_go: bool = True
    met_before: bool = True
    slack: bool = True
    won_by_look: bool = True
    single_reads: bool = False


class Node(NamedTuple):
    """One node. procedure: a number in Steps; 0: the agent is not running.

    counts: the LUNs on which it has registered in this boot; what is done to it earlier is done to its registration of
    an earlier boot. preempted: those on which another node has removed the last of its two keys since. dropped_at: the
    generation with which the target has dropped its key. run, persistent, record: its files; persistent_now: written in
    this boot. met: corosync's word. owes: its keys were removed by another node, and the two have not met since.
    result: of its last fence.
    """

    up: bool = True
    procedure: int = 0
    counts: tuple[int, ...] = ()
    preempted: tuple[int, ...] = ()
    dropped_at: int = -1
    run: Marker | None = None
    persistent: Marker | None = None
    persistent_now: bool = False
    record: FencedRecord | None = None
    met: bool = True
    owes: bool = False
    result: ArbitrationResult | None = None

    def file(self, name: str) -> object:
        match name:
            case "run":
                return self.run
            case "persistent" if self.persistent is not None and not self.persistent_now:
                return EarlierBootMarker("earlier", self.persistent.key, self.persistent.luns)
            case "persistent":
                return self.persistent
            case _:
                return self.record

    def with_file(self, name: str, content: Any) -> "Node":
        match name:
            case "run":
                return self._replace(run=content)
            case "persistent":
                return self._replace(persistent=content, persistent_now=True)
            case _:
                return self._replace(record=content)


Pair = tuple[int, int]


class State(NamedTuple):
    """won, power: (winner, victim), of the present boots. proofs: (victim, LUN), of the victim's present boot."""

    targets: tuple[Target, ...]
    nodes: tuple[Node, ...]
    budget: Budget
    won: tuple[Pair, ...] = ()
    power: tuple[Pair, ...] = ()
    proofs: tuple[Pair, ...] = ()

    def with_node(self, number: int, node: Node) -> "State":
        return self._replace(nodes=(*self.nodes[:number], node, *self.nodes[number + 1 :]))

    def with_target(self, number: int, target: Target) -> "State":
        return self._replace(targets=(*self.targets[:number], target, *self.targets[number + 1 :]))


class Move(NamedTuple):
    """One thing that happens: its text, and the state afterwards. broken: what it breaks; "" where all holds."""

    text: str
    after: State
    broken: str = ""
