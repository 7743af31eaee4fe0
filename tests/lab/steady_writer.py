#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""steady_writer DISK FILE: writes a block every 50 ms past all caches, for ever; FILE says how that goes.

Runs in a guest, on the standard library. FILE is JSON: blocks written, blocks refused, the last complaint, and the
longest time between two that were written.
"""

import json
import mmap
import os
import sys
import time
from pathlib import Path

INTERVAL_S = 0.05
OFFSET = 16 << 20
BLOCKS = 1024


def main(path: str, file: str) -> None:
    buffer = mmap.mmap(-1, 4096)
    disk = os.open(path, os.O_WRONLY | os.O_DIRECT)  # once: udev looks at a disk anew whenever a writer closes it
    written = refused = 0
    error = ""
    last_s, longest_s = time.monotonic(), 0.0
    while True:
        try:
            os.pwritev(disk, [buffer], OFFSET + written % BLOCKS * len(buffer))
        except OSError as problem:
            refused += 1
            error = str(problem)
        else:
            written += 1
            now_s = time.monotonic()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
        so_far = {"written": written, "refused": refused, "error": error, "longest_s": longest_s}
        new = Path(f"{file}.new")
        new.write_text(json.dumps(so_far))
        new.replace(file)
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
