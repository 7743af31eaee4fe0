# SPDX-License-Identifier: Apache-2.0
"""One attempt to remove a key says how, and whether it may have done so."""

import pytest

from fencer.errors import TransportError
from fencer.storage.key_removal import Removal, remove_key, weakest
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import InAction, OutAction
from tests.storage.fake_target import FakeTarget
from tests.storage.faulty_path import FaultyPath
from tests.storage.nodes import WERO, A, B, Clock, deadline, registered


def remove(target: FakeTarget, fails_at: bytes = b"") -> Removal:
    clock = Clock()
    fault = TransportError("/dev/sdb: no SCSI status")
    path = FaultyPath(target.nexus("a"), clock, fault, lambda _path, cdb: cdb[:2] == fails_at)
    return remove_key(Nexus(path, sleep=clock.sleep), A, B, WERO, deadline(clock))


@pytest.mark.parametrize("aborts", [True, False])
def test_a_plain_preempt_is_told_as_the_weaker_one(aborts: bool) -> None:
    target = registered("a", "b", target=FakeTarget(preempt_and_abort=aborts))
    removal = remove(target)
    assert (removal.outcome, removal.aborted, removal.may_have_removed) == (Outcome.DONE, aborts, True)
    assert target.keys == [A]


def test_a_path_that_fails_before_the_command_has_removed_nothing() -> None:
    removal = remove(registered("a", "b"), bytes((0x5E, InAction.READ_FULL_STATUS)))
    assert (removal.outcome, removal.aborted, removal.sent, removal.may_have_removed) == (None, False, False, False)


def test_a_command_without_an_answer_may_have_removed_it() -> None:
    removal = remove(registered("a", "b"), bytes((0x5F, OutAction.PREEMPT_AND_ABORT)))
    assert (removal.outcome, removal.aborted, removal.may_have_removed) == (None, False, True)


def test_all_together_are_as_weak_as_the_weakest() -> None:
    strong, weak = Removal(Outcome.DONE, True), Removal(Outcome.DONE, False)
    assert weakest((strong, weak, strong)) == weak
    assert weakest((strong,)) == strong
    assert weakest(()) is None
