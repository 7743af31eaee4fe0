# SPDX-License-Identifier: Apache-2.0
"""An iSCSI session of our own that was lost is logged in anew, and nothing is sent twice."""

import pytest

from fencer.errors import TransportError
from fencer.model import Deadline
from fencer.observations import ArbitrationResult
from fencer.storage.arbitration import arbitrate
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.open_iscsi_luns import RenewedSession
from fencer.storage.transport import ScsiTransport
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, Clock, contest, deadline, registered


class Logins:
    """Each one is a new session of the target; the network is away for some of them."""

    def __init__(self, target: FakeTarget, away: int = 0) -> None:
        self.target, self.away, self.count = target, away, 0

    def __call__(self, _deadline: Deadline) -> ScsiTransport:
        self.count += 1
        if 1 < self.count <= 1 + self.away:
            raise TransportError("iscsi://x: connect: No route to host")
        if self.count > 1:
            self.target.relogin("a")
        return self.target.nexus("a")


def test_a_lost_session_is_logged_in_anew_with_the_next_command() -> None:
    target = registered("a", "b")
    logins = Logins(target)
    nexus = Nexus(RenewedSession("iscsi://x", logins))
    nexus.read_keys(deadline())
    target.silent.add("a")
    with pytest.raises(TransportError):
        nexus.read_keys(deadline())
    assert logins.count == 1
    target.silent.clear()
    assert nexus.read_keys(deadline()).keys == (A, B)
    assert logins.count == 2


@pytest.mark.parametrize("keeps", [True, False], ids=["LIO", "tgtd"])
def test_a_fence_goes_on_after_the_network_was_away(keeps: bool) -> None:
    clock, target = Clock(), registered("a", "b", target=FakeTarget(relogin_keeps_registration=keeps))
    logins = Logins(target, away=3)
    session = RenewedSession("iscsi://x", logins)
    lun = LogicalUnit(target.wwid, "lun", [Nexus(session, sleep=clock.sleep)], private=True)
    lun.look(deadline(clock))
    session.close()  # lost
    end = arbitrate(lun, contest(repair=False), deadline(clock), clock.sleep)
    assert end.result is ArbitrationResult.WON
    assert B not in target.keys


def test_closed_it_logs_out_and_never_raises() -> None:
    target = registered("a")
    session = RenewedSession("iscsi://x", Logins(target))
    session.close()
    Nexus(session).read_keys(deadline())
    session.close()
