"""Which LUNs are shared, and under which key this node is registered on them."""

from fencer._typing import NamedTuple
from fencer.model import OtherKeys, ReservationKey, ReservationType


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
    state_dir: str = "/run/fence-halvm"
    others: OtherKeys | None = None

    @property
    def where(self) -> str:
        """The LUNs in an operator's words."""
        return f"volume group {self.volume_group}" if self.volume_group else ", ".join(self.devices)
