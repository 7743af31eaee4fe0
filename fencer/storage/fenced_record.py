# SPDX-License-Identifier: Apache-2.0
"""The record "this node was fenced by its peer, and has not met it since" (docs/decisions/0016-fence-loop.md).

A two-node cluster that stays split has a loop: the loser of the fence race reboots, registers, and may then win the
race against the node that runs the service. So the loser keeps this record, and a fence of that peer is refused while
it stands. It stands until SETTLE_S after this node found that corosync has seen the peer as a member, until this node
wins a race all the same (the peer's key is gone), or until an operator removes the file.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from fencer._typing import NamedTuple
from fencer.cluster.contact import Contact
from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.observations import Arbitrated, ArbitrationResult, Noted, Observation
from fencer.regular_file import is_private, read_regular_file
from fencer.state.boot_id import read_boot_id
from fencer.state.directories import fenced_record
from fencer.storage.arbitration import Refusal
from fencer.storage.look import Look, guard_key, some_of
from fencer.storage.marker import EarlierBootMarker
from fencer.storage.procedure import Emit

_LONGEST_BYTES = 1 << 18  # 8,190 keys, the most that a target can list, of 22 characters

SETTLE_S = 90.0
"""How long fences are refused after the nodes were found to have met: one that was asked for before may be tried again
until then. Pacemaker gives a request 60 s, the delays and attempts in it included, and adds 20 %."""

AskContact = Callable[[], Contact]


class FencedRecord(NamedTuple):
    """by: the keys that were on the LUN when this node found its own key gone: the peer's.

    met: the boot id, and the seconds since that boot, at which a call of this node first found that the two have met.
    """

    by: tuple[ReservationKey, ...]
    lun: str
    met: tuple[str, float] | None = None

    def __str__(self) -> str:
        return f"{self.lun}: this node was fenced by the node with key {some_of(self.by)}"


def find_fence(
    earlier: EarlierBootMarker, own: ReservationKey, looks: Mapping[str, Look], names: Mapping[str, str]
) -> FencedRecord | None:
    """Whether this node was fenced since it last registered, by what its LUNs show before it registers. Pure.

    It was where its key was registered in an earlier boot and is gone, the LUN's PR generation has moved on, and a
    registered node holds a reservation. A LUN that has lost all registrations shows no holder, or a generation that
    began again. names: of the LUNs, by WWID.
    """
    mine = {own, guard_key(own)} | ({earlier.key, guard_key(earlier.key)} if earlier.key is not None else set())
    for mark in earlier.luns:
        look = looks.get(mark.wwid)
        if look is None or not mark.registered or mine & look.keys or look.generation <= mark.generation:
            continue
        if look.held_without(own):
            return FencedRecord(tuple(sorted(look.keys)), names.get(mark.wwid, mark.wwid))
    return None


def read_record(directory: str) -> FencedRecord | str | None:
    """The record; None where there is none; or why it cannot be relied on. Never raises for what is found there."""
    path = fenced_record(directory)
    if not os.path.lexists(path):
        return None
    from fencer import json_text  # only where there is a record

    try:
        if not is_private(directory):
            return f"{directory}: others than root may write to it"
        document = json_text.loads(read_regular_file(path, _LONGEST_BYTES))
        met = (str(document["met_boot"]), float(document["met_at_s"])) if "met_boot" in document else None
        return FencedRecord(tuple(ReservationKey.parse(key) for key in document["by"]), str(document["lun"]), met)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        return f"{path}: {error.strerror if isinstance(error, OSError) else type(error).__name__}"


def write_record(directory: str, record: FencedRecord) -> None:
    """Replaces the record, durably. Raises OSError."""
    from fencer import json_text
    from fencer.atomic_file import replace_file  # a fence writes none

    document: dict[str, object] = {"by": [str(key) for key in record.by], "lun": record.lun}
    if record.met is not None:
        document["met_boot"], document["met_at_s"] = record.met
    replace_file(fenced_record(directory), json_text.dumps(document).encode() + b"\n", 0o600, durable=True)


def forget(directory: str) -> None:
    """Removes the record. A file that cannot be removed is judged again at the next call."""
    with suppress(OSError):
        os.unlink(fenced_record(directory))


def refusal(directory: str, ask: AskContact, emit: Emit) -> Refusal | None:
    """Why this fence of the peer that fenced this node may not go on; None where it may.

    Where corosync says that the two have never met since. Where they have met, the fence is refused for SETTLE_S more:
    it may have been asked for before they met, unless this node had no quorum until then (wait_for_all). So is one
    while corosync does not answer: its members may be changing, which is when the two meet. Without corosync no fence
    is refused, since one that is refused for ever keeps a service down.
    """
    record = read_record(directory)
    if record is None:
        return None
    if isinstance(record, str):
        emit(Noted(f"{record}: whether this node was fenced by its peer is not known: look at the file, or remove it"))
        return None
    match ask():
        case Contact.BY_QUORUM | Contact.WAITED:
            forget(directory)
            return None
        case Contact.MET:
            left_s = _settling(directory, record)
            if left_s <= 0:
                forget(directory)
                return None
            reason = (
                f"{record}, and the two have met since, but this fence may have been asked for before: call again in "
                f"{left_s:.0f} s if it is still wanted"
            )
        case Contact.NEVER:
            reason = (
                f"{record}, and corosync has not seen that node since: it may run the service: mend the network "
                "between the nodes; or make sure that the other node is off, then confirm that to the cluster (pcs "
                f"stonith confirm), or remove {fenced_record(directory)} and call again"
            )
        case Contact.SILENT:
            reason = (
                f"{record}, and corosync does not say in time whether it has seen that node since: call again, or make "
                f"sure that the other node is off and remove {fenced_record(directory)}"
            )
        case Contact.UNKNOWN:
            unknown = "whether corosync has seen that node since is not known, so a fence of it goes on all the same"
            emit(Noted(f"{record}: {unknown}: once the two nodes have met, remove {fenced_record(directory)}"))
            return None
    return Refusal(frozenset((*record.by, *map(guard_key, record.by))), reason)


def _settling(directory: str, record: FencedRecord) -> float:
    """How many seconds fences are still refused after the two have met. Keeps the time at which that was found."""
    try:
        boot_id, now_s = read_boot_id(), time.monotonic()
        if record.met is None or record.met[0] != boot_id or not 0 <= record.met[1] <= now_s:
            write_record(directory, record._replace(met=(boot_id, now_s)))
            return SETTLE_S
    except (OSError, ValueError):
        return 0.0  # it cannot be kept: a refusal would be for ever
    return record.met[1] + SETTLE_S - now_s


def note_refusal(directory: str, ask: AskContact, emit: Emit) -> None:
    """Notes what a valid record means for the next fence, for ``on`` and ``monitor``."""
    found = refusal(directory, ask, emit)
    if found is not None:
        emit(Noted(f"a fence of the other node would be refused: {found.reason}"))


def forget_once_won(directory: str, emit: Emit) -> Emit:
    """Returns an emit that forgets the record when this node wins a race: the peer's key is gone then."""

    def watch(*several: Observation) -> None:
        if any(isinstance(what, Arbitrated) and what.result is ArbitrationResult.WON for what in several):
            forget(directory)
        emit(*several)

    return watch
