# SPDX-License-Identifier: Apache-2.0
"""Whatever the order of commands, crashes, lost answers, relogins: no two nodes fence each other, no fenced one writes.

The state machine chooses; what must hold is checked after every single command:

(a) never do two nodes hold a won race, which lets power go, or a success verdict against each other; and when a look
    after the race lets power go, the caller is registered at the arbiter at that moment and the victim is not;
(b) once a node has the storage proof for a victim on a LUN, no write of the victim on that LUN is accepted until the
    victim has rebooted;
(c) a node that was preempted in this boot is never registered again under its own key; where nothing was lost, also its
    guard key is gone when its procedure is over.

Nodes may have differing cluster files, and a LUN may have a state of its own behind each path (two gateways). Then (a)
is claimed of two nodes that each look for the key that the other has, or take every key (0001 says what is open).
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fencer.agent.facts import Facts
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest
from fencer.agent.verdict import judge
from fencer.model import Action, OtherKeys, Proof, ProofPolicy, ReservationKey, ReservationType
from fencer.observations import Arbitrated, ArbitrationResult, LunIsolated, Observation
from fencer.storage import procedure, unfencing
from fencer.storage.arbitration import Contest, RaceResult
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus
from fencer.storage.pr import REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import Sense
from tests.decisions.interleaving import Fate, Stage, SteppedTransport
from tests.storage.fake_target import FakeTarget

NODES = 3
LUNS = 2
PATHS = 2
LOOKS = 2  # at the arbiter, after the race
WRITE_10 = 0x2A
SCHEMES = tuple(
    tuple(ReservationKey(cluster + node) for node in range(1, NODES + 1))
    for cluster in (0xC0DE0000_00000000, 0xBAD0000_00000000)
)
"""The keys of all nodes, as files with this or that cluster name give them."""
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
nodes = st.integers(0, NODES - 1)
luns = st.integers(0, LUNS - 1)
paths = st.integers(0, PATHS - 1)
fates = st.sampled_from([Fate.EXECUTE] * 8 + [Fate.LOSE, Fate.DEAFEN, Fate.CRASH, Fate.CRASH_AFTER])
attentions = st.sampled_from([Sense(6, 0x29, 0), Sense(6, 0x2A, 4), RESERVATIONS_PREEMPTED, REGISTRATIONS_PREEMPTED])


@dataclass(frozen=True)
class Files:
    """What one node's cluster files say. keys: of all nodes. listed: which nodes there are; None: nothing says so."""

    keys: tuple[ReservationKey, ...] = SCHEMES[0]
    listed: frozenset[int] | None = None

    def others(self, number: int) -> OtherKeys | None:
        """The keys of the other nodes that are listed."""
        if self.listed is None:
            return None
        return OtherKeys(tuple(self.keys[other] for other in sorted(self.listed - {number})))

    def takes_all(self, number: int) -> bool:
        """Whether node number takes its cluster for one of two nodes."""
        return self.listed is not None and len(self.listed | {number}) == 2


@dataclass
class Node:
    """life: which boot. unfenced: its first unfencing in this life is over; what is done to it earlier is done to the
    registrations of an earlier life (0002 says what is open about that moment).
    preempted: states from which this life's key was taken. lossy: something was lost or killed."""

    number: int
    state_dir: Path
    files: Files = Files()
    life: int = 0
    unfenced: bool = False
    stage: Stage | None = None
    victim: int | None = None
    facts: Facts = field(default_factory=Facts)
    preempted: set[int] = field(default_factory=set)
    lossy: bool = False

    @property
    def key(self) -> ReservationKey:
        return self.files.keys[self.number]

    @property
    def busy(self) -> bool:
        return self.stage is not None and not self.stage.over


def one_after_another(
    luns: Iterable[LogicalUnit], work: procedure.Work, emit: procedure.Emit, at_once: int | None = None
) -> None:
    for lun in luns:
        emit(*work(lun))


def at_once(work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    work(*arguments)


class Fences(RuleBasedStateMachine):
    """repair: nexuses may be registered again in a fence; then only invariants (a) and (c) are claimed, see 0002."""

    repair = False
    preempt_and_abort = True
    kind = WERO
    states_each = 1
    """How many states a LUN has: one, or one behind each path."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.luns = [
            [
                FakeTarget(
                    wwid=f"naa.600140500000000000000000000000{lun:02x}", preempt_and_abort=self.preempt_and_abort
                )
                for _ in range(self.states_each)
            ]
            for lun in range(LUNS)
        ]
        self.states = [state for lun in self.luns for state in lun]
        self.nodes = [Node(number, Path(self.directory.name) / f"{number}.0") for number in range(NODES)]
        self.isolated: dict[tuple[int, int], tuple[int, int]] = {}  # (victim, LUN) → (its life, by whom)
        self.won: dict[tuple[int, int], tuple[int, int]] = {}  # (winner, victim) → both lives
        self.parallel, self.threads = procedure._side_by_side, procedure.start_thread
        procedure._side_by_side = one_after_another
        procedure.start_thread = at_once  # type: ignore[assignment]
        self.begin()

    def begin(self) -> None:
        """Unfences all nodes."""
        for node in self.nodes:
            self.begin_unfence(node)
            assert node.stage is not None
            node.stage.finish()
            node.unfenced = True

    def teardown(self) -> None:
        for node in self.nodes:
            if node.stage is not None and not node.stage.over:
                node.stage.crash()
        procedure._side_by_side, procedure.start_thread = self.parallel, self.threads
        self.directory.cleanup()

    def behind(self, lun: int, path: int) -> FakeTarget:
        """The state of a LUN that this path reaches."""
        return self.luns[lun][path % self.states_each]

    # --- what a node does -----------------------------------------------------------------------------------------

    def opened(self, node: Node, stage: Stage) -> Opened:
        return Opened(
            tuple(
                LogicalUnit(
                    states[0].wwid,
                    f"lun{lun}",
                    [
                        Nexus(
                            SteppedTransport(self.behind(lun, path).nexus(f"{node.number}.{path}"), stage),
                            sleep=stage.sleep,
                        )
                        for path in range(PATHS)
                    ],
                    bound=lambda transport: transport,  # a stage stops in the thread of its procedure
                )
                for lun, states in enumerate(self.luns)
            )
        )

    def settings_of(self, node: Node) -> StorageSettings:
        return StorageSettings(
            ("lun0", "lun1"), None, node.key, reservation_type=self.kind, state_dir=str(node.state_dir),
            others=node.files.others(node.number),
        )  # fmt: skip

    def begin_unfence(self, node: Node) -> None:
        node.victim = None
        terms, state_dir = Terms.on(self.settings_of(node), node.key), str(node.state_dir)
        node.stage = Stage(
            lambda stage: unfencing.unfence(
                self.opened(node, stage), terms, state_dir, lambda *_what: None, stage.deadline
            )
        )

    def begin_fence(self, node: Node, victim: Node) -> None:
        node.victim, node.facts = victim.number, Facts()
        life, victim_life, counts = node.life, victim.life, victim.unfenced
        settings = self.settings_of(node)
        expected = node.files.keys[victim.number]
        asked = StorageRequest(settings, expected)
        meet = self.looks_for(node, victim) and self.looks_for(victim, node)
        request = Request(Action.OFF, Caller.CLUSTER, "victim", False, ProofPolicy.STORAGE, storage=asked)
        plan = make_plan(request)

        def emit(*several: Observation) -> None:
            for what in several:
                hear(what)

        def hear(what: Observation) -> None:
            node.facts.add(what)
            if isinstance(what, Arbitrated) and what.result is ArbitrationResult.WON and counts and meet:
                self.won[node.number, victim.number] = (life, victim_life)  # which lets power go
            if isinstance(what, LunIsolated) and counts and victim.life == victim_life:
                self.isolated[victim.number, int(what.lun[3:])] = (victim_life, node.number)
            verdict = judge(plan, node.facts)
            if verdict.success:
                assert Proof.STORAGE in verdict.proofs
                found = all(lun.already for lun in node.facts.isolated.values())
                assert verdict.weak is False or not self.preempt_and_abort or node.lossy
                assert verdict.weak is True or self.preempt_and_abort or found

        def answer(end: RaceResult | None) -> None:
            """What lets power go, at the moment of the command that showed it."""
            if end is not None and end.result is ArbitrationResult.WON:
                for arbiter in self.luns[0]:
                    assert node.key in arbiter.keys
                    assert not {expected, guard_key(expected)} & set(arbiter.keys)

        def work(stage: Stage) -> None:
            looks = [answer] * LOOKS

            def questions() -> procedure.Answer | None:
                stage.sleep(1.0)  # while the BMC lets nobody in
                return looks.pop() if looks else None

            contest = Contest.on(settings, node.key, expected, slot_s=0.25, repair=self.repair)
            order = asked.arbitration, settings.where, emit, stage.deadline, questions
            procedure.fence(self.opened(node, stage), contest, *order)

        node.stage = Stage(work)

    def looks_for(self, node: Node, other: Node) -> bool:
        """Whether a fence of other by node looks for the key that other has."""
        return node.files.keys[other.number] == other.key or node.files.takes_all(node.number)

    # --- what may happen ------------------------------------------------------------------------------------------

    @rule(number=nodes, other=st.integers(1, NODES - 1))
    def fence(self, number: int, other: int) -> None:
        node = self.nodes[number]
        victim = self.nodes[(number + other) % NODES]
        if not node.busy and (node.files.listed is None or victim.number in node.files.listed):
            self.begin_fence(node, victim)

    @rule(number=nodes)
    def unfence(self, number: int) -> None:
        if not self.nodes[number].busy:
            self.begin_unfence(self.nodes[number])

    @rule(moves=st.lists(st.tuples(nodes, fates), min_size=1, max_size=25))
    def go_on(self, moves: list[tuple[int, Fate]]) -> None:
        for number, fate in moves:
            node = self.nodes[number]
            if node.busy and node.stage is not None:
                if self.states_each > 1 and fate in (Fate.LOSE, Fate.DEAFEN):
                    fate = Fate.EXECUTE  # a path that is silent reads nothing, and the other one then decides alone
                if fate is not Fate.EXECUTE:
                    node.lossy = True
                before = self.registered()
                node.stage.step(fate)
                node.unfenced = node.unfenced or (node.victim is None and node.stage.over)
                self.note_preempted(before, by=number)
                self.check()

    @rule(number=nodes)
    def finish(self, number: int) -> None:
        node = self.nodes[number]
        for _ in range(400):
            if not node.busy or node.stage is None:
                break
            self.go_on([(number, Fate.EXECUTE)])

    @rule(number=nodes, lun=luns, path=paths)
    def relogin(self, number: int, lun: int, path: int) -> None:
        self.behind(lun, path).relogin(f"{number}.{path}")

    @rule(number=nodes, lun=luns)
    def relogin_everywhere(self, number: int, lun: int) -> None:
        for path in range(PATHS):
            self.behind(lun, path).relogin(f"{number}.{path}")

    @rule(number=nodes, lun=luns, path=paths, attention=attentions)
    def attend(self, number: int, lun: int, path: int, attention: Sense) -> None:
        self.behind(lun, path).inject(f"{number}.{path}", attention)

    @rule(lun=luns)
    def reset(self, lun: int) -> None:
        for state in self.luns[lun]:
            state.reset(lose_registrations=False)

    @rule(number=nodes)
    def reboot(self, number: int) -> None:
        """Everything the node knew is gone; its unfencing is another rule."""
        node = self.nodes[number]
        if node.stage is not None and not node.stage.over:
            node.stage.crash()
        node.life += 1
        node.state_dir = node.state_dir.with_name(f"{number}.{node.life}")
        node.preempted, node.lossy, node.unfenced, node.victim = set(), False, False, None
        for lun in range(LUNS):
            for path in range(PATHS):
                self.behind(lun, path).relogin(f"{number}.{path}")

    # --- what must hold -------------------------------------------------------------------------------------------

    def registered(self) -> set[tuple[int, int]]:
        """Which node's key is in which state."""
        return {
            (node.number, place)
            for place, state in enumerate(self.states)
            for node in self.nodes
            if node.key in state.keys
        }

    def note_preempted(self, before: set[tuple[int, int]], by: int) -> None:
        for number, place in before - self.registered():
            if number != by and self.nodes[number].unfenced:
                self.nodes[number].preempted.add(place)

    def accepts(self, number: int, lun: int) -> bool:
        """Whether the target would take a WRITE now, on any path. Looked up, not sent: unit attentions stay."""
        ways = ((self.behind(lun, path), f"{number}.{path}") for path in range(PATHS))
        return any(state._admits(state._session(name), WRITE_10) for state, name in ways)

    @invariant()
    def check(self) -> None:
        for (winner, victim), lives in self.won.items():
            back = self.won.get((victim, winner))
            assert back is None or back != (lives[1], lives[0]), f"{winner} and {victim} both won"
        for node in self.nodes:
            for place in node.preempted:
                assert node.key not in self.states[place].keys, f"{node.number} came back at {place}"
                if not node.busy and not node.lossy:
                    assert guard_key(node.key) not in self.states[place].keys
        if not self.repair:
            for (victim, lun), (life, by) in self.isolated.items():
                if self.nodes[victim].life == life:
                    assert not self.accepts(victim, lun), f"{victim} writes on LUN {lun}, isolated by {by}"


class FencesWithRepair(Fences):
    repair = True


class FencesByPlainPreempt(Fences):
    preempt_and_abort = False


class FencesAllRegistrants(Fences):
    kind = ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS


class FencesHolderOnly(Fences):
    """Only the holder may write: even a node that comes back late writes nothing, so repair keeps (b), too."""

    kind = ReservationType.WRITE_EXCLUSIVE


files = st.builds(
    Files,
    st.sampled_from(SCHEMES),
    st.none() | st.sampled_from([frozenset(range(NODES)), *map(frozenset, itertools.combinations(range(NODES), 2))]),
)


class FencesDifferingFiles(Fences):
    """Each node has cluster files of its own: another cluster name, so other keys, or a list without a node.

    A node may boot with other files than before; what its last life registered stays listed.
    """

    def begin(self) -> None:
        pass  # first comes what each node's files say

    @initialize(each=st.tuples(*[files] * NODES))
    def configure(self, each: tuple[Files, ...]) -> None:
        for node, its in zip(self.nodes, each, strict=True):
            node.files = its
        super().begin()

    @rule(number=nodes, its=files)
    def reboot_with_other_files(self, number: int, its: Files) -> None:
        self.reboot(number)
        self.nodes[number].files = its


class FencesDifferingFilesByPlainPreempt(FencesDifferingFiles):
    preempt_and_abort = False


class FencesAtGateways(FencesDifferingFiles):
    """Each path leads to registrations of its own. Nothing is lost: of a gateway that is silent nothing can be read."""

    states_each = PATHS


QUICK = settings(
    max_examples=int(os.environ.get("INTERLEAVINGS", "5")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFences = Fences.TestCase
TestFencesWithRepair = FencesWithRepair.TestCase
TestFencesByPlainPreempt = FencesByPlainPreempt.TestCase
TestFencesAllRegistrants = FencesAllRegistrants.TestCase
TestFencesHolderOnly = FencesHolderOnly.TestCase
TestFencesDifferingFiles = FencesDifferingFiles.TestCase
TestFencesDifferingFilesByPlainPreempt = FencesDifferingFilesByPlainPreempt.TestCase
TestFencesAtGateways = FencesAtGateways.TestCase
for _case in (
    TestFences,
    TestFencesWithRepair,
    TestFencesByPlainPreempt,
    TestFencesAllRegistrants,
    TestFencesHolderOnly,
    TestFencesDifferingFiles,
    TestFencesDifferingFilesByPlainPreempt,
    TestFencesAtGateways,
):
    _case.settings = QUICK
del _case
