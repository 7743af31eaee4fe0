"""The goals of a storage worker."""

from enum import Enum, auto


class StorageGoal(Enum):
    """One of these for each worker."""

    FENCE = auto()
    REGISTER = auto()
    STATUS = auto()
    MONITOR = auto()
