# SPDX-License-Identifier: Apache-2.0
"""Two nodes of a split cluster, life after life: the loser of a race does not shoot the winner before they have met.

A stateful test plays unfencing, fences, reboots, meetings and orderly stops in random orders. What must hold: a node
that was fenced removes no key of its peer before the two have met; and never are both nodes refused at a time.
"""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fencer.cluster.contact import Contact
from fencer.errors import StorageError
from fencer.model import ArbitrationMode, OtherKeys, ReservationKey
from fencer.observations import Arbitrated, ArbitrationResult, LunRegistered, Noted, Observation
from fencer.storage import fenced_record, procedure
from fencer.storage.arbitration import Contest
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.unfencing import unfence
from fencer.storage.unregistering import unregister
from tests.decisions.interleaving import Fate, Stage, SteppedTransport
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B

KEYS = (A, B)
numbers = st.integers(0, 1)


class Node:
    """met: corosync has seen the peer since it started. owes: this node was fenced, and has not met its peer since."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number, self.key, self.directory = number, KEYS[number], directory / str(number)
        self.life, self.met, self.owes = 1, False, False
        self.directory.mkdir()

    @property
    def boot_id(self) -> str:
        return f"{self.number}.{self.life}"

    @property
    def record(self) -> Path:
        return self.directory / "fenced.json"

    def contact(self) -> Contact:
        return Contact.MET if self.met else Contact.NEVER

    @property
    def settings(self) -> StorageSettings:
        others = OtherKeys((KEYS[1 - self.number],))
        run = str(self.directory / f"run.{self.life}")
        return StorageSettings(("lun",), None, self.key, state_dir=run, others=others)


class Cluster:
    """What can happen to two nodes and their LUN. The network is cut except in the moment of meet()."""

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.target = FakeTarget()
        self.nodes = tuple(Node(number, Path(self.scratch.name)) for number in (0, 1))
        self.patch = pytest.MonkeyPatch()
        for module in ("settings", "unfencing"):
            self.patch.setattr(f"fencer.storage.{module}.persistent_directory", lambda run: str(Path(run).parent))
        self.patch.setattr("fencer.storage.marker.read_boot_id", lambda _path: self.booted)
        self.patch.setattr(fenced_record, "read_boot_id", lambda: self.booted)
        self.patch.setattr(fenced_record, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.booted, self.now_s = "", 100.0
        for node in self.nodes:
            self.target.nexus(str(node.number))

    def close(self) -> None:
        self.patch.undo()
        self.scratch.cleanup()

    def opened(self, node: Node, stage: Stage) -> Opened:
        nexus = Nexus(SteppedTransport(self.target.nexus(str(node.number)), stage), sleep=stage.sleep)
        return Opened((LogicalUnit(self.target.wwid, "lun", [nexus]),))

    def finish(self, node: Node, stage: Stage) -> None:
        self.booted = node.boot_id
        stage.finish()

    def unfence(self, node: Node, *, sidecar: bool = False) -> list[Observation]:
        """sidecar: it asks no corosync, since it starts before it."""
        self.booted = node.boot_id
        seen: list[Observation] = []
        ask = None if sidecar else node.contact

        def work(stage: Stage) -> None:
            opened = self.opened(node, stage)
            terms = Terms.on(node.settings, node.key, re_register=False)
            unfence(opened, terms, node.settings.state_dir, lambda *what: seen.extend(what), stage.deadline, ask)

        self.finish(node, Stage(work))
        return seen

    def begin_fence(self, node: Node) -> tuple[Stage, list[Observation]]:
        """As the storage worker does it."""
        seen: list[Observation] = []
        peer, directory = self.nodes[1 - node.number], node.settings.persistent_dir

        def work(stage: Stage) -> None:
            emit = fenced_record.forget_once_won(directory, lambda *what: seen.extend(what))
            refused = fenced_record.refusal(directory, node.contact, emit)
            contest = Contest.on(node.settings, node.key, peer.key, slot_s=0.0, repair=True)._replace(refusal=refused)
            mode = ArbitrationMode.REQUIRED
            procedure.fence(self.opened(node, stage), contest, mode, "lun", emit, stage.deadline)

        return Stage(work), seen

    def fence(self, node: Node) -> ArbitrationResult:
        stage, seen = self.begin_fence(node)
        before = set(self.target.keys)
        self.finish(node, stage)
        return self.end_fence(node, seen, before)

    def end_fence(self, node: Node, seen: list[Observation], before: set[int]) -> ArbitrationResult:
        """Power follows a race that was won: the victim reboots."""
        result = next(what.result for what in seen if isinstance(what, Arbitrated))
        peer = self.nodes[1 - node.number]
        if result is ArbitrationResult.WON:
            assert not (node.owes and peer.key in before), "a node that was fenced shot the one that fenced it"
            node.owes = False
            peer.owes = peer.owes or peer.key in before
            self.reboot(peer)
        else:
            assert peer.key not in before or peer.key in self.target.keys
        return result

    def reboot(self, node: Node) -> None:
        node.life += 1
        node.met = False

    def meet(self) -> None:
        for node in self.nodes:
            node.met, node.owes = True, False

    def settle(self) -> None:
        """A fence that was asked for before they met is over."""
        self.now_s += fenced_record.SETTLE_S

    def stop_in_order(self, node: Node) -> None:
        """The sidecar takes the key off, unless this node holds the reservation; then the node reboots."""
        self.booted = node.boot_id
        stage = Stage(lambda stage: self._unregister(node, stage))
        self.finish(node, stage)
        self.reboot(node)

    def _unregister(self, node: Node, stage: Stage) -> None:
        try:
            unregister(node.settings, lambda *_: self.opened(node, stage))
        except StorageError:
            return

    def is_refused(self, node: Node) -> bool:
        """For ever, not for SETTLE_S."""
        return node.record.exists() and not node.met


class Loop(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    def teardown(self) -> None:
        self.cluster.close()

    @rule(number=numbers, sidecar=st.booleans())
    def unfence(self, number: int, sidecar: bool) -> None:
        node = self.cluster.nodes[number]
        self.cluster.unfence(node, sidecar=sidecar)
        if node.met and not sidecar:
            record = fenced_record.read_record(node.settings.persistent_dir)
            assert record is None or (isinstance(record, fenced_record.FencedRecord) and record.met is not None)

    @rule(number=numbers)
    def fence(self, number: int) -> None:
        self.cluster.fence(self.cluster.nodes[number])

    @rule(turns=st.lists(numbers, max_size=60))
    def fence_each_other(self, turns: list[int]) -> None:
        cluster, before = self.cluster, set(self.cluster.target.keys)
        begun = [cluster.begin_fence(node) for node in cluster.nodes]
        for number in turns:
            if not begun[number][0].over:
                begun[number][0].step(Fate.EXECUTE)
        for stage, _ in begun:
            stage.finish()
        owed = [node.owes for node in cluster.nodes]
        won = []
        for node, (_, seen) in zip(cluster.nodes, begun, strict=True):
            node.owes = owed[node.number]
            if cluster.end_fence(node, seen, before) is ArbitrationResult.WON:
                won.append(node)
        assert len(won) <= 1 or not before

    @rule(number=numbers)
    def reboot(self, number: int) -> None:
        self.cluster.reboot(self.cluster.nodes[number])

    @rule(number=numbers)
    def stop_in_order(self, number: int) -> None:
        self.cluster.stop_in_order(self.cluster.nodes[number])

    @rule()
    def meet(self) -> None:
        self.cluster.meet()

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    @invariant()
    def one_may_fence(self) -> None:
        assert not all(self.cluster.is_refused(node) for node in self.cluster.nodes), "no node may fence the other"


TestLoop = Loop.TestCase
TestLoop.settings = settings(
    max_examples=int(os.environ.get("INTERLEAVINGS", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def cluster():
    made = Cluster()
    yield made
    made.close()


def fenced_b(cluster: Cluster) -> tuple[Node, Node]:
    """Both nodes were registered; a has fenced b, and b has registered again after its reboot."""
    a, b = cluster.nodes
    for node in (b, a):  # b holds the reservation
        cluster.unfence(node)
    assert cluster.fence(a) is ArbitrationResult.WON
    return a, b


@pytest.mark.parametrize("sidecar", [False, True])
def test_the_loser_reboots_registers_and_does_not_shoot_the_winner(cluster: Cluster, sidecar: bool) -> None:
    a, b = fenced_b(cluster)
    assert cluster.fence(b) is ArbitrationResult.LOST  # before it is registered
    seen = cluster.unfence(b, sidecar=sidecar)
    assert any(isinstance(what, LunRegistered) for what in seen)
    for _ in range(3):
        assert cluster.fence(b) is ArbitrationResult.REFUSED
    assert {a.key, b.key} <= set(cluster.target.keys)
    assert cluster.fence(a) is ArbitrationResult.WON


def test_a_further_reboot_of_the_loser_changes_nothing(cluster: Cluster) -> None:
    _, b = fenced_b(cluster)
    for _ in range(3):
        cluster.unfence(b)
        assert cluster.fence(b) is ArbitrationResult.REFUSED
        cluster.reboot(b)


def test_who_has_met_its_peer_may_fence_it(cluster: Cluster) -> None:
    _, b = fenced_b(cluster)
    cluster.unfence(b)
    cluster.meet()
    cluster.unfence(b)  # as monitor would, too
    cluster.settle()
    assert cluster.fence(b) is ArbitrationResult.WON
    assert not b.record.exists()


def test_a_fence_that_was_asked_for_before_they_met_is_refused(cluster: Cluster) -> None:
    """Pacemaker tries a refused fence again at once, twice for one request, so one is under way when they meet."""
    a, b = fenced_b(cluster)
    cluster.unfence(b)
    cluster.meet()
    for _ in range(3):
        assert cluster.fence(b) is ArbitrationResult.REFUSED
        cluster.now_s += fenced_record.SETTLE_S / 4
    cluster.unfence(b)  # nor does on, or monitor, end it earlier
    assert cluster.fence(b) is ArbitrationResult.REFUSED
    assert a.key in cluster.target.keys
    cluster.settle()
    assert cluster.fence(b) is ArbitrationResult.WON


def test_the_operator_removes_the_record(cluster: Cluster) -> None:
    _, b = fenced_b(cluster)
    cluster.unfence(b)
    b.record.unlink()
    b.owes = False
    assert cluster.fence(b) is ArbitrationResult.WON


def test_on_and_monitor_say_that_a_fence_would_be_refused(cluster: Cluster) -> None:
    _, b = fenced_b(cluster)
    notes = [what.text for what in cluster.unfence(b) if isinstance(what, Noted)]
    assert any("a fence of the other node would be refused: lun: this node was fenced" in text for text in notes)
    assert any(str(b.record) in text for text in notes)


def test_a_node_that_stopped_in_order_was_not_fenced(cluster: Cluster) -> None:
    a, b = cluster.nodes
    for node in (a, b):  # a holds the reservation, so b may take its key off
        cluster.unfence(node)
    cluster.stop_in_order(b)
    assert b.key not in cluster.target.keys
    cluster.unfence(b)
    assert cluster.fence(b) is ArbitrationResult.WON
    assert a.key not in cluster.target.keys


def test_a_power_cut_of_both_is_no_fence(cluster: Cluster) -> None:
    """Both keys are there still; and so it is where the array has lost them, too."""
    for lose in (False, True):
        for node in cluster.nodes:
            cluster.unfence(node)
        for node in cluster.nodes:
            cluster.reboot(node)
        cluster.target.reset(lose_registrations=lose)
        b = cluster.nodes[1]
        cluster.unfence(b)
        assert cluster.fence(b) is ArbitrationResult.WON
        assert not b.record.exists()


def test_a_target_that_lost_its_registrations_shows_no_fence(cluster: Cluster) -> None:
    """The peer has registered since, and holds the reservation; the PR generation began again."""
    a, b = cluster.nodes
    for _ in range(3):
        for node in (a, b):
            cluster.unfence(node)
            cluster.reboot(node)
    cluster.target.reset(lose_registrations=True)
    cluster.unfence(a)
    cluster.unfence(b)
    assert not b.record.exists()


def test_a_new_node_was_not_fenced(cluster: Cluster) -> None:
    a, b = cluster.nodes
    cluster.unfence(a)
    cluster.unfence(b)
    assert cluster.fence(b) is ArbitrationResult.WON
    assert a.owes


def test_a_peer_whose_key_is_gone_may_be_fenced(cluster: Cluster) -> None:
    """It uses no storage, so it runs no service; and the record is forgotten with that, or both could be refused."""
    a, b = fenced_b(cluster)
    cluster.unfence(b)
    cluster.target._unregister([cluster.target._session("0")], attention=None)
    cluster.unfence(b)
    assert cluster.fence(b) is ArbitrationResult.WON
    assert not b.record.exists()
    assert ReservationKey(int(a.key)) not in cluster.target.keys
