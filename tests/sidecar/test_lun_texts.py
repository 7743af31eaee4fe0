# SPDX-License-Identifier: Apache-2.0
"""The LUNs of the snapshot as a text say what their records say."""

import json

import pytest

from fencer.model import ReservationKey
from fencer.sidecar.lun_records import LunView
from fencer.sidecar.lun_state import LunStates
from fencer.sidecar.lun_texts import LunTexts
from fencer.sidecar.reports import ListedLun, ListedPath, LunSilent, LunsListed, PathSeen, StillWell
from fencer.sidecar.settings import PolicySettings
from fencer.state.json_records import plain
from fencer.state.snapshot import KeySnapshot, LunSnapshot, PathSnapshot
from tests.sidecar.seen import TIMING, healthy, lun_seen

LUNS: dict[str, tuple[str, ...]] = {"L": ("sda", "sdb"), "B": ("sdc",)}


def describe(view: LunView) -> LunSnapshot:
    paths = tuple(
        PathSnapshot(p.name, p.address, p.up, p.registered, p.error, p.probed_at_s, p.took_s) for p in view.paths
    )
    keys = tuple(KeySnapshot(str(key), "", number) for key, number in view.keys)
    return LunSnapshot(
        view.wwid, view.name, str(view.registration), view.generation, keys, str(view.holder), "", view.read_at_s,
        view.error, paths,
    )  # fmt: skip


class Rig:
    def __init__(self) -> None:
        self.known = LunStates(PolicySettings(TIMING), 100.0)
        for report in healthy(100.0, LUNS):
            self.known.take(report)
        self.texts = LunTexts(self.known, describe)

    def told(self, now: float) -> object:
        text = self.texts.text(now)
        return None if text is None else json.loads(text)

    def true(self, now: float) -> object:
        return json.loads(json.dumps([plain(describe(view)) for view in self.known.view(now)]))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def again(at_s: float, generation: int = lun_seen("L", 0.0).generation) -> StillWell:
    paths = tuple((lun, path, at_s, at_s / 1e5) for lun, paths in LUNS.items() for path in paths)
    return StillWell(paths, tuple((lun, at_s, generation) for lun in LUNS))


def test_the_times_are_new_each_time(rig: Rig) -> None:
    for at_s in (100.1, 101.25, 102.0):
        rig.known.take(again(at_s))
        assert rig.told(at_s) == rig.true(at_s) != None  # noqa: E711
        assert f'"read_monotonic_s":{at_s}' in str(rig.texts.text(at_s))


def test_what_is_not_well_is_left_to_records(rig: Rig) -> None:
    rig.known.take(PathSeen("L", "sda", 101.0, False, "EIO"))
    assert rig.told(101.0) is None
    assert Rig().told(100.0 + TIMING.path_stale_s + 0.1) is None


def test_what_is_well_again_or_differs_is_told_anew(rig: Rig) -> None:
    assert rig.told(100.0) == rig.true(100.0)
    rig.known.take(lun_seen("L", 100.5)._replace(keys=(ReservationKey(0xF00),), nexuses=(3,)))
    assert rig.told(100.5) == rig.true(100.5)
    assert "f00" in str(rig.texts.text(100.5))
    rig.known.take(LunSilent("L", 100.6, "TASK SET FULL"))
    assert "TASK SET FULL" in str(rig.told(100.6)) and rig.told(100.6) == rig.true(100.6)
    rig.known.take(again(101.0))
    assert "TASK SET FULL" not in str(rig.told(101.0)) and rig.told(101.0) == rig.true(101.0)


def test_no_name_of_an_operator_is_taken_for_a_time(rig: Rig) -> None:
    odd = ListedLun("L", '100%s "%r" \\u0000time\\u0000', tuple(ListedPath(path, "%%r") for path in LUNS["L"]))
    rig.known.take(LunsListed(100.0, (odd, ListedLun("B", "time", (ListedPath("sdc", "0:0:0:0"),)))))
    for report in healthy(100.1, LUNS)[2:]:
        rig.known.take(report)
    assert rig.told(100.1) == rig.true(100.1) is not None
