# SPDX-License-Identifier: Apache-2.0
"""The rate of this host's time stamp counter, which is a guest's as well."""

import ctypes
import functools
import mmap
import platform
import time
from collections.abc import Callable

_READ_TSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_OVER_S = 0.2
_LOOKS = 200


@functools.cache
def tsc_khz() -> int | None:
    """Measured against the clock that QEMU's own timers run by. None where it cannot be read."""
    if platform.machine() != "x86_64":
        return None
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a kernel that lets no process write its own code
        return None
    code.write(_READ_TSC)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    first_ns, first = _look(read)
    time.sleep(_OVER_S)
    last_ns, last = _look(read)
    return round((last - first) * 1_000_000 / (last_ns - first_ns))


def _look(read: Callable[[], int]) -> tuple[int, int]:
    """(nanoseconds, ticks) of one moment: of some pairs that which took the shortest to read."""
    looks = [(time.monotonic_ns(), read(), time.monotonic_ns()) for _ in range(_LOOKS)]
    before_ns, ticks, after_ns = min(looks, key=lambda look: look[2] - look[0])
    return (before_ns + after_ns) // 2, ticks
