# SPDX-License-Identifier: Apache-2.0
"""The small scenarios to their end, the known limits, and the broken products; `make model` explores the large ones."""

import random

import pytest

from fencer.model import ReservationKey, ReservationType
from fencer.storage import pr
from fencer.storage.pr import InAction, OutAction
from fencer.storage.transport import ScsiReply
from tests.model import target as model
from tests.model.mutants import MUTANTS, Mutant
from tests.model.scenarios import LIMITS, SMALL
from tests.model.search import search
from tests.model.state import Scenario
from tests.storage.fake_target import FakeTarget


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_all_holds_in_every_order_of_events(scenario: Scenario) -> None:
    result = search(scenario)
    assert not result.broken, "\n".join((result.broken, *result.trace))
    assert result.whole


A, B, C = (ReservationKey(number) for number in (1, 2, 3))

QUICK: list[Scenario | Mutant] = []
LONG: list[Scenario | Mutant] = []
for _each in (*LIMITS, *MUTANTS):
    _scenario = _each.scenario if isinstance(_each, Mutant) else _each
    (LONG if _scenario.budget.reboots or _scenario.begins_fenced else QUICK).append(_each)


def _search_finds(what: Scenario | Mutant) -> None:
    result = search(what.scenario, breaking=what.broken) if isinstance(what, Mutant) else search(what)
    assert result.broken
    assert result.trace


@pytest.mark.parametrize("what", QUICK, ids=lambda what: what.name)
def test_a_known_limit_and_a_broken_product_are_found(what: Scenario | Mutant) -> None:
    _search_finds(what)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", LONG, ids=lambda what: what.name)
def test_what_needs_a_boot_is_found(what: Scenario | Mutant) -> None:
    _search_finds(what)


@pytest.mark.parametrize("abort", [True, False])
@pytest.mark.parametrize("type_", [1, 5])
def test_the_target_of_the_model_answers_as_the_fake_one(abort: bool, type_: int) -> None:
    dice = random.Random(f"{abort} {type_}")
    for _ in range(60):
        fake = FakeTarget(preempt_and_abort=abort, capabilities=False, full_status=False, aptpl=False)
        value, kind = model.Target(), model.TargetKind(abort=abort, attentions=True)
        for node in range(3):
            fake.nexus(str(node))
        for _ in range(60):
            node = dice.randrange(3)
            if dice.random() < 0.1:
                fake.relogin(str(node))
                value = value.relogin(node, kind)
            cdb, data = _command(dice, type_)
            while (found := fake.execute(str(node), cdb, data, 2048)).sense == pr.RESERVATIONS_RELEASED:
                pass  # the model has no such unit attention
            value, answer = model.execute(value, (node, 0), cdb, data, kind)
            assert _comparable(cdb, answer) == _comparable(cdb, found), value
            assert value.generation == fake.generation
            for each in range(3):
                assert value.admits_write((each, 0)) == fake._admits(fake._session(str(each)), 0x2A)


def _command(dice: random.Random, type_: int) -> tuple[bytes, bytes]:
    if dice.random() < 0.3:
        return pr.in_cdb(dice.choice([InAction.READ_KEYS, InAction.READ_RESERVATION]), 2048), b""
    actions = [each for each in OutAction if each.name not in ("CLEAR", "RELEASE", "REGISTER_AND_MOVE")]
    action = dice.choice(actions)
    typed = action in (OutAction.RESERVE, OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT)
    key, service_key = dice.choice([None, A, B]), dice.choice([A, B, C] if typed else [None, A, B])
    data = pr.parameter_list(key, service_key)
    return pr.out_cdb(action, ReservationType(type_) if typed else None, len(data)), data


def _comparable(cdb: bytes, reply: ScsiReply) -> object:
    """The keys in any order, and each once: the model keeps one old session of a node for each key."""
    if cdb[:2] == bytes((InAction.READ_KEYS.opcode, InAction.READ_KEYS)) and len(reply.data) > 8:
        keys = pr.decode_keys(reply.data)
        return keys.generation, set(keys.keys)
    return reply
