# SPDX-License-Identifier: Apache-2.0
"""Which LUNs are shared, and under which key this node is registered on them."""

from fencer._typing import NamedTuple
from fencer.model import OtherKeys, ReservationKey, ReservationType
from fencer.state.directories import STATE_DIR, persistent_directory


class StorageSettings(NamedTuple):
    """The shared LUNs, and how this node registers on them.

    devices: as the operator wrote them; volume_group: or the group whose physical volumes they are.
    own_key: None when this node never registered and its key cannot be derived.
    initiator: iSCSI name of this node, for ``iscsi://`` devices. state_dir: where the marker of this boot is.
    others: whose keys may be on the LUNs besides own_key; None where no file says which nodes there are.
    """

    devices: tuple[str, ...]
    volume_group: str | None
    own_key: ReservationKey | None
    reservation_type: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    aptpl: bool = True
    initiator: str = ""
    state_dir: str = STATE_DIR
    others: OtherKeys | None = None

    @property
    def where(self) -> str:
        """The LUNs in an operator's words."""
        return f"volume group {self.volume_group}" if self.volume_group else ", ".join(self.devices)

    @property
    def persistent_dir(self) -> str:
        """Where this node's last registration, and the record that it was fenced, survive a reboot."""
        return persistent_directory(self.state_dir)


def initiator_of(node: str) -> str:
    """The iSCSI name by which a node logs in to ``iscsi://`` devices, unless the operator gives another."""
    return "iqn.2026-11.fence-halvm:" + "".join(c if c.isalnum() or c in "-.:" else "-" for c in node.lower())
