# SPDX-License-Identifier: Apache-2.0
"""Reads the age of this process from the kernel."""

import os
import time


def process_age_s() -> float:
    """Seconds since this process was started, including the loading of Python. 0.0 where /proc cannot be read.

    Source: proc(5), field 22 of /proc/self/stat: clock ticks since boot, including suspended time.
    """
    try:
        descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, ValueError, IndexError):
        return 0.0
