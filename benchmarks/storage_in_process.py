# SPDX-License-Identifier: Apache-2.0
"""Race and isolation in one process on simulated targets: what the program itself costs, by LUNs and paths.

    python -m benchmarks.storage_in_process [--runs 15] [LUNSxPATHS ...]

The victim is registered on every LUN. Nothing is started, loaded or sent to a device. Prints milliseconds of processor
time, the least and the median of the runs: the least is what a busy machine disturbs least.
"""

import argparse
import statistics
import time

from fencer.model import ArbitrationMode, Deadline
from fencer.observations import LunIsolated, Observation
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened, fence
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import contest, registered

SHAPES = ("1x1", "8x1", "64x1", "64x4")


def opened(luns: int, paths: int) -> Opened:
    """LUNs on which the victim, and this node by each of its paths, are registered."""
    units = []
    for number in range(luns):
        target = FakeTarget()
        target.wwid = f"naa.{number:016x}"
        names = [f"a{path}" for path in range(paths)]
        registered(*names, "b", target=target)
        units.append(LogicalUnit(target.wwid, f"lun-{number}", [Nexus(target.nexus(name)) for name in names]))
    return Opened(tuple(units))


def once(luns: int, paths: int) -> float:
    """Milliseconds of processor time of one fence."""
    seen: list[Observation] = []
    units = opened(luns, paths)
    began = time.process_time()
    fence(units, contest(), ArbitrationMode.REQUIRED, "here", lambda *what: seen.extend(what), Deadline.after(60))
    took_s = time.process_time() - began
    assert sum(isinstance(what, LunIsolated) for what in seen) == luns, seen
    return took_s * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage_in_process", description=__doc__)
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="LUNSxPATHS")
    parser.add_argument("--runs", type=int, default=15)
    given = parser.parse_args()
    for shape in given.shapes:
        luns, paths = (int(number) for number in shape.split("x"))
        once(luns, paths)  # warms up
        times = [once(luns, paths) for _ in range(given.runs)]
        print(f"{luns:3} LUNs of {paths} paths: least {min(times):5.1f} ms, median {statistics.median(times):5.1f} ms")


if __name__ == "__main__":
    main()
