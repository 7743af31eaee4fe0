# SPDX-License-Identifier: Apache-2.0
"""Another BMC with the same password is noticed: by the GUID that it authenticates."""

import pytest

from fencer.model import KnownBmc
from fencer.observations import BmcIdentified, ChassisObserved, Observation, PowerFailed
from fencer.power.identity import (
    BmcIdentity,
    IdentityKind,
    objection,
    parse_guid,
    parse_identity,
    tells_apart,
)
from fencer.power.ipmi import IpmiChassisPower
from fencer.power.procedure import PowerAim, PowerGoal, PowerTiming, run
from tests.power.fake_bmc import BoundedClock, FakeBmc, Step
from tests.power.hostile import SETTINGS, fence

GUID, ANOTHER = bytes(range(16)), bytes(range(1, 17))
REMEDY = "look which host has this address"


def test_an_identity_is_read_as_it_is_written() -> None:
    identity = BmcIdentity(IdentityKind.IPMI_GUID, GUID)
    assert parse_identity(str(identity)) == identity
    assert parse_guid("00010203-0405-0607-0809-0A0B0C0D0E0F") == GUID


@pytest.mark.parametrize(
    "text", ["", "x", "ipmi-guid", "ipmi-guid:00", f"redfish:{GUID.hex()}", f"ipmi-guid:{GUID.hex()}00"]
)
def test_what_is_no_identity(text: str) -> None:
    assert parse_identity(text) is None


@pytest.mark.parametrize("guid", [bytes(16), b"\xff" * 16, b"\x20" * 16])
def test_a_guid_that_says_nothing(guid: bytes) -> None:
    assert not tells_apart(guid)
    assert objection(KnownBmc(None, REMEDY, ((guid, "serv-0001", "/f"),)), guid) is None


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (KnownBmc(GUID, REMEDY), None),
        (KnownBmc(None, REMEDY), None),
        (KnownBmc(ANOTHER, REMEDY), "another BMC answers"),
        (KnownBmc(None, REMEDY, ((ANOTHER, "serv-0001", "/f"),)), None),
        (KnownBmc(None, REMEDY, ((GUID, "serv-0001", "/f"),)), "this is the BMC of serv-0001"),
        (KnownBmc(GUID, REMEDY, ((GUID, "serv-0001", "/f"),)), None),  # learnt before: a fence goes on
    ],
)
@pytest.mark.parametrize("aim", [PowerAim.OFF, PowerAim.REBOOT, PowerAim.ON, PowerAim.STATUS, PowerAim.MONITOR])
def test_the_wrong_bmc_is_refused_before_it_is_asked_anything(aim: PowerAim, known: KnownBmc, said: str | None) -> None:
    bmc = FakeBmc(BoundedClock(20.0))
    ended = fence(bmc, aim, SETTINGS._replace(known=known))
    if said is None:
        assert ended.outcome == "done"
        return
    assert ended.outcome == "final"
    assert said in ended.reasons[-1]
    assert GUID.hex() in ended.reasons[-1]
    assert not {step for _, step in bmc.asked} & {Step.STATUS, Step.CONTROL}


def test_the_remedy_is_told() -> None:
    ended = fence(FakeBmc(BoundedClock(20.0)), settings=SETTINGS._replace(known=KnownBmc(ANOTHER, REMEDY)))
    [failure] = [each for each in ended.seen if isinstance(each, PowerFailed)]
    assert failure.remedy == REMEDY


def told(bmc: FakeBmc, goal: PowerGoal) -> list[Observation]:
    seen: list[Observation] = []
    clock = bmc.clock
    power = IpmiChassisPower(SETTINGS, bmc.line, clock, clock.sleep, seen.append)
    run(power, goal, seen.append, lambda _wait_s: True, PowerTiming(), clock.sleep, clock)
    return seen


@pytest.mark.parametrize(("suites", "suite", "fell_back"), [((3, 17), 17, False), ((17,), 17, False), ((3,), 3, True)])
def test_who_has_let_us_in_is_told_and_by_which_suite(suites: tuple[int, ...], suite: int, fell_back: bool) -> None:
    seen = told(FakeBmc(BoundedClock(20.0), suites=suites), PowerGoal(PowerAim.MONITOR))
    assert [each for each in seen if isinstance(each, BmcIdentified)] == [BmcIdentified(GUID, suite, fell_back)]


@pytest.mark.parametrize("aim", [PowerAim.OFF, PowerAim.REBOOT])
def test_a_bmc_that_was_never_seen_does_not_prove_by_off_that_it_finds(aim: PowerAim) -> None:
    """It may be another node's. What it shows of a change is believed."""
    bmc = FakeBmc(BoundedClock(20.0), powered=False)
    seen = told(bmc, PowerGoal(aim, never_seen=True))
    assert not any(isinstance(each, ChassisObserved) for each in seen)
    assert isinstance(seen[-1], PowerFailed)
    assert seen[-1].final
    assert "never seen this BMC" in seen[-1].reason
    assert bmc.commands == [0]
    assert not isinstance(told(FakeBmc(BoundedClock(20.0)), PowerGoal(aim, never_seen=True))[-1], PowerFailed)


def test_where_there_is_nothing_to_learn_a_bmc_that_was_never_seen_is_believed() -> None:
    bmc = FakeBmc(BoundedClock(20.0), powered=False)
    bmc.guid = bytes(16)
    assert not isinstance(told(bmc, PowerGoal(PowerAim.OFF, never_seen=True))[-1], PowerFailed)
