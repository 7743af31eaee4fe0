# SPDX-License-Identifier: Apache-2.0
"""The parent ends the storage worker as soon as it hears that all is done: by then the marker must say so."""

from pathlib import Path

from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.observations import Observation, StorageDone
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.marker import Marker, read_marker
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.unfencing import unfence

from .fake_target import FakeTarget

OWN = ReservationKey(0xA1)


def test_the_marker_is_whole_before_the_end_is_told(tmp_path: Path) -> None:
    terms = Terms(OWN, ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, aptpl=True)
    lun = LogicalUnit("naa.1", "/dev/sdb", [Nexus(FakeTarget().nexus("a"))])
    registered_at_the_end: list[bool] = []

    def heard(*what: Observation) -> None:
        if any(isinstance(each, StorageDone) for each in what):
            found = read_marker(str(tmp_path))
            assert isinstance(found, Marker)
            registered_at_the_end.append(all(mark.registered for mark in found.luns))

    unfence(Opened((lun,)), terms, str(tmp_path), heard, Deadline.after(5))
    assert registered_at_the_end == [True]
