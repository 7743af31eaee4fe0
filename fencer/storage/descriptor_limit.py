# SPDX-License-Identifier: Apache-2.0
"""Raises this process's limit of open descriptors, for hosts with hundreds of paths.

Each path takes a descriptor in a fence, and two in the sidecar, more while it hangs. A service has 1,024 by default:
beyond that a path that is well counts as lost, and the sidecar's observer ends, since it cannot list the paths either.
"""

import resource
from contextlib import suppress

DESCRIPTORS = 1 << 16
"""Enough for all paths that the sidecar watches at most, of LUNs with 40 paths each."""


def raise_descriptor_limit() -> None:
    """Raises it to DESCRIPTORS, or as far as the hard limit allows. Also for the processes that are forked later."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may refuse it: no reason to refuse a fence
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
