# SPDX-License-Identifier: Apache-2.0
"""Exit statuses of halvmctl, for scripts. Part of its interface: docs/halvmctl.md lists them."""

from collections.abc import Collection

from fencer._enum import IntEnum


class CtlStatus(IntEnum):
    """Exit status by the worst finding. Unknown is never success."""

    FINE = 0
    USAGE = 1  # bad input: nothing was checked
    FAULT = 2  # a failover, or the service itself, fails
    WARNING = 3  # it works; something is to be mended or known
    UNKNOWN = 4  # nothing is known to be wrong, but not all could be looked at


_WORST_FIRST = (CtlStatus.FAULT, CtlStatus.WARNING, CtlStatus.UNKNOWN)


def worst(found: Collection[CtlStatus]) -> CtlStatus:
    """The worst of several statuses."""
    return next((each for each in _WORST_FIRST if each in found), CtlStatus.FINE)
