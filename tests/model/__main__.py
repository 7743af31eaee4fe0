# SPDX-License-Identifier: Apache-2.0
"""``make model``: all scenarios to their end, then the known limits and the broken products; prints a table."""

import argparse
import sys

from tests.model.mutants import MUTANTS
from tests.model.scenarios import FULL, LIMITS
from tests.model.search import Result, search


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--states", type=int, help="stop each scenario after so many states")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--trace", action="store_true", help="also how each limit and each broken product fails")
    given = parser.parse_args()

    def tell(text: str) -> None:
        print(text, flush=True)

    def show(result: Result) -> None:
        for line in result.trace:
            tell(f"      {line}")

    bad = states = 0
    for scenario in FULL:
        if given.only in scenario.name:
            result = search(scenario, given.states, tell)
            tell(str(result))
            states += result.states
            if result.broken:
                bad += 1
                show(result)
    for name, scenario, breaking in (
        *(("limit", scenario, None) for scenario in LIMITS),
        *((f"broken: {mutant.name}", mutant.scenario, mutant.broken) for mutant in MUTANTS),
    ):
        if given.only in scenario.name or given.only in name:
            result = search(scenario, given.states, breaking=breaking) if breaking else search(scenario, given.states)
            tell(f"{name}: {result}")
            bad += not result.broken
            if given.trace:
                show(result)
    tell(f"{states:,} states in which all holds; {bad} not as they must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
