# SPDX-License-Identifier: Apache-2.0
"""Which path writes when: each once a round, none that will never do it."""

from fencer.errors import StorageRefused
from fencer.storage.logical_unit import FIRST_PAUSE_S, LogicalUnit
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.turns import REMEDIES, Turns
from tests.storage.nodes import Clock, deadline, registered, unbound


def turns_of(*names: str) -> tuple[Turns, list[Nexus], Clock]:
    clock, target = Clock(), registered("a1", "a2", "b")
    nexuses = [Nexus(target.nexus(name), sleep=clock.sleep) for name in names]
    unit = LogicalUnit(target.wwid, "lun", nexuses, bound=unbound)
    return Turns(unit), list(unit.nexuses), clock


def test_each_path_has_one_turn_a_round() -> None:
    turns, paths, clock = turns_of("a1", "a2")
    assert [turns.next(), turns.next(), turns.next()] == [*paths, None]
    turns.new_round(deadline(clock), mended=False)
    assert turns.next() is paths[0]


def test_a_path_that_will_never_do_it_has_no_turn() -> None:
    turns, paths, clock = turns_of("a1", "a2")
    assert turns.others
    turns.note(paths[0], Outcome.CONFLICT, None)
    assert turns.others
    turns.new_round(deadline(clock), mended=False)
    assert [turns.next(), turns.next()] == [paths[1], None]
    turns.note(paths[1], None, StorageRefused("/dev/sdb: SG_IO: Operation not permitted"))
    assert not turns.others
    turns.new_round(deadline(clock), mended=False)
    assert turns.next() is None


def test_the_remedy_is_that_of_the_latest_turn() -> None:
    turns, paths, _ = turns_of("a1", "a2")
    for outcome in Outcome:
        turns.note(paths[0], outcome, None)
        assert turns.remedy == REMEDIES[outcome]
    turns.note(paths[1], None, StorageRefused("/dev/sdb: SG_IO: Operation not permitted", "run as root"))
    assert turns.remedy == "run as root"


def test_after_the_first_repair_alone_the_next_round_begins_at_once() -> None:
    turns, _, clock = turns_of("a1")
    turns.new_round(deadline(clock), mended=True)
    assert clock.now < FIRST_PAUSE_S
    turns.new_round(deadline(clock), mended=True)
    assert clock.now >= FIRST_PAUSE_S


def test_without_a_repair_there_is_a_pause() -> None:
    turns, _, clock = turns_of("a1")
    turns.new_round(deadline(clock), mended=False)
    assert clock.now >= FIRST_PAUSE_S
