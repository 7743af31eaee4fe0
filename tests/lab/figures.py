# SPDX-License-Identifier: Apache-2.0
"""How long the lab takes: `python -m tests.lab.figures`, with the load of the machine in which it was measured."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from . import level2, level3
from .product import product_directory


def _timed(what: str, action: Callable[[], object]) -> None:
    started = time.monotonic()
    action()
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"{what:44} {time.monotonic() - started:6.1f} s   (load {load})", flush=True)


def _restore(what: str, rig: AbstractContextManager[object]) -> None:
    with ExitStack() as stack:
        _timed(f"restore {what}", lambda: stack.enter_context(rig))


def main() -> None:
    product_directory()  # a session makes it once
    for shape in level2.DEFAULT_SHAPES:
        _restore(shape.name, level2.restored(shape))
    with level2.restored(level2.Shape()) as guest:
        for _ in range(2):
            _timed("a command in the guest (true)", lambda: guest.run("true"))
            _timed("forget reservations, 4 LUNs", guest.forget_reservations)
    _restore("level3", level3.restored())
    with level3.restored() as cluster:
        node = level3.NODES[1]

        def off() -> None:
            cluster.ipmitool(node, "chassis", "power", "off")
            cluster.wait_powered(node, on=False)

        _timed("chassis power off, seen off", off)
        cluster.ipmitool(node, "chassis", "power", "on")
        _timed("cold boot of a node, disk and product there", cluster.nodes[node].wait_booted)


if __name__ == "__main__":
    main()
