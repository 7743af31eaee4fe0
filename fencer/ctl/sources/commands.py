# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of LVM, corosync and Pacemaker, each with a time limit. They are only asked; nothing is changed."""

import subprocess
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from fencer.child_program import run_without_waiting

COMMAND_S: Final = 10.0
"""How long one program may take. Under load crm_mon takes seconds."""


class ToolAnswer(NamedTuple):
    """What a program said. problem: that it failed and why, one sentence; "" where it succeeded. Some programs fail for
    the sake of a part and print the rest. missing: the program is not installed, so there is nothing to tell."""

    out: str
    problem: str = ""
    missing: bool = False


Ask = Callable[[Sequence[str]], ToolAnswer]
"""Runs a program by its argv."""


def ask(argv: Sequence[str], limit_s: float = COMMAND_S) -> ToolAnswer:
    """Runs a program. Never raises. A program that hangs is killed and left behind."""
    name = argv[0]
    try:
        done = run_without_waiting(argv, limit_s)
    except FileNotFoundError:
        return ToolAnswer("", f"{name}: not installed", missing=True)
    except TimeoutError:
        return ToolAnswer("", f"{name}: no answer within {limit_s:g} s")
    except OSError as error:
        return ToolAnswer("", f"{name}: {error.strerror}")
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        problem = f"{name}: exit status {done.returncode}: {said[-1][:200] if said else 'no message'}"
        return ToolAnswer(done.stdout, problem)
    return ToolAnswer(done.stdout)


class ProgramEnd(NamedTuple):
    """A program that ran to its end. status: None where it was not there, or did not end in time."""

    status: int | None
    out: str
    errors: str


Run = Callable[[Sequence[str], str, float], ProgramEnd]
"""Runs one of this project's programs: argv, standard input, seconds."""


def run_program(argv: Sequence[str], given: str, limit_s: float) -> ProgramEnd:
    """Never raises. A program that hangs is killed and left behind."""
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace")
    except OSError as error:
        return ProgramEnd(None, "", f"{argv[0]}: {error.strerror}")
    try:
        out, errors = child.communicate(given, timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        return ProgramEnd(None, "", f"{argv[0]}: no answer within {limit_s:g} s")
    return ProgramEnd(child.returncode, out, errors)
