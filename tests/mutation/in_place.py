# SPDX-License-Identifier: Apache-2.0
"""Plays mutants without loading the tests anew: each in a fork of one process that has collected them.

A mutant's code takes the place of the code of the functions that are loaded, so it counts under whatever name another
module has imported them. Other changes (a base class, a constant that another one is made from) are left to playing.py.
Started in the tree; reads one JSON object from stdin, and answers with one a line for each mutant:

    {"source": FILE, "tests": [FILE ...], "drawn": whether also hypothesis' tests, "mutants": [{"key", "code"} ...],
     "jobs": how many mutants at a time}
    {"key", "outcome": "killed", "timed out", "survived" or "not played", "by": TEST, "seconds"}

or with the outcome "fails unbroken" for a test that is left out.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn, TextIO

import pytest

if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())

from tests.mutation.playing import ARGUMENTS

NOT_OURS = {"__name__", "__file__", "__builtins__", "__doc__", "__module__", "__qualname__", "__annotations__"}


def put_in_place(module: ModuleType, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Gives the functions, classes and constants of a loaded module those of a mutant. False where nothing changed.

    before, after: what the original and the mutant define, executed beside the module."""
    return _take(vars(module), before, after, None)


def executed(module: ModuleType, text: str) -> dict[str, Any]:
    namespace = {"__name__": module.__name__, "__file__": module.__file__}
    exec(compile(text, str(module.__file__), "exec", dont_inherit=True), namespace)
    return namespace


def _take(loaded: Any, before: dict[str, Any], after: dict[str, Any], holder: type | None) -> bool:
    """Replaces in loaded what differs between before and after. holder: the class whose attributes these are."""
    changed = False
    for name in sorted(set(before) & set(after) & set(loaded) - NOT_OURS):
        old, new, here = before[name], after[name], loaded[name]
        if old is new:  # imported
            continue
        functions = [_function(each) for each in (here, old, new)]
        if isinstance(new, type):
            changed |= _take(vars(here), dict(vars(old)), dict(vars(new)), here)
        elif holder is not None and isinstance(here, holder):  # a member of an enumeration
            continue
        elif holder is not None and type(old) is not type(new):  # a decorator
            setattr(holder, name, new)
            changed = True
        elif all(functions):
            changed |= _swap(*functions)  # type: ignore[arg-type]
        elif isinstance(new, (int, float, str, tuple, dict)) and _differ(old, new):
            _set(name, here, new, holder)
            changed = True
    return changed


def _function(of: Any) -> FunctionType | None:
    of = of.fget if isinstance(of, property) else getattr(of, "__func__", of)
    return of if isinstance(of, FunctionType) else None


def _swap(here: FunctionType, old: FunctionType, new: FunctionType) -> bool:
    changed = False
    if _does(old.__code__) != _does(new.__code__):
        here.__code__, changed = new.__code__, True
    if _differ(old.__defaults__, new.__defaults__) or _differ(old.__kwdefaults__, new.__kwdefaults__):
        here.__defaults__, here.__kwdefaults__, changed = new.__defaults__, new.__kwdefaults__, True
    return changed


def _differ(old: object, new: object) -> bool:
    """Members of an enumeration that was executed twice are not equal, and look alike."""
    return old != new and repr(old) != repr(new)


def _does(code: CodeType) -> tuple[object, ...]:
    """What a code does, without where it stands."""
    constants = tuple(_does(each) if isinstance(each, CodeType) else (type(each), each) for each in code.co_consts)
    handlers = code.co_exceptiontable
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, handlers


def _set(name: str, here: object, new: object, holder: type | None) -> None:
    """Sets a constant, also where it was imported."""
    if holder is not None:
        setattr(holder, name, new)
        return
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").partition(".")[0] in ("fencer", "tests")
        if ours and vars(module).get(name) is here:
            setattr(module, name, new)


@dataclass
class Forked:
    """A mutant that is being played."""

    key: str
    pid: int
    pipe: int
    began: float = field(default_factory=time.monotonic)


class Player:
    """A pytest plugin that takes the place of its loop over the tests."""

    def __init__(self, asked: dict[str, Any], answers: TextIO) -> None:
        self._asked, self._answers = asked, answers
        source = Path(asked["source"])
        self._original = source.read_text()
        self._module = import_module(".".join(source.with_suffix("").parts))
        self._failed = ""
        self._seconds: dict[str, float] = {}
        self._kills: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = self._unbroken([item for item in session.items if self._asked["drawn"] or not _is_drawn(item)])
        waiting, forked = list(self._asked["mutants"]), list[Forked]()
        while waiting or forked:
            while waiting and len(forked) < self._asked["jobs"]:
                items.sort(key=lambda item: (-self._kills[item.nodeid], self._seconds[item.nodeid]))
                forked.append(self._fork(waiting.pop(0), items))
            ready, _, _ = select.select([each.pipe for each in forked], [], [])
            for each in [each for each in forked if each.pipe in ready]:
                forked.remove(each)
                self._ended(each)
        return True

    def _unbroken(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """The tests that pass, first here, so that the forks have loaded all and it is known how long each takes.

        Then in a fork, as mutants meet them: one that fails there would kill each mutant.
        """
        failing: set[str] = set()
        for item in items:
            self._failed, began = "", time.monotonic()
            _run(item)
            self._seconds[item.nodeid] = time.monotonic() - began
            failing |= {self._failed} - {""}
        while True:
            items = [item for item in items if item.nodeid not in failing]
            forked = self._fork({"key": "", "code": ""}, items)
            told = self._told(forked)
            if told["outcome"] == "survived":
                break
            failing.add(told["by"])
        for node in sorted(failing):  # on a busy machine some that measure time
            self._say(key="", outcome="fails unbroken", by=node, seconds=0)
        return items

    def _fork(self, mutant: dict[str, str], items: list[pytest.Item]) -> Forked:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            self._play(mutant["code"], items, writing)
        os.close(writing)
        return Forked(mutant["key"], pid, reading)

    def _play(self, code: str, items: list[pytest.Item], writing: int) -> NoReturn:
        """code: of the mutant; "" plays the module as it is."""

        def end(outcome: str, by: str = "") -> NoReturn:
            os.write(writing, json.dumps({"outcome": outcome, "by": by}).encode())
            os._exit(0)

        try:
            self._failed = ""
            if code:
                before = executed(self._module, self._original)
                try:
                    after = executed(self._module, code)
                except Exception as error:
                    end("killed", f"{type(error).__name__} where it is loaded")
                try:
                    placed = put_in_place(self._module, before, after)
                except Exception:  # which is no fault of the mutant
                    placed = False
                if not placed:
                    end("not played")
            for item in items:
                signal.signal(signal.SIGALRM, lambda *_, node=item.nodeid: end("timed out", node))
                signal.setitimer(signal.ITIMER_REAL, 20 + 10 * self._seconds[item.nodeid])
                _run(item)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if self._failed:
                    end("killed", self._failed)
            end("survived")
        finally:
            os._exit(1)

    def _ended(self, each: Forked) -> None:
        told = self._told(each)
        self._kills[told["by"]] += 1
        self._say(key=each.key, seconds=round(time.monotonic() - each.began, 2), **told)

    def _told(self, each: Forked) -> dict[str, str]:
        """What became of the mutant of a fork, which is ended. Waits for it."""
        answer = os.read(each.pipe, 65536)  # whole: it was written at once
        os.close(each.pipe)
        os.waitpid(each.pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)  # what the tests left behind
        return json.loads(answer) if answer else {"outcome": "killed", "by": "the whole run ended"}  # type: ignore[no-any-return]

    def _say(self, **what: object) -> None:
        print(json.dumps(what), file=self._answers, flush=True)


def _is_drawn(item: pytest.Item) -> bool:
    return getattr(getattr(item, "function", None), "is_hypothesis_test", False)


def _run(item: pytest.Item) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def main() -> None:
    asked = json.loads(sys.stdin.read())
    answers = os.fdopen(os.dup(1), "w")
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(silent, descriptor)
    os.environ.update(DUELS="24", INTERLEAVINGS="2")
    arguments = [each for each in ARGUMENTS if each != "-x"]  # one that fails unbroken does not end it
    arguments += ["-o", "timeout=0"]  # pytest-timeout would take our alarm, and give a mutant that hangs minutes
    pytest.main([*arguments, "-s", *asked["tests"]], plugins=[Player(asked, answers)])


if __name__ == "__main__":
    main()
