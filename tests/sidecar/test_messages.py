# SPDX-License-Identifier: Apache-2.0
"""Every message at its longest fits into what a reader takes (fencer.worker.MESSAGE_BYTES)."""

import time
from _pickle import dumps

import pytest

from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import ReservationKey, ReservationType
from fencer.sidecar.batching import MOST, REASON_CHARS, ReportBatcher, bounded
from fencer.sidecar.lun_list import FoundLun, LunList
from fencer.sidecar.observer.lun_watch import LunWatch
from fencer.sidecar.observer.observing import Observation
from fencer.sidecar.policy import REASON_CHARS as TOLD_CHARS
from fencer.sidecar.policy import REASONS_MOST, Policy
from fencer.sidecar.registration_state import Reading
from fencer.sidecar.reports import (
    KEYS_MOST,
    LUNS_MOST,
    PATHS_MOST,
    Alive,
    ListedLun,
    ListedPath,
    LunSeen,
    LunSilent,
    LunsListed,
    PathGone,
    PathRegistered,
    PathSeen,
    Registered,
    RegistrationFailed,
    Report,
)
from fencer.sidecar.settings import ObserverSettings, PolicySettings, SidecarTiming
from fencer.state.snapshot import RegistrationState
from fencer.storage.pr import Reservation
from fencer.storage.registration import History, Past
from fencer.storage.settings import StorageSettings
from fencer.worker import MESSAGE_BYTES
from tests.sidecar.seen import Expander

KEYS = tuple(ReservationKey(n << 32 | n) for n in range(1, 8192))
"""As many as READ KEYS can list: an allocation length of FFFFh, less its header, by 8."""

OWN = KEYS[-1]
TYPE = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
WWID, NAME = "naa." + "f" * 32, "/dev/disk/by-id/" + "é" * 239
LONG = "é" * 60_000


def seen(wwid: str = WWID) -> LunSeen:
    return LunSeen(wwid, 1e6, RegistrationState.REGISTERED, 2**32 - 1, KEYS, OWN, TYPE, (65535,) * len(KEYS))


LONGEST: list[Report] = [
    Alive(1e6),
    PathSeen(WWID, "sd" + "z" * 30, 1e6, False, LONG, 1.0),
    PathGone(WWID, "sd" + "z" * 30, 1e6),
    PathRegistered(WWID, "sd" + "z" * 30, 1e6),
    seen(),
    LunSilent(WWID, 1e6, LONG),
    Registered(WWID, "sdb", 1e6, LONG),
    RegistrationFailed(WWID, "sdb", 1e6, LONG),
]


@pytest.mark.parametrize("report", LONGEST, ids=lambda each: type(each).__name__)
def test_as_many_as_fit_go_into_a_message(report: Report) -> None:
    sent: list[list[Report]] = []
    batcher = ReportBatcher(sent.append)
    for n in range(3 * MOST):
        batcher.put(report._replace(lun=f"{WWID}{n}") if hasattr(report, "lun") else report)
        batcher.put(Alive(1e6))
    batcher.flush()
    assert max(len(dumps(message)) for message in sent) <= MESSAGE_BYTES / 2
    assert sum(len(Expander().expand(message)) for message in sent) == 6 * MOST


def test_the_same_luns_again_and_again_go_together_and_fit() -> None:
    sent: list[list[Report]] = []
    batcher = ReportBatcher(sent.append)
    for _ in range(2):
        for n in range(LUNS_MOST):
            batcher.put(seen(f"naa.{n}"))
    batcher.flush()
    assert max(len(dumps(message)) for message in sent) <= MESSAGE_BYTES / 2


def test_what_a_target_lists_beyond_is_counted_and_our_own_key_is_among_the_first() -> None:
    taken: list[Report] = []
    storage = StorageSettings(("/dev/sda",), None, OWN, state_dir="/nonexistent")
    watch = LunWatch(WWID, "lun", storage, SidecarTiming(), taken.append, Past(History.NEVER))
    watch._learn(Reading(1, KEYS, Reservation(1, OWN, TYPE)), 1.0)
    (told,) = taken
    assert isinstance(told, LunSeen)
    assert (len(told.keys), told.more_keys, told.keys[0]) == (KEYS_MOST, len(KEYS) - KEYS_MOST, OWN)
    assert bounded(told) is told


def test_reasons_are_cut() -> None:
    cut = bounded(PathSeen(WWID, "sdb", 1.0, False, LONG))
    assert isinstance(cut, PathSeen) and cut.reason == LONG[:REASON_CHARS]


class NoEvents:
    def wait(self, seconds: float) -> bool:
        return False

    def wake(self) -> None:
        return


def test_a_list_is_sent_in_parts_that_fit_and_taken_as_one() -> None:
    sent: list[list[Report]] = []
    storage = StorageSettings(("/dev/sda",), None, OWN, state_dir="/nonexistent")
    luns = LunList(tuple(FoundLun(f"{WWID}{n}", NAME) for n in range(LUNS_MOST)))
    observation = Observation(
        ObserverSettings(storage), luns, dict, NoEvents(), lambda _: None, lambda _: None, lambda _: True, sent.append
    )  # type: ignore[arg-type]
    paths = tuple(
        ListedPath(f"sd{n:030}", "255:255:255:255", f"the multipath map has failed {n:030}") for n in range(PATHS_MOST)
    )
    listed = tuple(ListedLun(lun.wwid, lun.name, paths[: PATHS_MOST // 8], "sdb") for lun in luns.luns)
    observation._send_list(1.0, (*listed[:-1], listed[-1]._replace(paths=paths)))
    observation._batcher.flush()
    assert max(len(dumps(message)) for message in sent) <= MESSAGE_BYTES
    parts = [one for message in sent for one in message if isinstance(one, LunsListed)]
    assert [one.more for one in parts] == [True] * (len(parts) - 1) + [False]
    policy = Policy(PolicySettings(), 0.0)
    for part in parts[:-1]:
        policy.take(part)
    assert policy.decide(1.0).reasons == ("the LUNs are not known yet",)
    policy.take(parts[-1])
    reasons = policy.decide(1.0).reasons
    assert len(reasons) == REASONS_MOST + 1
    assert reasons[-1] == f"and {LUNS_MOST - REASONS_MOST} more"
    assert max(map(len, reasons)) <= TOLD_CHARS + 3
    assert len(dumps(reasons)) <= MESSAGE_BYTES / 2


def test_an_events_text_is_bounded_where_it_is_made() -> None:
    """The feeder's own are about pauses and have no text; the publisher makes the others."""
    event = Event(time.time(), 0.0, EventKind.PAUSE, "p", "n", "n", "pause", FenceOutcome.SUCCESS)
    assert len(dumps(event)) < 1000
