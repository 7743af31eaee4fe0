"""Who wins when two nodes fence each other: the one whose PREEMPT the target executes first.

The target serialises PERSISTENT RESERVE OUT commands, and a node whose registration was removed gets RESERVATION
CONFLICT for its own PREEMPT (SPC-4 5.13.11.2.2). So at most one of two nodes removes the other's key from one LUN.
Safety rests on that alone. Everything else here is about not doing harm while losing: look before writing (a Linux
target can hang when a victim has a PERSISTENT RESERVE OUT in flight while it is preempted), never register a node that
was fenced, and let the node that does the work come first.
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
from fencer.storage.look import Look
from fencer.storage.nexus import Outcome
from fencer.storage.settings import StorageSettings
from fencer.storage.turns import Turns

BACKOFF_S = 0.02
"""Mean pause after a lost guard (see register_under_guard); drawn anew each time so that two nodes do not keep step."""


MEND = (
    "give all nodes the same cluster file and key_value and reboot those that registered before, or take a key that no "
    "node has off the LUN"
)
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
    repair: bool = True
    others: OtherKeys | None = None
    refusal: Refusal | None = None

    @classmethod
    def on(
        cls,
        settings: StorageSettings,
        own: ReservationKey,
        target: ReservationKey,
        *,
        slot_s: float = 0.0,
        repair: bool = True,
    ) -> "Contest":
        """The contest of own and target on the LUNs of settings."""
        return cls(own, target, settings.reservation_type, settings.aptpl, slot_s, repair, settings.others)

    @property
    def two_nodes(self) -> bool:
        """Whether the cluster has no other nodes than these two: then whatever is not ours is the target's, or left
        over. A node that has another cluster file than we have is registered under a key that we do not expect."""
        if self.others is None or self.others.unnamed_most:
            return False
        return not set(self.others.known) - {self.own, self.target}

    def victims(self, look: Look) -> tuple[ReservationKey, ...]:
        """What has to go before the target is out of this LUN, the keys that it should have first.

        Both of its own keys; of a cluster of two nodes every key that is not ours.
        """
        expected = look.listed(self.target)
        return (*expected, *look.strangers((self.own, self.target))) if self.two_nodes else expected

    def doubt(self, look: Look) -> str | None:
        """Why a key that was absent from the start says nothing of the target; None when it does.

        A node that registered before its configuration was changed has another key than the one that we look for, and
        so has one whose key was typed wrongly. Without a list of nodes the owner of any other key is unknown.
        """
        known = self.others.known if self.others is not None else ()
        strangers = look.strangers((self.own, self.target, *known))
        if len(strangers) <= (self.others.unnamed_most if self.others is not None else 0):
            return None
        return (
            f"key {self.target} of the node to fence is not registered, but {', '.join(map(str, strangers))} "
            f"{'is' if len(strangers) == 1 else 'are'}, of no node that is known here, and may be its: "
            f"{MEND if self.others is not None else NAME_THEM}"
        )

    def wait_s(self, active_here: bool) -> float:
        """Rank 0 has the volume group active; the others follow in the order of their keys."""
        rank = 0 if active_here else 1 + (self.own > self.target)
        return rank * self.slot_s


class RaceResult(NamedTuple):
    """Where the race stands. removal: how we took the key, when it was we who took it. registered: see Arbitrated."""

    result: ArbitrationResult
    reason: str = ""
    removal: Removal | None = None
    registered: bool = False


def race_result(look: Look, contest: Contest) -> RaceResult | None:
    """The result of the race by one look at the LUN; None while the race is open. Pure.

    It is won where nothing of the target's is left (Contest.victims). In a cluster of more than two nodes others may
    be registered, under whatever key: that the target writes no more is another matter, for isolation to prove or for
    power.
    """
    if contest.own not in look.keys:
        return not_registered(contest.own)
    if not contest.victims(look):
        return RaceResult(ArbitrationResult.WON)
    return None


def not_registered(own: ReservationKey, where: str = "") -> RaceResult:
    """Lost: a look shows that own is gone. where: on which LUN, unless it arbitrates."""
    return RaceResult(
        ArbitrationResult.LOST, f"this node's key {own} is not registered{where}: it was fenced, or never unfenced"
    )


def arbitrate(
    lun: LogicalUnit, contest: Contest, deadline: Deadline, sleep: Callable[[float], None] = time.sleep
) -> RaceResult:
    """Plays the race on one LUN to its end. Never raises: a LUN that cannot be asked has not been won."""
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
    """What the race on lun, once won, has come to: one look, over every path that answers, and nothing written.

    None: it is open again, since the target is registered. Never raises.
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
    """Before the next round: a pause, and paths that lost their registration are registered again where that is
    allowed. Why there is no next round; "" when there is. Never raises.
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
    """By a node that has just seen itself registered; not because time ran out."""
    return RaceResult(ArbitrationResult.UNREACHABLE, reason, registered=True)


def unrepaired(own: ReservationKey) -> str:
    """Why a nexus was not registered again."""
    return (
        f"this node's key {own} is registered, but on none of the paths that it has now (a new login?); registering "
        "them again during a fence is safe only with proof=power or proof=all: run 'on' for this node (unfence) first"
    )


def _mended(lun: LogicalUnit, contest: Contest, turns: Turns, deadline: Deadline) -> bool:
    """Registers one of the unregistered paths again. True when one is registered now, or was all the time (CONFLICT: it
    has some key)."""
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
