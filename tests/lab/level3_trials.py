# SPDX-License-Identifier: Apache-2.0
"""Long trials at level 3, with power that is really cut: `python -m tests.lab.level3_trials WHAT [COUNT]`.

* race: both nodes fence each other with the cluster network cut between them, one a random moment later.
* peer-race: the same by fence_ipmilan.
* oracle: fences under load with random faults; no record of a victim may land after a success.
* time: from the call to the victim's last write that landed, for fence_halvm and its peers.

A node that was switched off comes back from its snapshot's memory instead of a cold boot: /run is empty and the LUN has
no registration of that boot, in a fourth of the time. The tests boot cold where it matters.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence

from . import level3, level3_oracle, level3_race, level3_times


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.level3_trials")
    parser.add_argument("what", choices=["race", "peer-race", "oracle", "time"])
    parser.add_argument("count", type=int, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    bad: list[str] = []
    with level3.restored() as cluster:
        if given.what == "time":
            level3_times.times(cluster, given.count)
            return 0
        if given.what == "peer-race":
            level3_race.peer_races(cluster, given.count, chance)
            return 0
        play: dict[str, Callable[[], Sequence[level3_race.Race | level3_oracle.Trial]]] = {
            "race": lambda: level3_race.races(cluster, given.count, chance),
            "oracle": lambda: level3_oracle.trials(cluster, given.count, chance),
        }
        results = play[given.what]()
        bad = [fault for each in results for fault in each.faults]
    print(f"{len(results)} played, faults: " + ("none" if not bad else "\n  ".join(["", *bad])))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
