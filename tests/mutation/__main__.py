# SPDX-License-Identifier: Apache-2.0
"""``make mutation``: breaks the deciding modules one place at a time and asks their tests to notice.

python -m tests.mutation --cosmic-ray PYTHON [--sample N] [--seed S] [--survivors] [--in-place] [--narrow] [--jobs N]
                         [--results DIRECTORY] [MODULE ...]

Works in copies of the tree. MODULE: a name of PLANS; all of them when none is given. --sample: only so many mutants of
each module, drawn by --seed. --survivors: only changes that survived when they were last played. --in-place: in forks
of one process that has collected the tests (in_place.py); with --narrow also without drawn examples.

Results are kept in DIRECTORY: a run that was stopped goes on where it was, and a mutant is played again only where its
module has changed, or where it survived and the tests have changed. Prints a table and each survivor.
"""

import argparse
import ast
import hashlib
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutation.plans import PLANS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

QUICK_S = 0.3
"""A test that takes less is tried first."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(PLANS))
    parser.add_argument("--cosmic-ray", required=True, help="the Python that has it, of a virtualenv of its own")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are played at a time")
    parser.add_argument("--narrow", action="store_true", help="leave out the slower tests, which survivors meet last")
    parser.add_argument("--in-place", action="store_true", help="do not load the tests anew for each mutant")
    parser.add_argument("--survivors", action="store_true", help="only what survived when it was last played")
    parser.add_argument("--results", type=Path, default=ROOT / ".venv" / "mutation")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(PLANS):
        parser.error(f"no such module: {', '.join(sorted(unknown))}: give some of {', '.join(PLANS)}")
    given.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutation.") as directory:
        players = [Player(copy_of_the_tree(Path(directory) / str(number))) for number in range(given.jobs)]
        for name in given.modules or PLANS:
            mutants = _mutants(given.cosmic_ray, PLANS[name].path, given.results / f"{name}.mutants")
            kept = given.results / f"{name}.jsonl"
            if given.survivors:
                survived = _survivors(kept)
                mutants = [mutant for mutant in mutants if mutant.change in survived]
            if given.sample:
                mutants = random.Random(given.seed).sample(mutants, min(given.sample, len(mutants)))
            module = Module(name, kept, given.narrow)
            if given.in_place:
                module.play_in_place(mutants, given.jobs)
            results = module.play(mutants, players)
            _tell(name, mutants, results)
        for player in players:
            player.end()
    return 0


def copy_of_the_tree(tree: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


@dataclass(frozen=True)
class Mutant:
    operator: str
    row: int
    code: str
    change: str

    @property
    def key(self) -> str:
        return hashlib.sha256(self.code.encode()).hexdigest()


def _mutants(python: str, path: str, kept: Path) -> list[Mutant]:
    """The mutants of a module. kept: where they stay for the next run, under the digest of the source."""
    original = (ROOT / path).read_text()
    digest = hashlib.sha256(original.encode()).hexdigest()
    made = kept.read_text() if kept.exists() else ""
    if not made.startswith(digest):
        command = [python, HERE / "mutants.py", ROOT / path]
        made = f"{digest}\n{subprocess.run(command, check=True, capture_output=True, text=True).stdout}"
        kept.write_text(made)
    mutants: dict[str, Mutant] = {}
    for line in made.splitlines()[1:]:
        told = json.loads(line)
        mutant = Mutant(
            told["operator"].removeprefix("core/"), told["row"], told["code"], _change(original, told["code"])
        )
        mutants.setdefault(mutant.key, mutant)  # some operators make the same
    return list(mutants.values())


def _survivors(results: Path) -> set[str]:
    """The changes that survived when they were last played, whatever has become of the rest of the module since."""
    told = map(json.loads, results.read_text().splitlines() if results.exists() else ())
    last = {each["key"]: each for each in told}
    return {each["change"] for each in last.values() if each["outcome"] == "survived"}


def _change(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return f"{' '.join(line.strip() for line in old)} → {' '.join(line.strip() for line in new)}"


class Player:
    """One copy of the tree, and the process that runs tests in it."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree), "DUELS": "24", "INTERLEAVINGS": "2",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, tree / "tests/mutation/playing.py"],
            cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._versions = 1_000_000_000  # modification times, all different: no stale bytecode

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def write(self, path: str, code: str) -> None:
        self._versions += 10
        (self.tree / path).write_text(code)
        os.utime(self.tree / path, (self._versions, self._versions))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Module:
    """The mutants of one module: which tests they meet, and what has become of them, on disk."""

    def __init__(self, name: str, results: Path, narrow: bool) -> None:
        self._name = name
        self._plan = PLANS[name]
        self._narrow = narrow
        self._wider = () if narrow else self._plan.wider
        self._source = (ROOT / self._plan.path).read_text()
        self._results = results
        self._lock = threading.Lock()
        files = [
            file
            for test in (*self._plan.tests, *self._wider)
            for file in ([ROOT / test] if test.endswith(".py") else sorted((ROOT / test).rglob("*.py")))
        ]
        self._digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        self._seconds: dict[str, float] = {}
        self._lines: dict[str, set[int]] = {}

    def play(self, mutants: list[Mutant], players: list[Player]) -> dict[str, dict[str, Any]]:
        done = self._done()
        left: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        for mutant in mutants:
            if mutant.key not in done:
                left.put(mutant)
        if total := left.qsize():
            self._survey(players)
            began, survived = time.monotonic(), 0

            def work(player: Player) -> None:
                nonlocal survived
                while True:
                    try:
                        mutant = left.get_nowait()
                    except queue.Empty:
                        return
                    result = self._play(mutant, player)
                    with self._lock:
                        done[mutant.key] = result
                        with self._results.open("a") as file:
                            file.write(json.dumps(result) + "\n")
                        survived += result["outcome"] == "survived"
                        played = total - left.qsize()
                        each_s = (time.monotonic() - began) / played
                        self._progress(f"{played} of {total}, {survived} survived", each_s, left.qsize(), result)

            threads = [threading.Thread(target=work, args=(player,)) for player in players]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for player in players:
                player.write(self._plan.path, self._source)
        return done

    def play_in_place(self, mutants: list[Mutant], jobs: int) -> None:
        """Plays those that in_place.py can; play has the rest to do."""
        done = self._done()
        left = {mutant.key: mutant for mutant in mutants if mutant.key not in done}
        if not left:
            return
        command = [sys.executable, HERE / "in_place.py"]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            asked = {
                "source": self._plan.path, "tests": [*self._plan.tests, *self._wider], "drawn": not self._narrow,
                "mutants": [{"key": mutant.key, "code": mutant.code} for mutant in left.values()], "jobs": jobs,
            }  # fmt: skip
            process.stdin.write(json.dumps(asked))
            process.stdin.close()
            for line in process.stdout:
                told = json.loads(line)
                if told["outcome"] == "fails unbroken":
                    print(f"{self._name}: left out, since unbroken it fails here: {told['by']}", flush=True)
                elif told["outcome"] != "not played":
                    mutant = left[told["key"]]
                    result = {**told, "tests": self._digest, "row": mutant.row, "change": mutant.change}
                    with self._results.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                    print(f"{self._name}: {json.dumps(told)}", file=sys.stderr, flush=True)

    def _progress(self, played: str, each_s: float, left: int, result: dict[str, Any]) -> None:
        last = f"line {result['row']} {result['outcome']} in {result['seconds']:.1f} s by {result['by']}"
        ends = f"{each_s:.1f} s each, {left * each_s / 60:.0f} min left"
        print(f"{self._name}: {played}, {ends}: {last}", file=sys.stderr, flush=True)

    def _done(self) -> dict[str, dict[str, Any]]:
        if not self._results.exists():
            return {}
        told = {each["key"]: each for each in map(json.loads, self._results.read_text().splitlines())}
        return {
            key: each for key, each in told.items() if each["outcome"] != "survived" or each["tests"] == self._digest
        }

    def _survey(self, players: list[Player]) -> None:
        """Which tests execute which lines; then, in the order in which they are to run, all of them have to pass."""
        first, *others = players
        told = first.ask(survey=self._plan.tests, source=self._plan.path)
        self._seconds = {node: each["seconds"] for node, each in told["tests"].items() if node not in told["failed"]}
        if told["failed"]:  # on a busy machine one that measures time
            print(f"{self._name}: left out, since unbroken they fail here: {told['failed']}", flush=True)
        self._lines = {node: set(told["tests"][node]["lines"]) for node in self._seconds}
        loaded = told["loaded"]
        told = self._run(first, sorted(self._seconds, key=self._seconds.__getitem__))
        if told["status"]:
            sys.exit(f"{self._name}: the unbroken module: a test fails in another order: {told['failed']}")
        for player in others:
            player.ask(load=loaded)

    def _run(self, player: Player, nodes: list[str]) -> dict[str, Any]:
        files = list(dict.fromkeys(_file_of(node) for node in nodes))
        return player.ask(run=[[node, 8 + 5 * self._seconds[node]] for node in nodes], files=files)

    def _play(self, mutant: Mutant, player: Player) -> dict[str, Any]:
        """Runs quick tests of one file that execute the line, then all that execute the function, then the rest.

        Of each the quick ones first. Few files at first, since to load them takes longer than to run most tests.
        """
        began = time.monotonic()
        player.write(self._plan.path, mutant.code)
        lines = _function_lines(self._source, mutant.row)
        near = {node for node, executed in self._lines.items() if not lines or executed & lines}
        exact = {node for node in near if mutant.row in self._lines[node]}
        by_time = sorted(self._seconds, key=self._seconds.__getitem__)
        per_file = Counter(_file_of(node) for node in exact)
        best = max(per_file, key=per_file.__getitem__, default="")
        first = [node for node in by_time if node in exact and _file_of(node) == best and self._seconds[node] < QUICK_S]
        nearly = [node for node in by_time if node in near and node not in first]
        rest = [node for node in by_time if node not in near] if self._plan.elsewhere else []
        told: dict[str, Any] = {"status": 0, "failed": "", "timed_out": False}
        for nodes in (first, nearly, rest):
            if nodes and not told["status"]:
                told = self._run(player, nodes)
        if self._wider and not told["status"]:
            told = player.ask(run=None, files=self._wider)
        outcome = "survived" if not told["status"] else "timed out" if told["timed_out"] else "killed"
        return {
            "key": mutant.key, "tests": self._digest, "outcome": outcome, "by": told["failed"],
            "seconds": round(time.monotonic() - began, 2), "row": mutant.row, "change": mutant.change,
        }  # fmt: skip


def _file_of(node: str) -> str:
    return node.partition("::")[0]


def _function_lines(source: str, row: int) -> set[int]:
    """The lines of the body of the innermost function around a line; none for a line that import executes."""
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body[0].lineno <= row <= (node.end_lineno or node.lineno)
    ]
    if not around:
        return set()
    inner = max(around, key=lambda node: node.lineno)
    return set(range(inner.body[0].lineno, (inner.end_lineno or inner.lineno) + 1))


def _tell(name: str, mutants: list[Mutant], results: dict[str, dict[str, Any]]) -> None:
    outcomes = Counter(results[mutant.key]["outcome"] for mutant in mutants)
    print(
        f"{name}: {len(mutants)} mutants: {', '.join(f'{n} {what}' for what, n in sorted(outcomes.items()))}",
        flush=True,
    )
    for mutant in mutants:
        if results[mutant.key]["outcome"] == "survived":
            print(f"  line {mutant.row} ({mutant.operator}): {mutant.change}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
