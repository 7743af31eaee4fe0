"""Which LUNs are shared, and whose reservation keys are on them."""

from fencer._typing import NamedTuple
from fencer.model import ArbitrationMode, OtherKeys, ReservationKey, ReservationType


class StorageSettings(NamedTuple):
    """The shared LUNs and whose keys are on them.

    devices: as the operator wrote them; volume_group: or the group whose physical volumes they are.
    own_key: None when this node never registered and its key cannot be derived.
    cluster_keys: every known node's name and key, to tell whose key is on a LUN and to find collisions.
    others: None where no file says which nodes there are.
    """

    devices: tuple[str, ...]
    volume_group: str | None
    own_key: ReservationKey | None
    target_key: ReservationKey | None
    cluster_keys: tuple[tuple[str, ReservationKey], ...] = ()
    reservation_type: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    aptpl: bool = True
    arbitration: ArbitrationMode = ArbitrationMode.REQUIRED
    initiator: str = ""
    state_dir: str = "/run/fence-halvm"
    re_register: bool = False
    others: OtherKeys | None = None

    @property
    def where(self) -> str:
        """The LUNs in an operator's words."""
        return f"volume group {self.volume_group}" if self.volume_group else ", ".join(self.devices)
