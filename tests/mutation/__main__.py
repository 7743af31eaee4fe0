# SPDX-License-Identifier: Apache-2.0
"""``make mutation``: breaks the deciding modules one line at a time and asks their tests to notice.

python -m tests.mutation --cosmic-ray PROGRAM [--sample N] [--seed S] [--within SECONDS] [MODULE ...]

Works in a copy of the tree, since cosmic-ray writes its mutants over the sources. MODULE: a name of PLANS; all of them
when none is given. --sample: only so many mutants of each module, drawn by --seed. Prints a table and each survivor.
"""

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOISE = (
    "core/ReplaceBinaryOperator_BitOr%",
    "core/ReplaceBinaryOperator_%_BitOr",
    *(f"core/ReplaceComparisonOperator_Is_{other}" for other in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")),
    *(f"core/ReplaceComparisonOperator_IsNot_{other}" for other in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")),
)
"""Left out: mutants of type annotations (``int | None``), and an order between members of an enum, or None, that have
none (``is`` for ``is not`` is tried)."""

LONGEST_S = 120.0
"""Of one run of the tests; a mutant that makes them hang is noticed."""

_STORAGE = "tests/storage/test_"
_VERDICTS = (
    "tests/agent/test_verdict.py",
    "tests/decisions/test_failed_side.py",
    "tests/decisions/test_remedies.py",
    "tests/agent/test_self_fence_request.py",
)


def _tests(*names: str) -> tuple[str, ...]:
    return tuple(f"{_STORAGE}{name}.py" for name in names)


@dataclass(frozen=True)
class Plan:
    """One module and the tests that have to notice what becomes of it."""

    path: str
    tests: tuple[str, ...]


PLANS = {
    "arbitration": Plan(
        "fencer/storage/arbitration.py",
        (*_tests("arbitration", "strangers", "procedure", "logical_unit"), "tests/decisions/test_duel.py"),
    ),
    "isolation": Plan(
        "fencer/storage/isolation.py",
        _tests("isolation", "strangers", "second_key", "logical_unit", "procedure", "unregistering"),
    ),
    "logical_unit": Plan("fencer/storage/logical_unit.py", _tests("logical_unit", "arbitration")),
    "look": Plan("fencer/storage/look.py", _tests("look", "isolation", "strangers")),
    "turns": Plan("fencer/storage/turns.py", _tests("turns", "logical_unit", "isolation")),
    "key_removal": Plan("fencer/storage/key_removal.py", _tests("key_removal", "second_key", "isolation")),
    "guarded_registration": Plan(
        "fencer/storage/guarded_registration.py",
        _tests("guarded_registration", "logical_unit", "registration", "arbitration"),
    ),
    "registration": Plan(
        "fencer/storage/registration.py",
        (f"{_STORAGE}registration.py", f"{_STORAGE}unfencing.py", f"{_STORAGE}paths_down.py"),
    ),
    "unfencing": Plan(
        "fencer/storage/unfencing.py",
        (f"{_STORAGE}unfencing.py", f"{_STORAGE}unfence_end.py", f"{_STORAGE}paths_down.py"),
    ),
    "marker": Plan("fencer/storage/marker.py", (f"{_STORAGE}marker.py", f"{_STORAGE}unfencing.py")),
    "verdict": Plan("fencer/agent/verdict.py", _VERDICTS),
    "facts": Plan("fencer/agent/facts.py", _VERDICTS),
    "plan": Plan("fencer/agent/plan.py", ("tests/decisions",)),
    "fence": Plan(
        "fencer/agent/run.py",
        ("tests/agent/test_look_before_go.py", "tests/agent/test_run.py", "tests/agent/test_run_ends.py"),
    ),
    "procedure": Plan("fencer/power/procedure.py", ("tests/power/test_procedure.py",)),
}  # fmt: skip


@dataclass
class Result:
    """What became of a module's mutants. survivors: where and what, as cosmic-ray says it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(PLANS))
    parser.add_argument("--cosmic-ray", required=True, help="its program, from a virtualenv of its own")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--within", type=float, default=0.0, help="seconds for each module; 0: as long as it takes")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(PLANS):
        parser.error(f"no such module: {', '.join(sorted(unknown))}: give some of {', '.join(PLANS)}")
    with tempfile.TemporaryDirectory(prefix="mutation.") as directory:
        tree = copy_of_the_tree(Path(directory) / "tree")
        for name in given.modules or PLANS:
            result = mutate(PLANS[name], tree, given.cosmic_ray, given.sample, given.seed, given.within)
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(result.outcomes.items()))
            print(f"{name}: {told}", flush=True)
            for survivor in result.survivors:
                print(f"  {survivor}", flush=True)
    return 0


def copy_of_the_tree(tree: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def mutate(plan: Plan, tree: Path, cosmic_ray: str, sample: int, seed: int, within_s: float) -> Result:
    tests = " ".join(plan.tests)
    command = (
        f"env PYTHONDONTWRITEBYTECODE=1 DUELS=24 INTERLEAVINGS=2 {sys.executable} -m pytest -q -x -p no:cacheprovider "
        f"--hypothesis-profile=quick -o timeout=60 {tests}"
    )
    subprocess.run(command, cwd=tree, shell=True, check=True, stdout=subprocess.DEVNULL)  # whole, they pass
    config, session = tree / "mutation.toml", tree / "mutation.sqlite"
    session.unlink(missing_ok=True)
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(plan.path)}\ntimeout = {LONGEST_S}\nexcluded-modules = []\n"
        f'test-command = {json.dumps(command)}\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    subprocess.run([cosmic_ray, "init", config, session], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    _choose(session, sample, seed)
    source = (tree / plan.path).read_text()
    try:
        subprocess.run(
            [cosmic_ray, "exec", config, session], cwd=tree, check=True, timeout=within_s or None,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pass  # what was done by then counts
    finally:
        (tree / plan.path).write_text(source)
    return _read(session)


def _choose(session: Path, sample: int, seed: int) -> None:
    """Leaves out the noise, and all but a sample."""
    database = sqlite3.connect(session)
    with database:
        for pattern in NOISE:
            noise = "SELECT job_id FROM mutation_specs WHERE operator_name LIKE ?"
            database.execute(f"DELETE FROM work_items WHERE job_id IN ({noise})", (pattern,))
            database.execute("DELETE FROM mutation_specs WHERE operator_name LIKE ?", (pattern,))
        ordered = "SELECT job_id FROM mutation_specs ORDER BY start_pos_row, start_pos_col, operator_name, occurrence"
        jobs = [row[0] for row in database.execute(ordered)]
        kept = set(random.Random(seed).sample(jobs, min(sample, len(jobs)))) if sample else set(jobs)
        for job in set(jobs) - kept:
            database.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
            database.execute("DELETE FROM work_items WHERE job_id = ?", (job,))
    database.close()


def _read(session: Path) -> Result:
    result = Result()
    database = sqlite3.connect(session)
    rows = database.execute(
        "SELECT s.operator_name, s.start_pos_row, r.test_outcome, r.diff FROM mutation_specs s "
        "LEFT JOIN work_results r ON r.job_id = s.job_id ORDER BY s.start_pos_row"
    ).fetchall()
    for operator, row, outcome, diff in rows:
        word = "not tried" if outcome is None else str(outcome).rpartition(".")[2].lower()
        result.outcomes[word] += 1
        if word == "survived":
            lines = (diff or "").splitlines()
            changed = [line for line in lines if line[:1] in ("+", "-") and line[:3] not in ("+++", "---")]
            result.survivors.append(f"line {row} ({operator.removeprefix('core/')}): {' → '.join(changed)}")
    database.close()
    return result


if __name__ == "__main__":
    sys.exit(main())
