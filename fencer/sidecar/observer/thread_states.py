# SPDX-License-Identifier: Apache-2.0
"""What a thread of this process is doing, as the kernel sees it. An adapter to /proc.

Source: proc(5), /proc/pid/syscall: "running", or the number of the system call in which the thread waits.
"""

import os

_FUTEX = {"x86_64": b"202", "aarch64": b"98", "riscv64": b"98", "ppc64le": b"221"}.get(os.uname().machine)


def waits_for_processor(thread: int) -> bool:
    """Whether a thread is slow because the machine is: it can run, or waits for the interpreter's lock. thread: its
    native id. False where it waits for anything else, as a disk, and where that is unknown."""
    try:
        with open(f"/proc/self/task/{thread}/syscall", "rb") as file:
            first = file.read(64).split()[:1]
    except OSError:
        return False
    return first == [b"running"] or (_FUTEX is not None and first == [_FUTEX])
