# SPDX-License-Identifier: Apache-2.0
"""Nodes on FakeTargets, without the repetition."""

from fencer.model import Deadline, OtherKeys, ReservationKey, ReservationType
from fencer.storage.arbitration import Contest
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.transport import ScsiTransport
from tests.storage.fake_target import FakeReservation, FakeTarget

A, B, C = ReservationKey(0xA), ReservationKey(0xB), ReservationKey(0xC)
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
ALL_REGISTRANTS = (
    ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS,
    ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
)


class Clock:
    """Time that passes only while somebody sleeps, and a little with every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.0001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def deadline(clock: Clock | None = None, seconds: float = 30.0) -> Deadline:
    return Deadline.after(seconds, clock or Clock())


def registered(
    *names: str, holder: str | None = "", kind: ReservationType = WERO, target: FakeTarget | None = None
) -> FakeTarget:
    """A target on which the named initiators (a → key A, ...; a2 is a second path of a) are registered.

    holder: of the reservation; "" for the first of them, None for no reservation.
    """
    target = target or FakeTarget()
    for name in names:
        target.nexus(name)
        target.registrations[target._session(name)] = int(name[0], 16)
        target.generation += 1
    holder = names[0] if holder == "" and names else holder
    if holder:
        session = None if kind in ALL_REGISTRANTS else target._session(holder)
        target.reservation = FakeReservation(kind, session)
    return target


def lun(target: FakeTarget, *names: str, clock: Clock | None = None, private: bool = False) -> LogicalUnit:
    sleep = (clock or Clock()).sleep
    nexuses = [Nexus(target.nexus(name), sleep=sleep) for name in names]
    return LogicalUnit(target.wwid, f"lun-{target.wwid[-2:]}", nexuses, private=private, bound=unbound)


def unbound(transport: ScsiTransport) -> ScsiTransport:
    """For a LogicalUnit: no threads, since no fake hangs."""
    return transport


def contest(own: ReservationKey = A, target: ReservationKey = B, **more: object) -> Contest:
    """Among three nodes, unless more says otherwise."""
    others = OtherKeys((A, B, C))
    values = {"reservation_type": WERO, "aptpl": True, "slot_s": 0.0, "repair": True, "others": others} | more
    return Contest(own, target, **values)  # type: ignore[arg-type]
