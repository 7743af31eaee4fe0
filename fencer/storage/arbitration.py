# SPDX-License-Identifier: Apache-2.0
"""Decides the race of two nodes that fence each other: the first PREEMPT that the target executes wins.

The target serialises PERSISTENT RESERVE OUT commands, and a node whose registration was removed gets RESERVATION
CONFLICT for its own PREEMPT (SPC-4 5.13.11.2.2). So at most one of two nodes removes the other's key from one LUN.
Safety rests on that alone. The rest keeps a loser from doing harm: it looks before it writes (a Linux target can hang
when a node with a PERSISTENT RESERVE OUT in flight is preempted), a fenced node is never registered, and the node that
uses the storage goes first.
"""

import time
from collections.abc import Callable

from fencer._typing import NamedTuple
from fencer.errors import NotRegistered, StorageError
from fencer.model import Deadline, OtherKeys, ReservationKey, ReservationType
from fencer.observations import ArbitrationResult
from fencer.storage.guarded_registration import register_under_guard
from fencer.storage.key_removal import Removal, remove_key, weakest
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.look import Look, some_of
from fencer.storage.nexus import Outcome
from fencer.storage.settings import StorageSettings
from fencer.storage.turns import Turns

BACKOFF_S = 0.02
"""Mean pause after a lost guard (see register_under_guard); drawn anew each time so that two nodes do not keep step."""

SLOT_SHARE, SLOT_LEAST_S, SLOT_MOST_S = 0.5, 0.02, 0.25

MEND = (
    "give all nodes the same cluster file and key_value and reboot those that registered before, or take a key that no "
    "node has off the LUN"
)
NOT_TYPED = "correct key=, or leave key= and local_key= out on all nodes, whose keys the cluster file then gives"
NAME_THEM = "correct key=, or give cluster_conf=FILE with the cluster's nodes: no file here lists them"


class Refusal(NamedTuple):
    """Whose keys this node may not remove, and why (fencer.storage.fenced_record)."""

    keys: frozenset[ReservationKey]
    reason: str


class Contest(NamedTuple):
    """Who fences whom, and how long each waits before it writes.

    slot_s: a node waits its rank times this. 0 switches the ranks off.
    repair: a nexus that lost its registration may be registered again although it carries data (0002 says when).
    others: whose keys may be there besides own; None where that is not known.
    refusal: this node was fenced by the target, and has not met it since; None where nothing is refused.
    """

    own: ReservationKey
    target: ReservationKey
    reservation_type: ReservationType
    aptpl: bool
    slot_s: float
    repair: bool
    others: OtherKeys | None = None
    refusal: Refusal | None = None

    @classmethod
    def on(
        cls,
        settings: StorageSettings,
        own: ReservationKey,
        target: ReservationKey,
        *,
        slot_s: float,
        repair: bool,
    ) -> "Contest":
        """The contest of own and target on the LUNs of settings."""
        return cls(own, target, settings.reservation_type, settings.aptpl, slot_s, repair, settings.others)

    @property
    def two_nodes(self) -> bool:
        """Whether the cluster has only these two nodes. Then each key that is not ours is the target's, or left over.

        A node with another cluster file is registered under a key that we do not expect.
        """
        if self.others is None or self.others.unnamed_most:
            return False
        return not set(self.others.known) - {self.own, self.target}

    def victims(self, look: Look) -> tuple[ReservationKey, ...]:
        """The keys to remove from this LUN, the target's expected keys first.

        They are the target's key and its guard key; in a cluster of two nodes every key that is not ours.
        """
        expected = look.listed(self.target)
        return (*expected, *look.strangers((self.own, self.target))) if self.two_nodes else expected

    def refused_unseen(self, undecided: str) -> "RaceResult | None":
        """The result where the race could not be decided (undecided: why) and the target's keys may not be removed.

        What would go on without the race, power or another method, would fence the target all the same.
        """
        if self.refusal is None or not (self.two_nodes or self.target in self.refusal.keys):
            return None
        return RaceResult(ArbitrationResult.REFUSED, f"{undecided}; and {self.refusal.reason}")

    def doubt(self, look: Look) -> str | None:
        """Why the absence of the target's key does not prove that the target cannot write; None when it does.

        A node that registered before its configuration was changed has another key than the one that we look for, and
        so has one whose key was typed wrongly. Without a list of nodes, and where keys are typed, the owner of any
        other key is unknown: the node that it is thought to belong to may be absent.
        """
        known = self.others.known if self.others is not None else ()
        strangers = look.strangers((self.own, self.target, *known))
        if not strangers:
            return None
        return (
            f"key {self.target} of the node to fence is not registered, but {some_of(strangers)} "
            f"{'is' if len(strangers) == 1 else 'are'}, of no node that is known here, and may be its: "
            f"{NAME_THEM if self.others is None else NOT_TYPED if self.others.unnamed_most else MEND}"
        )

    def wait_s(self, active_here: bool) -> float:
        """How long this node waits before it writes: not at all (rank 0) where the volume group is active here.

        The others follow in the order of their keys.
        """
        rank = 0 if active_here else 1 + (self.own > self.target)
        return rank * self.slot_s


def slot_s(took_s: float) -> float:
    """How long a node waits for each of its ranks, by how long this call took to find its LUNs.

    Two nodes that are called at once come here one after the other, and the slower their machines are, the further
    apart. So the wait is a share of the start that it has to outlast (docs/decisions/0017).
    """
    return min(max(SLOT_SHARE * took_s, SLOT_LEAST_S), SLOT_MOST_S)


class RaceResult(NamedTuple):
    """The result of a race. removal: how this node took the key, if it did. registered: see Arbitrated."""

    result: ArbitrationResult
    reason: str = ""
    removal: Removal | None = None
    registered: bool = False


def race_result(look: Look, contest: Contest) -> RaceResult | None:
    """The result of the race by one look at the LUN; None while the race is open. Pure.

    It is won where nothing of the target's is left (Contest.victims). In a cluster of more than two nodes others may
    be registered, under any key. That the target cannot write is not shown by this: isolation or power prove it.
    """
    if contest.own not in look.keys:
        return not_registered(contest.own)
    if not contest.victims(look):
        return RaceResult(ArbitrationResult.WON)
    return None


def not_registered(own: ReservationKey, where: str = "") -> RaceResult:
    """The result "lost", because own is not registered. where: the LUN, unless it is the arbiter."""
    return RaceResult(
        ArbitrationResult.LOST, f"this node's key {own} is not registered{where}: it was fenced, or never unfenced"
    )


def arbitrate(
    lun: LogicalUnit, contest: Contest, deadline: Deadline, sleep: Callable[[float], None] = time.sleep
) -> RaceResult:
    """Plays the race on one LUN to its end. Never raises: a LUN that does not answer is not won."""
    try:
        look = lun.look(deadline)
        wait_s = contest.wait_s(lun.active_here)
        if race_result(look, contest) is None and wait_s > 0:
            sleep(min(wait_s, deadline.remaining_s))
            look = lun.look(deadline)
        return _race(lun, contest, look, deadline, sleep)
    except NotRegistered as error:
        return _lost(contest, error)
    except StorageError as error:
        return RaceResult(ArbitrationResult.UNREACHABLE, str(error))


def _lost(contest: Contest, error: NotRegistered) -> RaceResult:
    return RaceResult(ArbitrationResult.LOST, f"this node's key {contest.own} is not registered: {error}")


def still_won(lun: LogicalUnit, contest: Contest, deadline: Deadline) -> RaceResult | None:
    """Reads again whether a race that was won is still won, over every path that answers. Writes nothing.

    None: the race is open again, because the target is registered again. Never raises.
    """
    try:
        return race_result(lun.look_everywhere(deadline).look, contest)
    except NotRegistered as error:
        return _lost(contest, error)
    except StorageError as error:
        return RaceResult(ArbitrationResult.UNREACHABLE, str(error))


def _race(
    lun: LogicalUnit, contest: Contest, first: Look, deadline: Deadline, sleep: Callable[[float], None]
) -> RaceResult:
    """Preempts until a look decides, and looks before each writing.

    Each path gets its turn, round after round until the deadline; one that lost its registration is left aside. The
    race is won only where every path that answers shows it.
    """
    turns = Turns(lun)
    removals: dict[ReservationKey, Removal] = {}
    look: Look | None = first
    reason = f"{lun.name}: no decision before the deadline"
    while not deadline.passed:
        look = look or (lun.look_everywhere(deadline).look if removals else lun.look(deadline))
        end = race_result(look, contest)
        if end is not None and end.result is ArbitrationResult.WON and not removals:
            end = race_result(lun.look_everywhere(deadline, look).look, contest)
        if end is not None:
            return end._replace(removal=weakest(removals.values()))
        victims, look = contest.victims(look), None
        if not victims:
            continue  # it came back between two looks
        if contest.refusal is not None and contest.refusal.keys & set(victims):
            return RaceResult(ArbitrationResult.REFUSED, contest.refusal.reason)
        nexus = turns.next()
        if nexus is None:
            if ended := round_over(lun, contest, turns, deadline, sleep):
                return _given_up(ended)
            continue
        attempt = remove_key(nexus, contest.own, victims[0], contest.reservation_type, deadline)
        if attempt.may_have_removed:
            removals[victims[0]] = attempt
        reason = turns.note(nexus, attempt.outcome, attempt.failure)
    return RaceResult(ArbitrationResult.UNREACHABLE, reason)


def round_over(
    lun: LogicalUnit, contest: Contest, turns: Turns, deadline: Deadline, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Prepares the next round: pauses, and registers again, where allowed, paths that lost their registration.

    Returns why there is no next round; "" when there is one. Never raises.
    """
    mended = False
    if turns.unregistered and (contest.repair or lun.private):
        mended = _mended(lun, contest, turns, deadline)
        if mended:
            turns.unregistered.clear()
        else:
            import random  # hardly ever needed, and slow to load

            sleep(min(random.uniform(0, 2 * BACKOFF_S), deadline.remaining_s))  # noqa: S311 - not a secret
    elif not turns.others:
        return (
            f"{lun.name}: {unrepaired(contest.own)}"
            if turns.unregistered
            else f"{'; '.join(turns.refused.values())}: {turns.remedy}"
        )
    turns.new_round(deadline, mended=mended)
    return ""


def _given_up(reason: str) -> RaceResult:
    """The result "undecided", for another reason than time, by a node that has just read that it is registered."""
    return RaceResult(ArbitrationResult.UNREACHABLE, reason, registered=True)


def unrepaired(own: ReservationKey) -> str:
    """The reason and remedy where no path is registered and none may be registered during a fence."""
    return (
        f"this node's key {own} is registered, but on none of the paths that it has now (a new login?); registering "
        "them again during a fence is safe only with proof=power or proof=all: run 'on' for this node (unfence) first"
    )


def _mended(lun: LogicalUnit, contest: Contest, turns: Turns, deadline: Deadline) -> bool:
    """Registers one of the unregistered paths again. True when one is registered now, or was before (CONFLICT)."""
    had_a_key = False
    for nexus in lun.nexuses:
        if nexus not in turns.unregistered:
            continue
        try:
            outcome = register_under_guard(nexus, contest.own, contest.aptpl, deadline)
        except StorageError:  # even NotRegistered: of the LUN only a look over all paths says that
            continue
        if outcome is Outcome.DONE:
            return True
        had_a_key = had_a_key or outcome is Outcome.CONFLICT
    return had_a_key
