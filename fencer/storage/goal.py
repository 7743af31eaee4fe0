# SPDX-License-Identifier: Apache-2.0
"""The goals of a storage worker."""

from fencer._enum import Enum, auto


class StorageGoal(Enum):
    """What a storage worker is to do: one goal for each worker."""

    FENCE = auto()
    REGISTER = auto()
    STATUS = auto()
    MONITOR = auto()
