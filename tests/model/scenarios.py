# SPDX-License-Identifier: Apache-2.0
"""What is explored: where all must hold, and where it is known that something does not."""

from fencer.model import ProofPolicy, ReservationType
from tests.model.procedures import Setting
from tests.model.state import Budget, Scenario
from tests.model.target import TargetKind

STORAGE = Setting(policy=ProofPolicy.STORAGE)
TWO_LUNS = STORAGE._replace(luns=2)
TGTD = TargetKind(abort=False)
TOLD = TargetKind(attentions=True)
FORGETS = TargetKind(forgets=True)

SMALL = (
    Scenario("race", budget=Budget(fences=2), single_reads=True),
    Scenario("race, an agent killed and called again", budget=Budget(fences=3, crashes=1)),
    Scenario("race, a command or an answer lost", budget=Budget(fences=2, losses=1)),
    Scenario("race after a relogin", budget=Budget(fences=2, relogins=1)),
    Scenario("race by storage alone, relogin", STORAGE, budget=Budget(fences=2, relogins=1), window=False),
    Scenario("race on a target without PREEMPT AND ABORT", target=TGTD, budget=Budget(fences=2, losses=1)),
    Scenario("target that forgets", STORAGE, FORGETS, Budget(fences=1, relogins=1, restores=1)),
)
"""For each run of the host tests."""

FULL = (
    *SMALL,
    Scenario(
        "race, agents killed, commands and answers lost",
        budget=Budget(fences=4, crashes=2, losses=2),
    ),
    Scenario("race, each read a step", budget=Budget(fences=3, crashes=1, losses=1), single_reads=True),
    Scenario("relogin and a killed agent", budget=Budget(fences=3, relogins=1, crashes=1)),
    Scenario("relogin and a lost answer, unit attentions", target=TOLD, budget=Budget(2, relogins=1, losses=1)),
    Scenario("relogin on a target without PREEMPT AND ABORT", target=TGTD, budget=Budget(2, relogins=1, losses=1)),
    Scenario(
        "storage alone, relogin, killed, lost",
        STORAGE,
        budget=Budget(fences=3, relogins=1, crashes=1, losses=1),
        window=False,
    ),
    Scenario(
        "only the holder writes, relogin, killed",
        Setting(type_=ReservationType.WRITE_EXCLUSIVE),
        budget=Budget(fences=2, relogins=1, crashes=1),
        window=False,
    ),
    Scenario("one boots and unfences itself, both fence", budget=Budget(fences=2, ons=1, reboots=1)),
    Scenario(
        "unfencing that is killed, and called again",
        STORAGE,
        budget=Budget(fences=1, ons=2, reboots=1, crashes=1),
    ),
    Scenario(
        "unfencing after a relogin, while the other one fences", STORAGE, budget=Budget(fences=1, ons=1, relogins=1)
    ),
    Scenario("target that forgets, killed", STORAGE, FORGETS, Budget(2, relogins=1, restores=1, crashes=1)),
    Scenario("three nodes", Setting(nodes=3), budget=Budget(fences=3)),
    Scenario("three nodes, one killed", Setting(nodes=3), budget=Budget(fences=3, crashes=1)),
    Scenario("fence loop", STORAGE, budget=Budget(fences=2, ons=1, reboots=1), meetings=True),
    Scenario("fence loop on a target that forgets", STORAGE, FORGETS, Budget(2, 1, reboots=1), meetings=True),
    Scenario("two LUNs, killed, lost", Setting(luns=2), budget=Budget(fences=3, crashes=1, losses=1)),
    Scenario(
        "two LUNs, fenced in the midst of unfencing",
        TWO_LUNS,
        budget=Budget(fences=1, ons=1),
        begins_fenced=True,
        meetings=True,
    ),
    Scenario(
        "two LUNs, fence loop after the boot", TWO_LUNS, budget=Budget(2, ons=1), begins_fenced=True, meetings=True
    ),
    Scenario("two LUNs, one boots", TWO_LUNS, budget=Budget(fences=1, ons=1, reboots=1), meetings=True),
)

LIMITS = (
    Scenario(
        "decision 0002: a write in the window of a guard key",
        STORAGE,
        budget=Budget(fences=1, ons=1, relogins=1),
        window=False,
    ),
    Scenario(
        "decision 0002: fenced on one LUN, while it registers on the next",
        TWO_LUNS,
        budget=Budget(fences=1, ons=1),
        begins_fenced=True,
        unfencing=False,
    ),
    Scenario(
        "decision 0002: the same, and killed before it takes its key off again",
        TWO_LUNS,
        budget=Budget(fences=1, ons=1, crashes=1),
        begins_fenced=True,
    ),
    Scenario(
        "decision 0003: the other node boots while the BMC's command is under way",
        budget=Budget(fences=2, ons=1, reboots=1),
        slack=False,
    ),
    Scenario(
        "decision 0003: the other node boots and wins while further LUNs are isolated",
        TWO_LUNS,
        budget=Budget(2, ons=1),
        begins_fenced=True,
        meetings=True,
        stale_win=False,
    ),
    Scenario(
        "a target that forgets the reservation with the session of its holder",
        STORAGE,
        FORGETS,
        Budget(fences=1, relogins=1),
        holder_may_go=False,
    ),
    Scenario(
        "a race that is won by a look at a target that has forgotten the other node",
        STORAGE,
        FORGETS,
        Budget(fences=2, relogins=1, restores=1, crashes=1),
        won_by_look=False,
    ),
    Scenario(
        "decision 0016: met, and fenced before the first unfencing of that boot",
        STORAGE,
        budget=Budget(fences=2, ons=1, reboots=1),
        meetings=True,
        met_before=False,
    ),
)
"""Known and written down. The search has to find each of them: else the model is too kind."""
