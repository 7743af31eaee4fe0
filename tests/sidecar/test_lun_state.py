# SPDX-License-Identifier: Apache-2.0
"""What the snapshot shows of the LUNs. Whether they are reachable is test_policy's business."""

from fencer.sidecar.lun_state import LunStates
from fencer.sidecar.reports import (
    ListedLun,
    ListedPath,
    LunSeen,
    LunSilent,
    LunsListed,
    PathRegistered,
    PathSeen,
    Report,
)
from fencer.sidecar.settings import PolicySettings
from fencer.state.snapshot import RegistrationState
from tests.sidecar.seen import TIMING, A, B, healthy, listed, lun_seen

NOW_S = 100.0
LUNS: dict[str, tuple[str, ...]] = {"L": ("sda", "sdb")}


def known(*reports: Report) -> LunStates:
    known = LunStates(PolicySettings(), NOW_S)
    for report in reports:
        known.take(report)
    return known


def test_the_view_says_what_is_known() -> None:
    lost = PathSeen("L", "sda", NOW_S, False, "EIO: Input/output error", 0.001)
    (lun,) = known(*healthy(NOW_S, LUNS), lost).view(NOW_S)
    assert (lun.wwid, lun.reachable, lun.registration, lun.generation) == ("L", True, RegistrationState.REGISTERED, 2)
    assert lun.keys == ((A, 1), (B, 1))
    first, second = lun.paths
    assert (first.name, first.up, first.registered, first.error) == ("sda", False, False, "EIO: Input/output error")
    assert (second.name, second.up, second.registered, second.error) == ("sdb", True, True, "")


def test_a_path_that_its_map_has_failed_is_not_up_although_it_answers() -> None:
    failed = "the multipath map has failed it"
    paths = (ListedPath("sda", "0:0:0:0", failed), ListedPath("sdb", "0:0:0:0"))
    relisted = LunsListed(NOW_S, (ListedLun("L", "L", paths),))
    (lun,) = known(*healthy(NOW_S, LUNS), relisted).view(NOW_S)
    assert [(path.name, path.up, path.error) for path in lun.paths] == [("sda", False, failed), ("sdb", True, "")]


def test_the_view_of_a_lun_not_read_yet() -> None:
    (lun,) = known(listed(NOW_S, LUNS), LunSilent("L", NOW_S, "no path answers")).view(NOW_S)
    assert (lun.reachable, lun.registration, lun.error) == (False, None, "no path answers")


def test_counts_that_do_not_fit_their_keys_are_not_believed() -> None:
    seen = LunSeen("L", NOW_S, RegistrationState.REGISTERED, 2, (A, B), A, None, (1,))
    (lun,) = known(*healthy(NOW_S, LUNS), seen).view(NOW_S)
    assert lun.keys == ((A, 1), (B, 1))


def test_an_older_reading_changes_nothing() -> None:
    latest = known(*healthy(NOW_S, LUNS))
    before = latest.view(NOW_S)
    older = lun_seen("L", NOW_S - 1, RegistrationState.PREEMPTED)
    assert not latest.is_news(older)
    latest.take(older)
    assert latest.view(NOW_S) == before


def test_a_registration_that_was_not_repeated_is_none() -> None:
    latest = known(*healthy(NOW_S, LUNS), listed(NOW_S, LUNS, first=True), PathRegistered("L", "sdb", NOW_S))
    later_s = NOW_S + TIMING.registration_stale_s + 1
    assert [path.registered for path in latest.view(NOW_S)[0].paths] == [True, True]
    assert [path.registered for path in latest.view(later_s)[0].paths] == [False, True]


def test_a_lun_that_was_never_listed_is_not_known() -> None:
    stranger = lun_seen("M", NOW_S)
    latest = known(*healthy(NOW_S, LUNS), stranger)
    assert not latest.is_news(stranger)
    assert [lun.wwid for lun in latest.view(NOW_S)] == ["L"]
