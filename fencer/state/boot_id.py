# SPDX-License-Identifier: Apache-2.0
"""The id of the running kernel's boot: tells what was written in this boot from what an earlier boot left."""

import os

BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id"


def read_boot_id(path: str | os.PathLike[str] = BOOT_ID_PATH) -> str:
    """A UUID as text, never empty. Raises OSError or ValueError."""
    with open(path, encoding="ascii") as file:
        boot_id = file.read().strip()
    if not boot_id:
        raise ValueError("empty boot id")
    return boot_id
