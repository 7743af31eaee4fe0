# SPDX-License-Identifier: Apache-2.0
"""Registers a nexus while another node may be removing this node's key, so that a fenced node never comes back.

docs/decisions/0002-guarded-registration.md has the reasons, and what it does not exclude.
"""

from contextlib import suppress

from fencer.errors import StorageError
from fencer.model import Deadline, ReservationKey
from fencer.storage.look import guard_key
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import RegisteredKeys

UNDO_PAUSE_S = 0.05
UNDO_S = 2.0
"""Time for undoing a registration, also past the deadline: a guard key that is left lets its owner write."""


def register_under_guard(
    nexus: Nexus, own: ReservationKey, aptpl: bool, deadline: Deadline, *, absent_at: int | None = None
) -> Outcome:
    """Registers own on a nexus that is not registered, while own is still listed on another one of this LUN.

    absent_at: instead, own is listed nowhere, and the PR generation is still the one with which it was last listed.

    A relogin changes the ISID and a returning path is a new nexus: our key is listed, yet commands conflict. A node
    whose key was preempted must never come back, and there is no command that registers "only if my key is listed". So
    the nexus is registered under the guard key first; the PR generation must have moved by exactly our own step between
    two readings, else it is undone; only then the guard key becomes own. Killed in between, we leave a key that wins
    nothing. CHANGED: nothing was kept, look again.

    DONE: the generation has moved by the guard key and by own alone, so own is still registered wherever it was. Else
    a fence may have taken it from the sessions that carry this node's data, and left it here only: such a node could
    win, and not write. docs/decisions/0002-guarded-registration.md says what this does and does not exclude.
    """
    before = nexus.read_keys(deadline)
    expected = own in before.keys if absent_at is None else own not in before.keys and before.generation == absent_at
    if not expected:
        return Outcome.CHANGED
    nexus.guarding(True)
    try:
        return _by_guard(nexus, own, before, aptpl, deadline, absent_at is None)
    finally:
        nexus.guarding(False)


def _by_guard(
    nexus: Nexus, own: ReservationKey, before: RegisteredKeys, aptpl: bool, deadline: Deadline, own_is_listed: bool
) -> Outcome:
    guard = guard_key(own)
    ours: tuple[ReservationKey, ...] = (guard,)  # what may be registered on this nexus by us
    try:
        outcome = nexus.register(None, guard, aptpl, deadline)
        if outcome is Outcome.UNSUPPORTED and aptpl:
            aptpl = False
            outcome = nexus.register(None, guard, aptpl, deadline)
        if outcome is Outcome.CONFLICT:  # an earlier attempt ended here
            outcome = nexus.register(guard, guard, aptpl, deadline)
        if outcome is not Outcome.DONE:
            return outcome
        after = nexus.read_keys(deadline)
        if _moved(before, after) == 1 and (own in after.keys) == own_is_listed:
            ours = (guard, own)
            outcome = nexus.register(guard, own, aptpl, deadline)
            if outcome is Outcome.DONE and (not own_is_listed or _moved(after, nexus.read_keys(deadline)) == 1):
                return Outcome.DONE
    except StorageError:  # executed perhaps: LIO without /etc/target/pr registers, then answers 2/0800
        _forget(nexus, ours, aptpl, deadline)
        raise
    _forget(nexus, ours, aptpl, deadline)
    return Outcome.CHANGED


def _moved(earlier: RegisteredKeys, later: RegisteredKeys) -> int:
    """By how much the PR generation moved. It has 32 bits and begins again (SPC-4 6.15.2)."""
    return (later.generation - earlier.generation) % (1 << 32)


def _forget(nexus: Nexus, ours: tuple[ReservationKey, ...], aptpl: bool, deadline: Deadline) -> None:
    """Unregisters each of these keys. A conflict: it is not registered. Takes UNDO_S at most, also past the deadline.

    aptpl: as before, because the last REGISTER decides whether *all* registrations of the LUN survive a power
    loss (SPC-4 5.13.5).
    """
    own_time = Deadline.after(UNDO_S, deadline.clock)
    for key in ours:
        while not own_time.passed:
            with suppress(StorageError):
                if nexus.register(key, None, aptpl, own_time) in (Outcome.DONE, Outcome.CONFLICT):
                    break
            nexus.sleep(min(UNDO_PAUSE_S, own_time.remaining_s))  # its REGISTER may be under way yet
