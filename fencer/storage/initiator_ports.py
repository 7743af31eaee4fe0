# SPDX-License-Identifier: Apache-2.0
"""Finds the initiator ports that a node's key is registered on, and what is registered on them later. Pure.

A key stands for a node only as long as the node uses no other. A path that was registered under another key (a
``reservation_key`` left in multipath.conf, a node that was renamed) goes on writing when the key that we know is gone.
READ FULL STATUS tells which port each registration belongs to (SPC-4 6.15.5), and a port belongs to one node.
"""

from collections.abc import Collection

from fencer.model import ReservationKey
from fencer.storage.pr import FullStatus, Registration

Ports = frozenset[str]
"""Names of initiator ports. Of iSCSI both the port's (with its ISID) and the initiator's: a node's sessions differ in
the ISID."""

NO_PORTS: Ports = frozenset()


def ports_of(status: FullStatus, keys: Collection[ReservationKey], own: ReservationKey) -> Ports:
    """The names of the ports on which one of keys is registered, without names that this node has, too."""
    ours = (_names(each) for each in status.registrations if each.key == own)
    theirs = (_names(each) for each in status.registrations if each.key in keys)
    return NO_PORTS.union(*theirs).difference(*ours)


def registered_on(status: FullStatus, ports: Ports) -> tuple[Registration, ...]:
    """The registrations of these ports, under any key."""
    return tuple(each for each in status.registrations if _names(each) & ports)


def _names(registration: Registration) -> Ports:
    port = registration.initiator or registration.transport_id.hex()
    return frozenset((port, port.partition(",i,")[0]))
