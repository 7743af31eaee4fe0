# SPDX-License-Identifier: Apache-2.0
"""Writes the verdict to stdout, and everything else to stderr, the system log and the debug file.

fenced and dlm_controld do not read the output while they wait. So all of it stays far below the 64 KiB of a pipe.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from types import MappingProxyType

from fencer import observations as observed
from fencer._typing import TYPE_CHECKING, TextIO
from fencer.agent.facts import Facts
from fencer.agent.plan import Plan
from fencer.agent.run import Stamped
from fencer.agent.verdict import Verdict
from fencer.model import Action, Proof
from fencer.network_file import in_time, may_hang
from fencer.observations import Observation
from fencer.power.identity import tells_apart
from fencer.regular_file import open_for_append
from fencer.storage.goal import StorageGoal
from fencer.syslog import NAME, Severity, SystemLog

if TYPE_CHECKING:
    from fencer.terminal import Terminal

LINE_CHARACTERS = 600
LINES_MOST = 80


class Report:
    """Writes the lines of one call.

    With verbosity 0 it shows errors, warnings and the verdict; with 1, or on a terminal, each step as it happens.
    Pacemaker logs all of stderr as warnings. So for a cluster manager, lines that are neither errors nor warnings go
    only to the system log.
    """

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        quiet: bool = False,
        verbosity: int = 0,
        for_cluster: bool = False,
        as_json: bool = False,
        log: SystemLog | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """for_cluster: the reader is a cluster manager. as_json: results are JSON objects instead of text.

        log: None for the system log of this machine. environ: its TERM and NO_COLOR describe the terminal.
        """
        self._stdout = stdout
        self._stderr = stderr
        self._quiet = quiet
        self._log = SystemLog() if log is None else log
        self.steps = verbosity > 0 or stderr.isatty()
        self._for_cluster = for_cluster
        self._as_json = as_json
        self._terminal: Terminal | None = None
        self._verdicts: Terminal | None = None
        if not for_cluster and (stderr.isatty() or stdout.isatty()):
            from fencer import terminal  # not on the hot path: nearly every caller is a program

            self._terminal = terminal.Terminal(stderr, environ) if stderr.isatty() else None
            self._verdicts = terminal.Terminal(stdout, environ)
        self._debug: TextIO | None = None
        self._debug_path = ""  # of a file that is written when the call ends, since it may hang
        self._debug_trouble = ""
        self._lines = 0
        self._steps: list[tuple[str, float]] = []

    def open_debug_file(self, path: str) -> None:
        """Writes all lines to this file, too. ``close`` warns of a failure; no fence fails because of it."""
        if may_hang(path):
            self._debug, self._debug_path = StringIO(), path
            return
        try:
            self._debug = _open_debug(path)
        except (OSError, ValueError) as error:
            self._debug_trouble = _reason(error)

    def close(self) -> None:
        """Warns of a failure of the debug file. Called last, after the verdict."""
        self.end_waiting()
        if self._debug_path and isinstance(self._debug, StringIO):
            self._write_debug_at_last(self._debug_path, self._debug.getvalue())
        trouble, self._debug_trouble = self._debug_trouble, ""
        if trouble:
            if self._debug is not None:
                with suppress(OSError, ValueError):  # what could not be written is tried again, and fails again
                    self._debug.close()
                self._debug = None
            self.warning(f"debug_file: {trouble}: give a file that root alone can make and write")

    def _write_debug_at_last(self, path: str, text: str) -> None:
        def append() -> str:
            with _open_debug(path) as file:
                return _write(file, text)

        try:
            self._debug_trouble = in_time(append, path)
        except (OSError, ValueError) as error:
            self._debug_trouble = _reason(error)

    def result(self, text: str) -> None:
        """Writes one line to stdout."""
        self.end_waiting()
        try:
            terminal = None if self._as_json else self._verdicts
            self._stdout.write((terminal.sentence("", text) if terminal else text) + "\n")
            self._stdout.flush()
        except (OSError, ValueError):
            self.error("standard output is closed: the result could not be told")

    def error(self, text: str) -> None:
        """Reports an error: the operator has to act."""
        self._line(Severity.ERROR, f"ERROR: {text}", always=True)

    def warning(self, text: str) -> None:
        """Reports a warning: the operator should look."""
        self._line(Severity.WARNING, f"WARNING: {text}", always=True)

    def notice(self, text: str) -> None:
        """Reports an ordinary event."""
        self._line(Severity.NOTICE, text, always=not self._for_cluster)

    def detail(self, text: str) -> None:
        """Reports a detail, shown with -v and on a terminal."""
        self._line(Severity.DEBUG, text, always=False)

    def observed(self, stamped: Stamped, plan: Plan) -> None:
        """Reports an observation as a step."""
        text = describe(stamped.what, plan)
        if text:
            before = self._steps[-1][1] if self._steps else 0.0
            self._steps.append((text, stamped.at_s))
            self.detail(f"{stamped.at_s:8.3f} s  (+{stamped.at_s - before:.3f})  {text}")

    def verdict(self, verdict: Verdict, facts: Facts, plan: Plan, took_s: float) -> None:
        """Reports the verdict: the line on stdout first, since callers act on it."""
        if self._as_json:
            from fencer.agent.json_result import verdict_line  # a cluster manager never asks for it

            self.result(verdict_line(plan, facts, verdict, took_s))
        elif verdict.success and verdict.text:
            self.result(verdict.text)
        for note in dict.fromkeys(facts.notes):
            (self.notice if note.lasting else self.warning)(note.text)
        for reason in verdict.reasons:
            if verdict.success:
                self.warning(reason)
            else:
                self.error(reason)
        if plan.needs_proof or plan.storage is StorageGoal.FENCE or not verdict.success:
            summary = f"{summarise(verdict, facts, plan)}, in {took_s:.2f} s"
            # A failure is already reported; a caller that shows only the last line must show that one.
            self._line(Severity.NOTICE, summary, always=verdict.success and not self._for_cluster)

    def interrupted(self, reason: str, facts: Facts, plan: Plan, took_s: float) -> None:
        """Reports a call that a signal ended before there was a verdict."""
        if self._as_json:
            from fencer.agent.json_result import interrupted_line

            self.result(interrupted_line(plan, facts, reason, took_s))
        self.error(reason)

    def node(self, name: str, state: str | None = None) -> None:
        """Writes one node of a list to stdout. state: ``ON``, ``OFF`` or ``UNKNOWN``; None where it was not asked."""
        if self._as_json:
            from fencer.agent.json_result import node_line

            self.result(node_line(name, state))
        else:
            self.result(name if state is None else f"{name},,{state}")

    def _line(self, severity: Severity, text: str, *, always: bool) -> None:
        shown = (always or self.steps) and not (self._quiet and not self.steps) and self._lines < LINES_MOST
        if severity == Severity.DEBUG and not shown and self._debug is None:
            return  # a fence of many LUNs has many details
        line = text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1] + "…"
        if not line.isprintable():
            line = "".join(c if c.isprintable() else "?" for c in line)
        if severity != Severity.DEBUG:
            self._log.write(severity, line)
        if self._debug is not None:
            trouble = _write(self._debug, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            self._debug_trouble = self._debug_trouble or trouble
        if shown:
            self._lines += 1
            self.end_waiting()
            start = f"{NAME}: "
            _write(self._stderr, (self._terminal.sentence(start, line) if self._terminal else start + line) + "\n")

    def waiting(self, plan: Plan, facts: Facts, left_s: float) -> None:
        """Shows on a terminal what the run waits for. Call it at least every half second."""
        if self._terminal is not None:
            from fencer.agent.awaited import awaited

            self.waiting_for(awaited(plan, facts), left_s)

    def waiting_for(self, what: str, left_s: float) -> None:
        """Shows on a terminal what the caller waits for, in the words given."""
        if self._terminal is not None and not self._quiet:
            self._terminal.wait(what, left_s)

    def end_waiting(self) -> None:
        """Removes the line that ``waiting`` has shown."""
        if self._terminal is not None:
            self._terminal.begin_line()


def _open_debug(path: str) -> TextIO:
    return open(open_for_append(path), "a", encoding="utf-8", errors="backslashreplace")


def _reason(error: OSError | ValueError) -> str:
    return f"{error.strerror if isinstance(error, OSError) else error}"


def _write(stream: TextIO, text: str) -> str:
    """Writes text. Returns why that failed, or "": a reader that is gone must not change a verdict."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:
        return _reason(error)
    return ""


def describe(what: Observation, plan: Plan) -> str:
    """The text of one observation; "" for an observation that needs no line."""
    bmc = f"BMC {plan.request.bmc}"
    match what:
        case observed.SessionOpened():
            return f"{bmc}: session open"
        case observed.BmcIdentified():
            return _who(what, plan)
        case observed.BmcNotReached(reason):
            return f"{bmc}: {reason}"
        case observed.ChassisCommanded(command):
            return f"{bmc}: chassis command {command.name.lower()} accepted"
        case observed.ChassisUnanswered(command):
            return f"{bmc}: chassis command {command.name.lower()} has no answer: it goes again after a look at the LUN"
        case observed.ChassisFoundOff():
            return f"{bmc}: chassis power is off already, to be confirmed"
        case observed.ChassisObserved(state):
            return f"{bmc}: chassis power is {state}"
        case observed.PowerFailed(reason, final):
            return f"{reason}" + ("" if final else " (trying again)")
        case observed.Arbitrated(observed.ArbitrationResult.WON, lun):
            return f"{lun}: arbitration won"
        case observed.Arbitrated(result, lun, reason):
            return f"{lun}: arbitration {result}: {reason}"
        case observed.LunIsolated(lun, aborted, already):
            how = "found so" if already else "PREEMPT AND ABORT" if aborted else "plain PREEMPT or no answer"
            return f"{lun}: isolated ({how}), read back"
        case observed.LunRegistered(lun, paths, missing):
            of = f"{paths} of {paths + len(missing)}" if missing else f"{paths}"
            plural = "" if paths + len(missing) == 1 else "s"
            return f"{lun}: key registered on {of} path{plural}, reservation held, read back"
        case observed.LunState(lun, registered, protected):
            held = "a reservation is held by a survivor" if protected else "no reservation of a survivor"
            return f"{lun}: key {'registered' if registered else 'absent'}, {held}"
        case observed.LunFailed(_, reason) | observed.StorageFailed(reason):
            return reason
        case observed.LunsIdentified(names):
            return f"{len(names)} LUN{'s' if len(names) != 1 else ''} identified"
        case observed.SelfFenceDue(bound_s):
            return f"{bound_s:g} s since its key was gone from every LUN: an armed sidecar has reset {plan.request.who}"
        case observed.PowerDone() | observed.StorageDone() | observed.Noted():
            return ""


_WORDS = {
    Action.OFF: "switch off {}",
    Action.ON: "switch on {}",
    Action.REBOOT: "reboot {}",
    Action.STATUS: "read the state of {}",
    Action.MONITOR: "check a fence of {}",
    Action.DIAG: "send a diagnostic interrupt to {}",
    Action.VALIDATE_ALL: "check the options for {}",
}


def in_words(action: Action, whom: str, *, unfence: bool = False) -> str:
    """The action and its target as words that follow "to". unfence: the action is on, for this node."""
    return f"unfence {whom}" if unfence else _WORDS[action].format(whom)


def _who(what: observed.BmcIdentified, plan: Plan) -> str:
    """The BMC's GUID where monitor stores it, and what weakens the session, as one line."""
    told = []
    if not tells_apart(what.guid):
        told.append("it has no GUID of its own: another BMC with the same password would not be noticed")
    elif plan.request.action is Action.MONITOR:
        told.append(f"GUID {what.guid.hex()}")
    if what.fell_back:
        told.append(f"cipher suite {what.suite}, since the BMC does not take suite 17")
    return f"BMC {plan.request.bmc}: {', '.join(told)}" if told else ""


def summarise(verdict: Verdict, facts: Facts, plan: Plan) -> str:
    """One line: action, target, and what proved it."""
    request = plan.request
    if not verdict.success:
        return f"{request.action} {request.who}: failed"
    proofs: list[str] = []
    if Proof.POWER in verdict.proofs:
        proofs.append("power (chassis read back off)")
    if Proof.STORAGE in verdict.proofs:
        key = request.storage.target_key if request.storage is not None else None
        count = len(facts.isolated)
        weak = "; by plain PREEMPT or without an answer: commands it had queued may still land" if verdict.weak else ""
        proofs.append(f"storage (key {key} gone from {count} LUN{'s' if count != 1 else ''}, reservation held{weak})")
    if Proof.SELF in verdict.proofs:
        proofs.append(f"self (the {request.self_fence_bound_s:g} s have passed in which its sidecar resets it)")
    proved = " and ".join(proofs) or "nothing"
    isolated = verdict.proofs and Proof.POWER not in verdict.proofs
    seen = "seen " if Proof.SELF in verdict.proofs else ""
    unseen = f" It was not {seen}powered off." if isolated and request.bmc is not None else ""
    return f"{request.action} {request.who}: proved by {proved}.{unseen}".rstrip(".")
