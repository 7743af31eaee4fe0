# SPDX-License-Identifier: Apache-2.0
"""``make race``: the races at full length, and a table.

python -m tests.races
    a private tgtd: 500 races in process, 500 after a relogin, 500 of nodes whose files differ, 50 of whole processes
python -m tests.races --trial 10000 [--seed N] [--record FILE]
    so many races of mixed kinds, in process; goes on where FILE says that it was interrupted: see trial.py
python -m tests.races --devices A --devices B --devices R
    other LUNs, in process only: node 1, node 2 and the referee; each a list of paths or URLs with commas
"""

import argparse
import sys
from pathlib import Path

from tests.races import contest, whole
from tests.races.trial import Trial
from tests.rig.target import Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.races")
    parser.add_argument("--races", type=int, default=500)
    parser.add_argument("--whole", type=int, default=50)
    parser.add_argument("--skew", type=float, default=0.005, help="seconds")
    parser.add_argument("--rank-slot", type=float, default=0.0, help="seconds; 0: ranks off")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--devices", action="append")
    parser.add_argument("--trial", type=int, metavar="RACES")
    parser.add_argument("--record", type=Path, default=Path(".trials/races.jsonl"))
    given = parser.parse_args()
    if given.trial:
        seed = given.seed if given.seed is not None else 1
        return 0 if Trial(given.trial, given.skew, seed, given.record).run() else 1
    told = {"skew_s": given.skew, "slot_s": given.rank_slot, "seed": given.seed}
    if given.devices:
        if len(given.devices) != 3:
            parser.error("give --devices three times: node 1, node 2, the referee")
        devices = [each.split(",") for each in given.devices]
        return _tell({"in process": contest.run(devices, given.races, **told)})
    with Target() as target:
        devices = [[target.url()]] * 3
        return _tell(
            {
                "in process, registered": contest.run(devices, given.races, **told),
                "in process, after a relogin": contest.run(devices, given.races, relogin=True, **told),
                "in process, each under a key that the other does not expect": contest.run(
                    devices, given.races, strangers=True, **told
                ),
                "whole processes": whole.run([target.url()], given.whole, skew_s=given.skew, seed=given.seed),
            }
        )


def _tell(results: dict[str, contest.Series]) -> int:
    for title, series in results.items():
        print(series.table(title))
    return 0 if all(series.clean for series in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
